//! What every subject is given: peer ids, connections, and the order in which peers are visited.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicUsize, Ordering};

use connmgr::{CloseReason, Connection, Direction};

/// The tags that every peer has.
pub const TAGS: [&str; 2] = ["bitswap", "dht"];

/// The tag that is written and read.
pub const HOT: usize = 0;

/// A peer id.
pub trait Id: Copy + Eq + Hash + Debug + Send + Sync + 'static {
    /// A random one.
    fn random(random: &mut Random) -> Self;
}

/// A peer id of 80 bytes, laid out, hashed and compared as libp2p's `PeerId` is for an Ed25519 key: the multihash's code and
/// the 36 bytes of its digest that are in use, under a length.
#[derive(Clone, Copy, Debug)]
pub struct PeerId {
    code: u64,
    size: u8,
    digest: [u8; 64],
}

const _: () = assert!(size_of::<PeerId>() == 80);

impl PeerId {
    /// What an Ed25519 key's encoding starts with.
    const PREFIX: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

    #[inline]
    fn digest(&self) -> &[u8] {
        &self.digest[..usize::from(self.size)]
    }
}

impl Id for PeerId {
    fn random(random: &mut Random) -> Self {
        let mut digest = [0; 64];
        digest[..4].copy_from_slice(&Self::PREFIX);
        for word in digest[4..36].chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        Self { code: 0, size: 36, digest }
    }
}

impl PartialEq for PeerId {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code && self.digest() == other.digest()
    }
}

impl Eq for PeerId {}

impl Hash for PeerId {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.code.hash(state);
        self.digest().hash(state);
    }
}

/// A peer id of 32 bytes: a public key, or the hash of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key([u8; 32]);

impl Id for Key {
    fn random(random: &mut Random) -> Self {
        let mut key = [0; 32];
        for word in key.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        Self(key)
    }
}

/// Connections closed since the beginning.
pub static CLOSED: AtomicUsize = AtomicUsize::new(0);

/// A connection as light as they come: an id, an address, a direction.
#[derive(Clone, Copy, Debug)]
pub struct Conn {
    /// Tells the connections of the whole run apart.
    pub id: u64,
    /// Where it leads.
    pub remote: SocketAddrV4,
    /// Who opened it.
    pub direction: Direction,
}

impl Conn {
    /// The connection of that id.
    #[inline]
    pub fn new(id: u64) -> Self {
        let remote = SocketAddrV4::new((id as u32).into(), 4001);
        Self { id, remote, direction: Direction::Inbound }
    }
}

impl Connection for Conn {
    type Id = u64;

    fn id(&self) -> u64 {
        self.id
    }

    fn remote_addr(&self) -> String {
        self.remote.to_string()
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn stream_count(&self) -> Option<usize> {
        None
    }

    /// Only recorded.
    fn close(&self, _: CloseReason) {
        CLOSED.fetch_add(1, Ordering::Relaxed);
    }
}

/// A small generator of random numbers: splitmix64, with a fixed seed, so that runs compare.
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

/// The peers and the orders in which they are visited, drawn beforehand: a visit costs one load from a stream.
pub struct World<I> {
    /// The ids; a peer is known by its place here.
    pub ids: Vec<I>,
    /// Every peer once, shuffled: the order of ageing.
    pub shuffled: Vec<u32>,
    /// For each thread, peers drawn uniformly; as many as a power of two.
    visits: Vec<Vec<u32>>,
}

impl<I: Id> World<I> {
    /// `peers` random peers and a sequence of visits for each of `threads` threads.
    pub fn new(peers: usize, threads: usize) -> Self {
        let mut random = Random(peers as u64);
        let ids = (0..peers).map(|_| I::random(&mut random)).collect();
        let mut shuffled: Vec<u32> = (0..peers as u32).collect();
        for at in (1..peers).rev() {
            shuffled.swap(at, random.below(at + 1));
        }
        let len = (peers * 8).next_power_of_two().clamp(1 << 16, 1 << 22);
        let visits = (0..threads).map(|_| (0..len).map(|_| random.below(peers) as u32).collect()).collect();
        Self { ids, shuffled, visits }
    }

    /// Calls `visit` with the number of each visit from `from` on, `count` of them, and the peer that is visited.
    #[inline]
    pub fn visit(&self, thread: usize, from: usize, count: usize, mut visit: impl FnMut(usize, usize)) {
        let visits = &self.visits[thread][..];
        let mask = visits.len() - 1;
        for at in from..from + count {
            visit(at, visits[at & mask] as usize);
        }
    }
}

/// The value that a tag of a peer starts with: some 10,000 different ones.
pub fn start(peer: usize, tag: usize) -> i64 {
    ((peer as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as i64 % 10_000 + tag as i64
}
