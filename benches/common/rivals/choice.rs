//! How rivals trim: from a copy, which is of another time in each shard.

use smallvec::SmallVec;

use super::Books;
use crate::common::world::Conn;
use connmgr::{CloseReason, Connection};

/// What a trim has to know of a peer once the lock is released.
pub struct Copied<I> {
    pub id: I,
    pub value: i64,
    pub connections: usize,
}

/// The half of the peers that is worth least, selected by small keys.
pub fn choose<I: Copy>(copied: Vec<Copied<I>>) -> Vec<Copied<I>> {
    let mut keys: Vec<(i64, u32)> = copied.iter().zip(0..).map(|(peer, at)| (peer.value, at)).collect();
    let target = keys.len() - keys.len() / 2;
    if target == 0 {
        return Vec::new();
    }
    keys.select_nth_unstable(target - 1);
    let victims = keys[..target].iter().map(|&(value, at)| {
        let Copied { id, connections, .. } = copied[at as usize];
        Copied { id, value, connections }
    });
    victims.collect()
}

/// How many victims there are, and what they are worth together.
pub fn worth<I>(victims: &[Copied<I>]) -> (usize, i64) {
    (victims.len(), victims.iter().map(|victim| victim.value).sum())
}

/// Claims each victim's connections, then closes them with no lock held; returns how many.
pub fn close<I>(
    victims: Vec<Copied<I>>,
    books: &Books,
    mut claim: impl FnMut(&I) -> Option<SmallVec<[Conn; 2]>>,
) -> usize {
    let claimed: Vec<Conn> = victims.iter().filter_map(|victim| claim(&victim.id)).flatten().collect();
    books.closing(claimed.len());
    for conn in &claimed {
        conn.close(CloseReason::Trim);
    }
    claimed.len()
}
