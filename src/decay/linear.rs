//! Decay by a factor, after each boundary rounded down to a whole number: it has no closed form.
//!
//! One step makes `floor(v * f)` of `v`, the product rounded to the nearest double, as in Go. Stepping once for each
//! boundary would make a read after a long gap slow, so steps that take equally much off are taken together: a *stretch*.
//! Below, `g = 1 - f`; a *grid* is the set of multiples of a power of two that the doubles of one binade are.
//!
//! **After one step every value is a double**, being the floor of one. Only the first value may be none, beyond 2^53.
//!
//! **Every step takes something off**, from a positive double `w`. As `f < 1` is a double, `f <= 1 - 2^-53`, and `w * f` lies
//! at least `w * 2^-53` below `w`: that is the distance to the next lower double if `w` is a power of two, and more than half of it
//! otherwise. So the product is rounded to less than `w`, and its floor is at most `w - 1`. There is no fixed point.
//!
//! **While products share a binade, a smaller value never loses more than a greater one.** Let `q` be the spacing of that
//! grid. The stretch's values are multiples of `q`. For `q <= 1` they are so as integers; else the first one is so as a double
//! that is greater than its product, and the others because they are less by what a step takes off, a difference of two
//! such multiples. (So they are doubles, too: they are no greater than the first product, and lie on its grid.) Then
//! `w - round(w * f) = round'(w * g)`, where `round'` also rounds to the nearest multiple of `q`, perhaps choosing otherwise
//! between equally near ones. Rounding to the nearest preserves order, whichever it chooses. What a step takes off is that,
//! rounded up to an integer, which preserves order too. (A product that is rounded up to the end of its binade has the exponent
//! of the next; on that one's grid it is rounded to the same.)
//! Hence, if the first and the last step of a stretch take `d` off and have products of one exponent, all between take
//! `d` off: one multiplication checks any number of steps.
//!
//! **How many stretches there are, whatever the gap.** What a step takes off differs from `w * g` by less than 2, or is a
//! multiple of `q > 1` that differs by less than `q`. So a binade has at most 3 stretches more than `w * g` passes integers
//! in it, and all 62 from `v` down have at most `v * g + 200`. While `w > 1 / g^2`, counting steps gives less: a step leaves at
//! most `w * (1 - g)` (and a rounding of 2^-53, which matters only if no `w` is that great), so `ln(v * g^2) / g` of them bring
//! `w` to `1 / g^2`, and `w * g` to `1 / g`. As `v <= 2^62`, that makes `44 / g + 200` at most.

/// What `value` has come to after that many decays by `factor`, or `None` if it has decayed away.
pub(super) fn decayed(value: i64, factor: f64, boundaries: u64) -> Option<i64> {
    let Some(mut left) = boundaries.checked_sub(1) else { return Some(value) };
    let mut value = whole(value as f64 * factor);
    while value > 0 && left > 0 {
        let stretch = stretch(value, factor, left);
        value -= stretch.loss * stretch.steps;
        left -= stretch.steps as u64;
    }
    (value > 0).then_some(value)
}

/// A product, rounded down.
fn whole(product: f64) -> i64 {
    product.floor() as i64
}

/// Steps that take equally much off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stretch {
    /// How many there are: at least one.
    pub(super) steps: i64,
    /// What each takes off: at least one.
    pub(super) loss: i64,
}

/// The longest stretch from `value` on, of `most` steps at most. `value` is positive and a double.
pub(super) fn stretch(value: i64, factor: f64, most: u64) -> Stretch {
    let first = value as f64 * factor;
    let loss = value - whole(first);
    // Whether the step of that number is like the first.
    let alike = |number: i64| {
        let from = value - (number - 1) * loss;
        let product = from as f64 * factor;
        exponent(product) == exponent(first) && from - whole(product) == loss
    };
    // As many steps as start above zero.
    let most = most.min(((value - 1) / loss + 1) as u64) as i64;
    let (mut steps, mut too_many) = (1, 2);
    while too_many <= most && alike(too_many) {
        (steps, too_many) = (too_many, 2 * too_many);
    }
    too_many = too_many.min(most + 1);
    while too_many - steps > 1 {
        let middle = steps + (too_many - steps) / 2;
        if alike(middle) {
            steps = middle;
        } else {
            too_many = middle;
        }
    }
    Stretch { steps, loss }
}

/// The binade of a number that is not negative.
fn exponent(number: f64) -> u64 {
    number.to_bits() >> (f64::MANTISSA_DIGITS - 1)
}
