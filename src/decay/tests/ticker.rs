//! The oracle: go-libp2p's decayer, step by step, with a tick for each resolution and a decay for each tick that is due.
//!
//! It shares nothing with what it is compared with but what a user would give to both: parameters and custom functions.

use super::*;

/// A value as the decayer keeps it.
#[derive(Clone, Copy, Debug)]
struct Value {
    now: i64,
    added: u64,
    bumped: u64,
    /// What its last bump made it, and how often it has decayed since.
    at_bump: i64,
    decays: u32,
}

/// What happens to a value at a tick that is due.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Keep,
    Subtract(i64),
    Multiply(f64),
    /// Halved in so many decays.
    Halve(u32),
    Idle(u64),
    Age(u64),
    Call,
}

/// What both sides call for [`Rule::Call`]. It uses everything that it is shown.
fn called(seen: &DecayingValue) -> Option<i64> {
    let (age, idle) = (seen.now - seen.added, seen.now - seen.bumped);
    let value = seen.value - 1 - (idle.as_nanos() % 3) as i64;
    (value > -30 && age.as_nanos() % 1000 != 7).then_some(value)
}

impl Rule {
    /// What a decay at `tick` leaves of `value`.
    fn decay(self, mut value: Value, tick: u64) -> Option<Value> {
        value.decays += 1;
        match self {
            Self::Keep => return Some(value),
            Self::Idle(after) => return (tick - value.bumped < after).then_some(value),
            Self::Age(after) => return (tick - value.added < after).then_some(value),
            Self::Call => {
                let [added, bumped, now] = [value.added, value.bumped, tick].map(Duration::from_nanos);
                value.now = called(&DecayingValue::new(value.now, added, bumped, now))?;
                return Some(value);
            }
            Self::Subtract(step) => value.now -= step,
            Self::Multiply(factor) => value.now = (value.now as f64 * factor).floor() as i64,
            Self::Halve(decays) => {
                // The greatest `x` that is not above `at_bump * 2^(-value.decays / decays)`, in whole numbers.
                let power = |x: i64| u128::from(x.unsigned_abs()).pow(decays);
                let halved = |x: i64| x > 0 && power(x) > power(value.at_bump) >> value.decays.min(127);
                while halved(value.now) {
                    value.now -= 1;
                }
            }
        }
        (value.now > 0).then_some(value)
    }
}

/// The decayer, with one tag that one peer may have.
struct Ticker {
    last_tick: u64,
    resolution: u64,
    next_decay: u64,
    interval: u64,
    rule: Rule,
    value: Option<Value>,
    decays: u64,
}

impl Ticker {
    fn new(registered: u64, resolution: u64, interval: u64, rule: Rule) -> Self {
        let interval = if interval < resolution { resolution } else { interval };
        let (last_tick, next_decay) = (registered, registered + interval);
        Self { last_tick, resolution, next_decay, interval, rule, value: None, decays: 0 }
    }

    /// Lets all ticks happen up to `now`.
    fn run(&mut self, now: u64) {
        while self.last_tick + self.resolution <= now {
            self.last_tick += self.resolution;
            if self.next_decay <= self.last_tick {
                self.value = self.value.and_then(|value| self.rule.decay(value, self.last_tick));
                self.next_decay += self.interval;
                self.decays += 1;
            }
        }
    }

    fn bump(&mut self, bump: Bump, delta: i64, now: u64) {
        let new = Value { now: 0, added: now, bumped: now, at_bump: 0, decays: 0 };
        let mut value = self.value.unwrap_or(new);
        value.now = match bump {
            Bump::Sum => value.now + delta,
            Bump::Within(min, max) => {
                let sum = value.now + delta;
                if sum >= max { max } else { if sum <= min { min } else { sum } }
            }
            Bump::Overwrite => delta,
            Bump::Call => {
                let [added, bumped, now] = [value.added, value.bumped, now].map(Duration::from_nanos);
                boosted(&DecayingValue::new(value.now, added, bumped, now), delta)
            }
        };
        self.value = Some(Value { bumped: now, at_bump: value.now, decays: 0, ..value });
    }
}

#[derive(Clone, Copy, Debug)]
enum Bump {
    Sum,
    Within(i64, i64),
    Overwrite,
    Call,
}

/// What both sides call for [`Bump::Call`].
fn boosted(seen: &DecayingValue, delta: i64) -> i64 {
    let (age, idle) = (seen.now - seen.added, seen.now - seen.bumped);
    seen.value / 2 + delta + (age.as_nanos() % 5) as i64 + (idle.as_nanos() % 7) as i64
}

/// A rule and the function that claims to follow it.
fn rule(dice: &mut Dice, interval: u64) -> (Rule, DecayFn) {
    let period = 1 + dice.roll(6 * interval);
    let nanos = Duration::from_nanos;
    match dice.roll(7) {
        0 => (Rule::Keep, DecayFn::none()),
        1 => {
            let step = dice.roll(30) as i64;
            (Rule::Subtract(step), DecayFn::fixed(step))
        }
        2 => {
            let factor = dice.roll(1000) as f64 / 1000.0;
            (Rule::Multiply(factor), DecayFn::linear(factor))
        }
        3 => {
            let decays = 1 + dice.roll(3);
            (Rule::Halve(decays as u32), DecayFn::half_life(nanos(decays * interval)))
        }
        4 => (Rule::Idle(period), DecayFn::expire_when_inactive(nanos(period))),
        5 => (Rule::Age(period), DecayFn::time_to_live(nanos(period))),
        _ => (Rule::Call, DecayFn::custom(called)),
    }
}

fn bump(dice: &mut Dice) -> (Bump, BumpFn) {
    match dice.roll(4) {
        0 => (Bump::Sum, BumpFn::sum_unbounded()),
        1 => {
            let (min, max) = (dice.roll(60) as i64 - 20, 40 + dice.roll(100) as i64);
            (Bump::Within(min, max), BumpFn::sum_bounded(min, max))
        }
        2 => (Bump::Overwrite, BumpFn::overwrite()),
        _ => (Bump::Call, BumpFn::custom(boosted)),
    }
}

#[test]
fn lazy_decay_is_what_ticking_gives() {
    const SEED: u64 = 1;
    let mut dice = Dice(SEED);
    let mut gone = 0;
    for case in 0..6000 {
        let (registered, resolution) = (dice.roll(1000), 1 + dice.roll(50));
        let asked = dice.roll(5 * resolution);
        let interval = asked.max(resolution);
        let ((rule, decay), (by, bump)) = (rule(&mut dice, interval), bump(&mut dice));
        assert_eq!((decay.check(), bump.check()), (Ok(()), Ok(())), "seed {SEED}, case {case}");
        let mut ticker = Ticker::new(registered, resolution, asked, rule);
        let schedule = Schedule::new(registered, resolution, asked);
        assert_eq!(schedule.interval(), interval, "raised to the resolution");
        let mut kept: Option<Stored> = None;
        let mut now = registered;
        for event in 0..40 {
            now += match dice.roll(4) {
                0 => dice.roll(3),
                1 => dice.roll(20 * interval),
                2 => dice.roll(3 * interval),
                // On a tick.
                _ => (resolution - (now - registered) % resolution) + resolution * dice.roll(4),
            };
            ticker.run(now);
            let told = || format!("seed {SEED}, case {case}, event {event}: {rule:?}, {by:?}, at {now}");
            assert_eq!(schedule.boundaries(now), ticker.decays, "{}", told());
            let value = kept.and_then(|stored| decay.at(&stored, &schedule, now));
            assert_eq!(value, ticker.value.map(|value| value.now), "{}, {schedule:?}, {kept:?}", told());
            gone += u32::from(kept.is_some() && value.is_none());
            if dice.roll(2) == 0 {
                let delta = dice.roll(200) as i64 - 40;
                ticker.bump(by, delta, now);
                let current = value.zip(kept.as_ref());
                let value = bump.apply(current, delta, now);
                assert_eq!(Some(value), ticker.value.map(|value| value.now), "{} by {delta}", told());
                kept = Some(Stored { value, bumped: now, added: current.map_or(now, |(_, old)| old.added) });
            }
        }
    }
    assert!(gone > 1000, "the schedules let values decay away: {gone}");
}

#[test]
fn boundaries_are_the_ticks_at_which_the_decayer_decays() {
    const SEED: u64 = 2;
    let mut dice = Dice(SEED);
    for case in 0..500 {
        let (registered, resolution) = (dice.roll(1000), 1 + dice.roll(60));
        let interval = dice.roll(400);
        let schedule = Schedule::new(registered, resolution, interval);
        let mut ticker = Ticker::new(registered, resolution, interval, Rule::Keep);
        let mut decays = 0;
        for now in registered..registered + 3000 {
            ticker.run(now);
            assert_eq!(schedule.boundaries(now), ticker.decays, "seed {SEED}, case {case}, at {now}");
            if ticker.decays > decays {
                decays += 1;
                assert_eq!(ticker.decays, decays, "one at a time");
                assert_eq!(schedule.boundary(decays), now, "seed {SEED}, case {case}: the {decays}th");
            }
        }
    }
}

/// Go's ResolutionMisaligned, in its figures.
#[test]
fn an_interval_that_is_no_multiple_of_the_resolution_keeps_its_average() {
    let millis = |millis: u64| millis * 1_000_000;
    let start = millis(7);
    let schedule = Schedule::new(start, millis(50), millis(70));
    let boundaries: Vec<_> = (1..=6).map(|boundary| schedule.boundary(boundary) - start).collect();
    assert_eq!(boundaries, [100, 150, 250, 300, 350, 450].map(millis), "1.4 resolutions");
    let slower = Schedule::new(start, millis(50), millis(120));
    let at = |schedule: &Schedule, tick| {
        let stored = Stored { value: 1000, bumped: start, added: start };
        DecayFn::fixed(1).at(&stored, schedule, start + tick * millis(50))
    };
    assert_eq!([1, 2, 3].map(|tick| at(&schedule, tick)), [1000, 999, 998].map(Some));
    assert_eq!([1, 2, 3].map(|tick| at(&slower, tick)), [1000, 1000, 999].map(Some));
    assert_eq!(Schedule::new(start, millis(50), millis(20)).interval(), millis(50), "raised");
}

#[test]
fn a_schedule_ends_with_time_and_does_not_wrap() {
    let schedule = Schedule::new(u64::MAX - 10, 3, 4);
    assert_eq!(schedule.boundaries(u64::MAX), 2, "at 6 and at 9");
    assert_eq!(
        [1, 2, 3, u64::MAX].map(|boundary| schedule.boundary(boundary)),
        [u64::MAX - 4, u64::MAX - 1, u64::MAX, u64::MAX]
    );
    let longest = Schedule::new(0, u64::MAX, u64::MAX);
    assert_eq!((longest.boundaries(u64::MAX), longest.boundary(u64::MAX)), (1, u64::MAX));
    let coarse = Schedule::new(0, u64::MAX - 1, u64::MAX);
    assert_eq!((coarse.boundaries(u64::MAX), coarse.boundary(u64::MAX)), (0, u64::MAX));
    let shortest = Schedule::new(0, 0, 0);
    assert_eq!((shortest.interval(), shortest.boundaries(u64::MAX)), (1, u64::MAX));
    assert_eq!(Schedule::new(100, 10, 10).boundaries(50), 0, "before it was registered");
}
