//! All that is checked of a history.

use std::fmt::{Display, Write};

use super::history::History;
use super::{cuts, minimise};

/// What is wrong with a history, if anything.
pub fn judge(history: &History) -> Option<String> {
    let told = |what: &str, lines: &mut dyn Iterator<Item = &dyn Display>| {
        lines.fold(format!("{what}\n"), |mut text, line| {
            writeln!(text, "  {line}").expect("a string takes whatever is written to it");
            text
        })
    };
    if let Some(fault) = history.faults.first() {
        return Some(fault.clone());
    }
    if let Some(torn) = cuts::torn(history) {
        return Some(told(&torn.what, &mut torn.lines.iter().map(|line| line as &dyn Display)));
    }
    let peers = history.records.iter().map(|record| record.peer + 1).max().unwrap_or(0);
    (0..peers).find_map(|peer| {
        let witness = minimise::failing(&history.records, peer)?;
        let what = format!("no order explains these operations on peer {peer}, which had {}:", witness.first);
        Some(told(&what, &mut witness.records.iter().map(|record| record as &dyn Display)))
    })
}
