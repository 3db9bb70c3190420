//! Presets, schedules and bounds by hand; [`ticker`] holds all of it against an oracle.

mod ticker;

use std::cell::RefCell;

use super::*;
use crate::versioned::{MAX_WEIGHT, MIN_WEIGHT};
use function::CALLS;
use linear::{Stretch, stretch};

const SECOND: u64 = 1_000_000_000;
const YEAR: u64 = 365 * 24 * 60 * 60 * SECOND;

/// Small, and the same everywhere: splitmix64.
struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.bits() % sides
    }
}

thread_local! {
    /// What custom functions were shown on this thread.
    static SHOWN: RefCell<Vec<DecayingValue>> = const { RefCell::new(Vec::new()) };
}

fn show(seen: &DecayingValue) {
    SHOWN.with_borrow_mut(|shown| shown.push(*seen));
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Boundaries at every second, from the origin on.
fn each_second() -> Schedule {
    Schedule::new(0, SECOND, SECOND)
}

/// Bumped to `value` at the origin.
fn stored(value: i64) -> Stored {
    Stored { value, bumped: 0, added: 0 }
}

/// What `value` is after each of those numbers of boundaries.
fn after<const N: usize>(decay: &DecayFn, value: i64, boundaries: [u64; N]) -> [Option<i64>; N] {
    decay.check().expect("good parameters");
    boundaries.map(|passed| decay.at(&stored(value), &each_second(), passed * SECOND))
}

/// One function of each kind.
fn presets() -> Vec<DecayFn> {
    let fade = |seen: &DecayingValue| seen.value.checked_sub(1).filter(|value| *value != 0);
    vec![
        DecayFn::none(),
        DecayFn::fixed(0),
        DecayFn::fixed(i64::MAX),
        DecayFn::linear(0.0),
        DecayFn::linear(0.9),
        DecayFn::linear(f64::MIN_POSITIVE),
        DecayFn::half_life(secs(100)),
        DecayFn::half_life(Duration::from_nanos(1)),
        DecayFn::expire_when_inactive(secs(100)),
        DecayFn::time_to_live(secs(100)),
        DecayFn::custom(fade),
    ]
}

#[test]
fn presets_decay_as_they_say() {
    let gone = None;
    assert_eq!(after(&DecayFn::none(), 7, [0, 1, 1000]), [Some(7); 3]);
    assert_eq!(after(&DecayFn::none(), -7, [0, 1, 1000]), [Some(-7); 3], "as Go's, which removes nothing");
    assert_eq!(after(&DecayFn::fixed(3), 7, [0, 1, 2, 3]), [Some(7), Some(4), Some(1), gone]);
    assert_eq!(after(&DecayFn::fixed(3), 6, [1, 2]), [Some(3), gone], "0 is removed");
    assert_eq!(after(&DecayFn::fixed(0), 6, [1, u64::MAX / SECOND]), [Some(6); 2]);
    assert_eq!(after(&DecayFn::fixed(0), 0, [0, 1]), [Some(0), gone], "removed at a boundary, not before");
    assert_eq!(after(&DecayFn::linear(0.5), 1000, [1, 2, 3, 4]), [500, 250, 125, 62].map(Some));
    assert_eq!(after(&DecayFn::linear(0.5), 1, [0, 1]), [Some(1), gone]);
    assert_eq!(after(&DecayFn::linear(0.5), -8, [0, 1]), [Some(-8), gone]);
    let half = DecayFn::half_life(secs(2));
    assert_eq!(after(&half, 1000, [0, 1, 2, 3, 4, 19]), [1000, 707, 500, 353, 250, 1].map(Some));
    assert_eq!(after(&half, 1000, [20, 1000]), [gone; 2]);
    assert_eq!(after(&half, 0, [0, 1]), [Some(0), gone]);
    for idle in [DecayFn::expire_when_inactive(secs(3)), DecayFn::time_to_live(secs(3))] {
        assert_eq!(after(&idle, 7, [0, 2, 3, 4]), [Some(7), Some(7), gone, gone], "{idle:?}");
        assert_eq!(after(&idle, -7, [0, 2, 3]), [Some(-7), Some(-7), gone], "{idle:?}");
    }
}

#[test]
fn a_bump_puts_inactivity_off_and_a_lifetime_not() {
    let bumped_at_two = Stored { value: 7, bumped: 2 * SECOND, added: 0 };
    let at = |decay: &DecayFn, now| decay.at(&bumped_at_two, &each_second(), now * SECOND);
    let inactive = DecayFn::expire_when_inactive(secs(3));
    assert_eq!([4, 5].map(|now| at(&inactive, now)), [Some(7), None]);
    let lifetime = DecayFn::time_to_live(secs(3));
    assert_eq!([2, 3].map(|now| at(&lifetime, now)), [Some(7), None]);
}

/// Whatever a clock that went backwards says, a value has not decayed before it was bumped.
#[test]
fn a_clock_that_goes_backwards_decays_nothing() {
    let later = Stored { value: 7, bumped: 500 * SECOND, added: 400 * SECOND };
    for decay in presets() {
        for now in [0, 3, 499, 500] {
            assert_eq!(decay.at(&later, &each_second(), now * SECOND), Some(7), "{decay:?} at {now} s");
        }
    }
}

#[test]
fn halving_a_value_that_no_double_holds_is_exact() {
    let half = DecayFn::half_life(secs(3));
    assert_eq!(after(&half, MAX_WEIGHT, [3, 6, 183]), [MAX_WEIGHT >> 1, MAX_WEIGHT >> 2, 1].map(Some));
    assert_eq!(after(&half, MAX_WEIGHT, [186]), [None]);
    // Of so small a part of a half-life nothing is left in a double, and the value's own double is greater than it.
    let hardly = DecayFn::half_life(secs(100 * 365 * 24 * 60 * 60));
    let first = hardly.at(&stored(MAX_WEIGHT), &Schedule::new(0, 1, 1), 1);
    assert_eq!(first, Some(MAX_WEIGHT), "rounding does not make it grow");
}

/// With a step for which `steps` times `step` is beyond 64 bits, and values at both ends.
#[test]
fn extremes_overflow_nothing() {
    let densest = Schedule::new(0, 1, 1);
    let values = [i64::MIN, MIN_WEIGHT, -1, 0, 1, (1 << 53) + 1, MAX_WEIGHT, i64::MAX];
    for decay in presets() {
        decay.check().expect("good parameters");
        for value in values {
            for now in [0, 1, CALLS, u64::MAX] {
                let decayed = decay.at(&stored(value), &densest, now);
                assert!(
                    value < 0 || decayed.is_none_or(|decayed| decayed <= value),
                    "{decay:?} of {value} at {now}: {decayed:?}"
                );
            }
        }
    }
    let bumps = [BumpFn::sum_unbounded(), BumpFn::sum_bounded(i64::MIN, i64::MAX), BumpFn::overwrite()];
    for bump in bumps {
        for value in values {
            let current = Some((value, &stored(value)));
            assert_eq!(bump.apply(current.filter(|_| value > 0), i64::MAX, 0), MAX_WEIGHT, "{bump:?}");
            assert_eq!(bump.apply(current.filter(|_| value < 0), i64::MIN, 0), MIN_WEIGHT, "{bump:?}");
        }
    }
}

#[test]
fn bumps_do_as_they_say() {
    let old = Stored { value: 40, bumped: 3, added: 2 };
    let apply = |bump: &BumpFn, delta| bump.apply(Some((30, &old)), delta, 5);
    assert_eq!(apply(&BumpFn::sum_unbounded(), 12), 42);
    assert_eq!([-100, 5, 100].map(|delta| apply(&BumpFn::sum_bounded(10, 50), delta)), [10, 35, 50]);
    assert_eq!(BumpFn::sum_bounded(10, 20).apply(None, 5, 5), 10, "from 0 on");
    assert_eq!(apply(&BumpFn::overwrite(), 12), 12);

    let custom = BumpFn::custom(|seen, delta| {
        show(seen);
        if delta > 0 { i64::MAX } else { delta }
    });
    assert_eq!(apply(&custom, 12), MAX_WEIGHT, "saturated");
    assert_eq!(custom.apply(None, -1, 5), -1);
    let nanos = Duration::from_nanos;
    let old = DecayingValue::new(30, nanos(2), nanos(3), nanos(5));
    let new = DecayingValue::new(0, nanos(5), nanos(5), nanos(5));
    assert_eq!(SHOWN.take(), [old, new], "what it was, and what nothing was");
}

#[test]
fn bad_parameters_are_told() {
    let too_long = Duration::from_secs(100 * 365 * 24 * 60 * 60) + Duration::from_nanos(1);
    let cases = [
        (DecayFn::fixed(-1), "decay step -1 is negative"),
        (DecayFn::linear(1.0), "decay factor 1 is not at least 0 and below 1"),
        (DecayFn::linear(-0.1), "decay factor -0.1 is not at least 0 and below 1"),
        (DecayFn::linear(f64::NAN), "decay factor NaN is not at least 0 and below 1"),
        (DecayFn::linear(f64::INFINITY), "decay factor inf is not at least 0 and below 1"),
        (DecayFn::half_life(Duration::ZERO), "half-life is zero"),
        (DecayFn::half_life(too_long), "half-life of 3153600000 s is longer than a hundred years"),
        (DecayFn::expire_when_inactive(Duration::ZERO), "inactive period is zero"),
        (DecayFn::time_to_live(Duration::MAX), "of 18446744073709551615 s is longer than a hundred years"),
    ];
    for (decay, why) in cases {
        let refused = decay.check().expect_err(why).to_string();
        assert!(refused.ends_with(why), "{decay:?}: {refused}");
    }
    let refused = BumpFn::sum_bounded(2, 1).check();
    assert_eq!(refused, Err(DecayError::Bounds { min: 2, max: 1 }));
    assert_eq!(BumpFn::sum_bounded(1, 1).check(), Ok(()));
    assert!(presets().iter().all(|decay| decay.check().is_ok()), "good parameters pass");
    assert_eq!(DecayFn::half_life(too_long - Duration::from_nanos(1)).check(), Ok(()), "the longest passes");
}

/// A bump leaves the time of the last one where the function says that the two make no difference.
#[test]
fn functions_say_which_times_of_a_bump_are_the_same_to_them() {
    let schedule = Schedule::new(0, 10, 25);
    let expiring = DecayFn::expire_when_inactive(Duration::from_nanos(55));
    for decay in presets().into_iter().chain([expiring.clone()]) {
        for (one, other) in (20..120).flat_map(|one| (20..120).map(move |other| (one, other))) {
            if !decay.same_from(one, other, &schedule) {
                continue;
            }
            for now in (0..500).step_by(7).filter(|now| *now >= one.max(other)) {
                let at = |bumped| decay.at(&Stored { value: 100_000, bumped, added: 10 }, &schedule, now);
                assert_eq!(at(one), at(other), "{decay:?} at {now}, bumped at {one} or {other}");
            }
        }
    }
    let fixed = DecayFn::fixed(1);
    assert!(
        fixed.same_from(30, 49, &schedule) && !fixed.same_from(49, 50, &schedule),
        "boundaries at 30, 50"
    );
    // 55 after 45 is the boundary at 100.
    assert!(expiring.same_from(26, 45, &schedule) && !expiring.same_from(45, 46, &schedule));
    let custom = DecayFn::custom(|seen| Some(seen.value));
    assert!(custom.same_from(30, 30, &schedule) && !custom.same_from(30, 31, &schedule));
    assert!(BumpFn::custom(|seen, _| seen.value).reads_last_bump());
    assert!(!BumpFn::overwrite().reads_last_bump());
}

#[test]
fn a_custom_function_is_called_for_the_first_boundaries_and_the_latest() {
    let decay = DecayFn::custom(|seen| {
        show(seen);
        Some(seen.value - 1)
    });
    let ends = CALLS - 1;
    for passed in [0, 1, ends, CALLS, CALLS + 1, 30 * YEAR / SECOND] {
        let [value] = after(&decay, 1_000_000, [passed]);
        let shown = SHOWN.take();
        let boundaries = (1..=passed.min(ends)).chain((passed > ends).then_some(passed));
        let values = (0..).map(|calls| 1_000_000 - calls);
        let expected: Vec<_> = values
            .zip(boundaries)
            .map(|(value, boundary)| DecayingValue::new(value, secs(0), secs(0), secs(boundary)))
            .collect();
        assert_eq!(shown, expected, "{passed} boundaries");
        assert_eq!(shown.len() as u64, passed.min(1024), "the bound that is documented");
        assert_eq!(value, Some(1_000_000 - shown.len() as i64), "each call counts");
    }
    let removing = DecayFn::custom(|seen| (seen.value > 1).then_some(seen.value - 1));
    assert_eq!(after(&removing, 5, [4, 5, 30 * YEAR / SECOND]), [Some(1), None, None]);
    assert_eq!(after(&DecayFn::custom(|_| Some(i64::MIN)), 5, [1]), [Some(MIN_WEIGHT)], "saturated");
}

/// Panics when it is dropped, as a panic's payload may.
struct Spiteful;

impl Drop for Spiteful {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn a_panic_leaves_the_value_as_it_was() {
    let decay = DecayFn::custom(|seen| {
        if seen.now >= secs(3) {
            std::panic::panic_any(Spiteful);
        }
        Some(seen.value - 1)
    });
    assert_eq!(after(&decay, 10, [0, 1, 2, 3, 4]), [10, 9, 8, 10, 10].map(Some));
}

/// Steps `value` by `factor`, as Go does.
fn stepwise(value: i64, factor: f64, boundaries: u64) -> Option<i64> {
    (0..boundaries).try_fold(value, |value, _| {
        let product = (value as f64 * factor).floor() as i64;
        (product > 0).then_some(product)
    })
}

/// Factors from hardly any to the greatest there is.
fn factors(dice: &mut Dice) -> f64 {
    let below_one = |steps: u64| f64::from_bits(1.0_f64.to_bits() - steps);
    match dice.roll(5) {
        0 => dice.roll(1000) as f64 / 1000.0,
        1 => 1.0 - 10.0_f64.powi(-(1 + dice.roll(15) as i32)),
        2 => below_one(1 + dice.roll(9)),
        3 => below_one(1 << dice.roll(53)),
        _ => below_one(1 + dice.bits() % (1 << (1 + dice.roll(52)))),
    }
}

#[test]
fn stretches_are_what_steps_are() {
    const SEED: u64 = 5;
    let mut dice = Dice(SEED);
    for case in 0..4000 {
        let factor = factors(&mut dice);
        // Near powers of two, where the spacing of doubles changes, and anywhere.
        let power = 1_i64 << dice.roll(62);
        let value = match dice.roll(3) {
            0 => power + dice.roll(40) as i64 - 20,
            1 => power + (dice.bits() % power as u64) as i64,
            _ => dice.roll(100_000) as i64,
        };
        let value = value.min(MAX_WEIGHT);
        let boundaries = if case % 100 == 0 { 200_000 } else { dice.roll(2000) };
        assert_eq!(
            linear::decayed(value, factor, boundaries),
            stepwise(value, factor, boundaries),
            "seed {SEED}, case {case}: {value} after {boundaries} boundaries of {factor:?}"
        );
    }
}

/// The stretches of `value` until it is gone.
fn stretches(mut value: i64, factor: f64) -> u64 {
    let mut count = 0;
    while value > 0 {
        let Stretch { steps, loss } = stretch(value, factor, u64::MAX);
        assert!(steps >= 1 && loss >= 1, "each takes something off: {value} by {factor:?}");
        value -= steps * loss;
        count += 1;
    }
    count
}

#[test]
fn a_linear_decay_takes_a_bounded_number_of_stretches_whatever_the_gap() {
    const SEED: u64 = 6;
    let mut dice = Dice(SEED);
    let mut cases = 0;
    while cases < 1000 {
        let factor = factors(&mut dice);
        let value = 1_i64 << dice.roll(63).min(62);
        let rest = 1.0 - factor;
        let bound = (44.0 / rest).min(value as f64 * rest) + 200.0;
        // Those that would take long are tried no further than their first stretches.
        if bound > 50_000.0 {
            continue;
        }
        cases += 1;
        let count = stretches(value, factor);
        assert!(count as f64 <= bound, "seed {SEED}: {value} by {factor:?} takes {count}, over {bound}");
    }
    let million = stretches(1_000_000, 0.999_9);
    assert!(million < 500, "a factor that is usual, from a million: {million}");
    // Half a century at a second.
    assert_eq!(
        after(&DecayFn::linear(0.999_999_999), 1_000_000, [999_999, 50 * YEAR / SECOND]),
        [Some(1), None]
    );
}
