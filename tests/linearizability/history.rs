//! What threads did and heard: one record for each operation, with the interval in which it ran.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::subject::Protection;

/// How many tags, protections and connection ids a history is about. Few, so that threads collide.
pub const TAGS: usize = 3;
pub const PROTECTIONS: usize = 2;
pub const CONNS: usize = 2;

const TAG_NAMES: [&str; TAGS] = ["a", "b", "c"];
const PROTECTION_NAMES: [&str; PROTECTIONS] = ["p", "q"];

pub fn tag_name(tag: usize) -> &'static str {
    TAG_NAMES[tag]
}

pub fn protection_name(protection: usize) -> &'static str {
    PROTECTION_NAMES[protection]
}

/// The place of a name among those of `tag_name`, or of `protection_name`.
pub fn tag_of(name: &str) -> usize {
    TAG_NAMES.iter().position(|known| *known == name).expect("a tag that a program has set")
}

pub fn protection_of(name: &str) -> usize {
    PROTECTION_NAMES.iter().position(|known| *known == name).expect("a protection that a program has set")
}

/// One counter for all threads: a stamp taken before another is lower.
#[derive(Default)]
pub struct Stamps(AtomicU64);

impl Stamps {
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// A connection a peer holds. The serial tells connections of one id apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Held {
    pub serial: u16,
    pub closing: bool,
}

/// The structure of a peer as a reader found it: all but the values of its tags.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Shape {
    /// A bit for each tag.
    pub tags: u8,
    pub conns: [Option<Held>; CONNS],
    /// A bit for each protection, where the reader is told of them.
    pub protections: Option<u8>,
}

/// An operation on one peer, with what it returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Upsert {
        tag: usize,
        add: i64,
        to: i64,
    },
    Set {
        tag: usize,
        to: i64,
    },
    Untag {
        tag: usize,
    },
    TagValue {
        tag: usize,
        value: Option<i64>,
    },
    Protect {
        name: usize,
        found: Protection,
    },
    Unprotect {
        name: usize,
        still: bool,
    },
    IsProtected {
        name: Option<usize>,
        is: bool,
    },
    Connected {
        id: usize,
        serial: u16,
    },
    Disconnected {
        id: usize,
    },
    /// A trim closed these connections, of a peer that had this value.
    Claim {
        serials: Vec<u16>,
        value: i64,
        protected: bool,
    },
    /// A trim chose the peer and spared it, as it found it protected.
    Spared,
    /// A trim that removed temporary records ran: the peer may have been one of them.
    MayExpire,
    /// A snapshot or `tag_info` found this structure,
    Structure {
        shape: Shape,
    },
    /// and in this very structure this value.
    ValueIn {
        shape: Shape,
        tag: usize,
        value: i64,
    },
}

impl Event {
    /// Whether it changes nothing, whatever it finds.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::TagValue { .. }
                | Self::IsProtected { .. }
                | Self::Spared
                | Self::Structure { .. }
                | Self::ValueIn { .. }
        )
    }
}

/// One operation of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub thread: usize,
    pub peer: usize,
    /// When it was called, and when it had returned.
    pub from: u64,
    pub to: u64,
    /// When the snapshot had been taken that this is a reading of.
    pub taken: Option<u64>,
    /// What the closure of an upsert read meanwhile: peer, tag and value.
    pub saw: Option<(usize, usize, i64)>,
    pub event: Event,
}

impl Record {
    pub fn new(thread: usize, peer: usize, (from, to): (u64, u64), event: Event) -> Self {
        Self { thread, peer, from, to, taken: None, saw: None, event }
    }

    /// Until when it had taken effect, as an operation sees it that changes something, or does not.
    ///
    /// Nothing that changes a peer after a snapshot has been taken is in it. What was under way then may come to be seen
    /// between two readings, so a reading holds its place among reads only until it ends.
    pub fn deadline(&self, changing: bool) -> u64 {
        match self.taken {
            Some(taken) if changing => taken,
            _ => self.to,
        }
    }
}

/// One snapshot, with what was read of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CutRecord {
    pub thread: usize,
    pub from: u64,
    pub taken: u64,
    pub to: u64,
    /// For each peer that was read, the value of each tag.
    pub seen: Vec<(usize, [Option<i64>; TAGS])>,
}

/// Everything that happened to one manager.
#[derive(Clone, Default, Debug)]
pub struct History {
    pub records: Vec<Record>,
    pub cuts: Vec<CutRecord>,
    /// What was wrong at a glance.
    pub faults: Vec<String>,
}

impl History {
    /// Adds what other threads did.
    pub fn extend(&mut self, others: impl IntoIterator<Item = Self>) {
        for mut other in others {
            self.records.append(&mut other.records);
            self.cuts.append(&mut other.cuts);
            self.faults.append(&mut other.faults);
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags: Vec<_> = (0..TAGS).filter(|tag| self.tags >> tag & 1 == 1).map(tag_name).collect();
        write!(f, "tags [{}], connections [", tags.join(" "))?;
        write_conns(f, &self.conns)?;
        f.write_str("]")?;
        if let Some(protections) = self.protections {
            write!(f, ", protections [{}]", protection_names(protections))?;
        }
        Ok(())
    }
}

pub fn write_conns(f: &mut fmt::Formatter<'_>, conns: &[Option<Held>]) -> fmt::Result {
    let held = conns.iter().enumerate().filter_map(|(id, held)| held.map(|held| (id, held)));
    for (at, (id, held)) in held.enumerate() {
        let (gap, closing) = (if at > 0 { " " } else { "" }, if held.closing { " closing" } else { "" });
        write!(f, "{gap}{id}#{}{closing}", held.serial)?;
    }
    Ok(())
}

pub fn protection_names(protections: u8) -> String {
    let names: Vec<_> =
        (0..PROTECTIONS).filter(|name| protections >> name & 1 == 1).map(protection_name).collect();
    names.join(" ")
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upsert { tag, add, to } => write!(f, "upsert {} by {add:+} = {to}", tag_name(*tag)),
            Self::Set { tag, to } => write!(f, "set {} to {to}", tag_name(*tag)),
            Self::Untag { tag } => write!(f, "untag {}", tag_name(*tag)),
            Self::TagValue { tag, value: Some(value) } => write!(f, "read {} = {value}", tag_name(*tag)),
            Self::TagValue { tag, value: None } => write!(f, "read {}: none", tag_name(*tag)),
            Self::Protect { name, found } => write!(f, "protect {}: {found:?}", protection_name(*name)),
            Self::Unprotect { name, still } => {
                write!(
                    f,
                    "unprotect {}: {}",
                    protection_name(*name),
                    if *still { "still" } else { "no more" }
                )
            }
            Self::IsProtected { name, is } => {
                write!(f, "is protected under {}: {is}", name.map_or("any", protection_name))
            }
            Self::Connected { id, serial } => write!(f, "connected {id}#{serial}"),
            Self::Disconnected { id } => write!(f, "disconnected {id}"),
            Self::Claim { serials, value, protected } => {
                let protected = if *protected { ", protected" } else { "" };
                let serials: Vec<_> = serials.iter().map(|serial| format!("#{serial}")).collect();
                write!(f, "trimmed {} at value {value}{protected}", serials.join(" "))
            }
            Self::Spared => f.write_str("spared by a trim, as protected"),
            Self::MayExpire => f.write_str("a trim that may remove it, if it is temporary"),
            Self::Structure { shape } => write!(f, "found {shape}"),
            Self::ValueIn { tag, value, .. } => write!(f, "found {} = {value}", tag_name(*tag)),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = match self.to {
            u64::MAX => format!("{}..", self.from),
            to => format!("{}..{to}", self.from),
        };
        write!(f, "thread {}  {interval:>9}  peer {}  {}", self.thread, self.peer, self.event)?;
        if let Some(taken) = self.taken {
            write!(f, "  (in a snapshot taken by {taken})")?;
        }
        if let Some((peer, tag, value)) = self.saw {
            write!(f, "  (having read peer {peer}'s {} = {value})", tag_name(tag))?;
        }
        Ok(())
    }
}

impl fmt::Display for CutRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, taken, to) = (self.from, self.taken, self.to);
        write!(f, "thread {}  {from}..{to}  snapshot, taken by {taken}:", self.thread)?;
        for (peer, values) in &self.seen {
            let values = values.iter().enumerate();
            let found: Vec<_> = values
                .filter_map(|(tag, value)| value.map(|value| format!("{} = {value}", tag_name(tag))))
                .collect();
            write!(f, "  peer {peer} [{}]", found.join(", "))?;
        }
        Ok(())
    }
}
