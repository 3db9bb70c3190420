//! Ids chosen to collide do not slow look-ups: hashing is keyed, each manager's way.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use connmgr::BasicConnManager;
use connmgr::testing::Loopback;

/// Comparisons of ids.
static COMPARED: AtomicU64 = AtomicU64::new(0);

/// An id of two words that counts how often ids are compared.
#[derive(Clone, Copy, Debug)]
struct Id(u64, u64);

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        COMPARED.fetch_add(1, Ordering::Relaxed);
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Id {}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
        state.write_u64(self.1);
    }
}

/// An unkeyed hash of two words: multiply, rotate, exclusive or, as in rustc's FxHash.
const MULTIPLIER: u64 = 0x517c_c1b7_2722_0a95;

fn unkeyed(id: Id) -> u64 {
    let first = id.0.wrapping_mul(MULTIPLIER);
    (first.rotate_left(5) ^ id.1).wrapping_mul(MULTIPLIER)
}

/// An id with the hash 0, whatever its first word.
fn colliding(word: u64) -> Id {
    Id(word, word.wrapping_mul(MULTIPLIER).rotate_left(5))
}

type Manager = BasicConnManager<Id, Loopback>;

#[test]
fn ids_that_collide_under_an_unkeyed_hash_are_found_by_one_comparison() {
    const IDS: u64 = 20_000;
    let manager = Manager::builder().background(false).build().expect("a valid configuration");
    assert!((0..IDS).all(|word| unkeyed(colliding(word)) == 0), "all collide, where no key is");
    let score = manager.tag("score");
    for word in 0..IDS {
        manager.tag_peer(&colliding(word), &score, word as i64);
    }
    let before = COMPARED.load(Ordering::Relaxed);
    for word in 0..IDS {
        assert_eq!(manager.tag_value(&colliding(word), &score), Some(word as i64), "found");
        assert_eq!(manager.tag_value(&colliding(IDS + word), &score), None, "not there");
    }
    let compared = COMPARED.load(Ordering::Relaxed) - before;
    // One for each id that is there. (Two ids of one 64-bit hash would be one in 10^11 pairs.)
    assert!(compared <= IDS + 10, "{compared} comparisons for {IDS} ids");
}

/// The order in which a walk meets peers follows their hashes.
#[test]
fn each_manager_has_keys_of_its_own() {
    let order = |seed: Option<u64>| {
        let builder = Manager::builder().background(false);
        let builder = seed.into_iter().fold(builder, |builder, seed| builder.seed(seed));
        let manager = builder.build().expect("a valid configuration");
        for word in 0..1_000 {
            manager.tag_peer(&Id(word, 0), "seen", 1);
        }
        let order: Vec<u64> = manager.snapshot().iter().map(|peer| peer.peer().0).collect();
        assert_eq!(order.len(), 1_000, "all are there");
        order
    };
    assert_eq!(order(Some(7)), order(Some(7)), "the same keys, the same order");
    assert_ne!(order(Some(7)), order(Some(8)), "other keys, another order");
    assert_ne!(order(None), order(None), "keys are random unless they are asked for");
}
