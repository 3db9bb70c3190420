//! Results in print: JSON objects, one a line.

use serde::Serialize;

/// Prints a line.
pub fn json(line: &impl Serialize) {
    println!("{}", serde_json::to_string(line).expect("a plain structure"));
}

/// A figure held against its target: both are the better the less they are.
#[derive(Clone, Copy, Serialize, Debug)]
pub struct Verdict {
    /// What the figure must not exceed.
    pub target: f64,
    /// Whether it does not.
    pub met: bool,
    /// By how much it exceeds the target, if that is not zero; below zero, what there is to spare.
    pub short_by_percent: Option<f64>,
}

impl Verdict {
    /// Of `figure`.
    pub fn of(figure: f64, target: f64) -> Self {
        let short_by = ((figure / target - 1.0) * 1000.0).round() / 10.0;
        Self { target, met: figure <= target, short_by_percent: (target != 0.0).then_some(short_by) }
    }
}

/// A target with what was found, where it is not part of another line.
#[derive(Serialize)]
pub struct Held<'a> {
    bench: &'a str,
    verdict_on: String,
    figure: f64,
    #[serde(flatten)]
    verdict: Verdict,
}

/// Prints how a figure compares with its target.
pub fn verdict(bench: &str, verdict_on: impl Into<String>, figure: f64, target: f64) {
    let figure = (figure * 1000.0).round() / 1000.0;
    json(&Held { bench, verdict_on: verdict_on.into(), figure, verdict: Verdict::of(figure, target) });
}

/// The middle one of `values`, the higher one of two.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The least of `values`.
pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}
