//! How threads are made to meet, by dice, and what each has closed.

use std::cell::{Cell, RefCell};
use std::hint;
use std::thread;

/// Small, fast, and the same everywhere: splitmix64.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of one thread of one history.
    pub fn new(seed: u64, number: u64, thread: u64) -> Self {
        let mut dice = Self(seed ^ number.rotate_left(20) ^ thread.rotate_left(50));
        dice.roll(1);
        dice
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ bits >> 31) % sides
    }

    pub fn below(&mut self, sides: usize) -> usize {
        self.roll(sides as u64) as usize
    }
}

thread_local! {
    /// What decides on this thread's pauses.
    static DICE: Cell<u64> = const { Cell::new(0) };
    /// The connections that this thread closed: peer, serial and when.
    static CLOSED: RefCell<Vec<(usize, u16, u64)>> = const { RefCell::new(Vec::new()) };
}

/// Lets another thread go first, or catch up, or neither.
pub fn pause() {
    let mut dice = Dice(DICE.get());
    match dice.roll(12) {
        0 => thread::yield_now(),
        1 | 2 => (0..dice.roll(200)).for_each(|_| hint::spin_loop()),
        _ => {}
    }
    DICE.set(dice.0);
}

/// Lets others go first for as long as several of their operations take.
pub fn dawdle() {
    let mut dice = Dice(DICE.get());
    (0..dice.roll(4)).for_each(|_| thread::yield_now());
    DICE.set(dice.0);
}

/// Has the pauses of this thread follow from the seed.
pub fn set_dice(dice: &mut Dice) {
    DICE.set(dice.roll(u64::MAX));
}

/// Notes that this thread has closed a connection.
pub fn note_closed(peer: usize, serial: u16, at: u64) {
    CLOSED.with_borrow_mut(|closed| closed.push((peer, serial, at)));
}

/// What this thread has closed since it was asked last.
pub fn take_closed() -> Vec<(usize, u16, u64)> {
    CLOSED.take()
}
