//! Snapshots as consistent cuts, of histories in which some tags are counters: they are raised by one and never cleared.
//!
//! A counter's value tells which updates are in a snapshot, so what the cut must hold can be said outright:
//! every update that had returned before, none that began after, and with an update whatever it could have seen.

use std::fmt;

use super::history::{CutRecord, Event, History, Record, TAGS, tag_name};

/// The tags that are counters, where there are any.
pub const COUNTERS: usize = 2;
const _: () = assert!(COUNTERS < TAGS, "one tag is left to change the structure with");

/// A counter: a peer and a tag.
type Counter = (usize, usize);

/// What somebody knew: that the counter had come to this value, by this time.
struct Known<'h> {
    counter: Counter,
    value: i64,
    by: u64,
    source: Source<'h>,
}

#[derive(Clone, Copy)]
enum Source<'h> {
    Record(&'h Record),
    Cut(&'h CutRecord),
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(record) => record.fmt(f),
            Self::Cut(cut) => cut.fmt(f),
        }
    }
}

/// A snapshot that is no consistent cut, and why.
#[derive(Debug)]
pub struct Torn {
    pub what: String,
    pub lines: Vec<String>,
}

/// The first snapshot of `history` that is not a consistent cut.
pub fn torn(history: &History) -> Option<Torn> {
    let known = known(history);
    history.cuts.iter().find_map(|cut| {
        let mut values = cut
            .seen
            .iter()
            .flat_map(|(peer, tags)| (0..COUNTERS).map(|tag| ((*peer, tag), tags[tag].unwrap_or(0))));
        values.find_map(|(counter, value)| check(cut, counter, value, &known, history))
    })
}

fn known(history: &History) -> Vec<Known<'_>> {
    let mut known = Vec::new();
    for record in &history.records {
        let (by, source) = (record.to, Source::Record(record));
        let found = match record.event {
            Event::Upsert { tag, to, .. } => Some((tag, to)),
            Event::TagValue { tag, value: Some(value) } => Some((tag, value)),
            // Those of snapshots are found among the cuts.
            Event::ValueIn { tag, value, .. } if record.taken.is_none() => Some((tag, value)),
            _ => None,
        };
        if let Some((tag, value)) = found.filter(|found| found.0 < COUNTERS) {
            known.push(Known { counter: (record.peer, tag), value, by, source });
        }
        if let Some((peer, tag, value)) = record.saw {
            known.push(Known { counter: (peer, tag), value, by, source });
        }
    }
    for cut in &history.cuts {
        for (peer, tags) in &cut.seen {
            for (tag, value) in tags.iter().enumerate().take(COUNTERS) {
                let (counter, value) = ((*peer, tag), value.unwrap_or(0));
                known.push(Known { counter, value, by: cut.to, source: Source::Cut(cut) });
            }
        }
    }
    known
}

/// Checks what `cut` holds of `counter`.
fn check(
    cut: &CutRecord,
    counter: Counter,
    value: i64,
    known: &[Known<'_>],
    history: &History,
) -> Option<Torn> {
    let name = format!("peer {}'s {}", counter.0, tag_name(counter.1));
    let torn = |what: String, others: &[&dyn fmt::Display]| {
        let lines = others.iter().map(ToString::to_string).chain([cut.to_string()]).collect();
        Some(Torn { what, lines })
    };
    let of_counter = || known.iter().filter(|known| known.counter == counter && known.value > value);
    if let Some(missed) = of_counter().find(|known| known.by < cut.from) {
        let what = format!("{name} had come to {} before the snapshot, which has {value}", missed.value);
        return torn(what, &[&missed.source]);
    }
    for record in &history.records {
        let Event::Upsert { tag, to, .. } = record.event else { continue };
        let of = (record.peer, tag);
        if of == counter && to <= value && record.from > cut.taken {
            let what =
                format!("{name} came to {to} by an update that began after the snapshot had been taken");
            return torn(what, &[record]);
        }
        let Some((_, tags)) = cut.seen.iter().find(|(peer, _)| *peer == of.0) else { continue };
        if tag >= COUNTERS || tags[tag].unwrap_or(0) < to {
            continue;
        }
        // This update is in, so what it could have seen must be.
        if let Some((_, _, seen)) = record.saw.filter(|saw| (saw.0, saw.1) == counter && saw.2 > value) {
            let what =
                format!("the snapshot holds an update that had seen {name} at {seen}, and has {value}");
            return torn(what, &[record]);
        }
        if let Some(missed) = of_counter().find(|known| known.by < record.from) {
            let what = format!(
                "the snapshot holds an update before which {name} had come to {}, and has {value}",
                missed.value
            );
            return torn(what, &[&missed.source, record]);
        }
    }
    None
}
