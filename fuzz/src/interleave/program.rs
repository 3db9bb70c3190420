//! What the bytes of an input stand for.

use std::fmt;

use arbitrary::{Arbitrary, Result, Unstructured};

use super::cuts::COUNTERS;
use super::history::{CONNS, PROTECTIONS, TAGS, protection_name, tag_name};
use super::recorder::Recorder;

/// Peers that come and go by the three, to have tables grow and shrink.
const FILLERS: usize = 3;
/// The most operations of a thread.
const MOST_OPS: usize = 6;

/// A program of several threads.
#[derive(Clone, Debug)]
pub struct Program {
    /// All tags but the last are counters: raised by one, and never cleared. Then snapshots are checked to be consistent cuts.
    pub counters: bool,
    /// The peers that programs are about, but for the fillers.
    busy_peers: usize,
    /// What there is before the threads start.
    pub set_up: Vec<Op>,
    pub threads: Vec<Vec<Op>>,
    pub schedule: Vec<u8>,
}

impl Program {
    /// How many peers there are to be read.
    pub fn peers(&self) -> usize {
        self.busy_peers + FILLERS
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Op {
    Upsert {
        peer: usize,
        tag: usize,
        add: i64,
        by_handle: bool,
    },
    /// An upsert whose closure reads another counter.
    Copy {
        peer: usize,
        tag: usize,
        other: (usize, usize),
    },
    Set {
        peer: usize,
        tag: usize,
        to: i64,
    },
    Untag {
        peer: usize,
        tag: usize,
    },
    TagValue {
        peer: usize,
        tag: usize,
        by_handle: bool,
    },
    TagInfo {
        peer: usize,
    },
    Protect {
        peer: usize,
        name: usize,
    },
    Unprotect {
        peer: usize,
        name: usize,
    },
    IsProtected {
        peer: usize,
        name: Option<usize>,
    },
    Connect {
        peer: usize,
        id: usize,
    },
    Disconnect {
        peer: usize,
        id: usize,
    },
    Snapshot {
        first: usize,
        listed: bool,
    },
    Trim {
        force: bool,
    },
    /// Tags every filler.
    Grow,
    /// Untags every filler.
    Shrink,
}

impl<'a> Arbitrary<'a> for Program {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let counters = u.ratio(1_u8, 2)?;
        let busy_peers = u.int_in_range(1..=3)?;
        let threads = u.int_in_range(2..=4)?;
        // A bit for each connection there may be, and for each peer whether it is tagged.
        let bits = u.arbitrary::<u16>()?;
        let conn = |bit| Op::Connect { peer: bit / CONNS, id: bit % CONNS };
        let tag = |peer| Op::Set { peer, tag: COUNTERS, to: 1 };
        let at_first = (0..busy_peers * CONNS).map(conn).chain((0..busy_peers).map(tag));
        let chosen = at_first.enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
        let set_up = chosen.map(|(_, op)| op).collect();
        let ops = |_| {
            let count = u.int_in_range(1..=MOST_OPS)?;
            (0..count).map(|_| Op::decode(u, busy_peers, counters)).collect::<Result<_>>()
        };
        let threads = (0..threads).map(ops).collect::<Result<_>>()?;
        Ok(Self { counters, busy_peers, set_up, threads, schedule: Vec::new() })
    }

    /// What is left after the operations is the schedule.
    fn arbitrary_take_rest(mut u: Unstructured<'a>) -> Result<Self> {
        let program = Self::arbitrary(&mut u)?;
        Ok(Self { schedule: u.take_rest().to_vec(), ..program })
    }
}

impl Op {
    /// Two bytes: what, and to what.
    fn decode(u: &mut Unstructured<'_>, peers: usize, counters: bool) -> Result<Self> {
        let (kind, what) = (u.int_in_range(0..=23_u8)?, u.arbitrary::<u8>()?);
        let (peer, rest) = (usize::from(what) % peers, usize::from(what) / peers);
        let (flag, rest) = (rest % 2 == 1, rest / 2);
        let (name, id) = (rest % PROTECTIONS, rest % CONNS);
        // Where there are counters, what is set and removed is the one tag that is none.
        let loose = if counters { COUNTERS } else { rest % TAGS };
        let tag = if counters { rest % COUNTERS } else { loose };
        let add = if counters { 1 } else { 1 + rest as i64 % 5 };
        let other = ((peer + rest / COUNTERS) % peers, rest / 4 % COUNTERS);
        Ok(match kind {
            0..3 => Self::Upsert { peer, tag, add, by_handle: flag },
            3 if counters && other != (peer, tag) => Self::Copy { peer, tag, other },
            3 | 4 => Self::Set { peer, tag: loose, to: rest as i64 },
            5 | 6 => Self::Untag { peer, tag: loose },
            7 => Self::TagValue { peer, tag, by_handle: flag },
            8 => Self::TagInfo { peer },
            9 => Self::Protect { peer, name },
            10 => Self::Unprotect { peer, name },
            11 => Self::IsProtected {
                peer,
                name: Some(rest % (PROTECTIONS + 1)).filter(|&name| name < PROTECTIONS),
            },
            12 | 13 => Self::Connect { peer, id },
            // What clears tags is left out where there are counters.
            14 if !counters => Self::Disconnect { peer, id },
            15..18 if !counters => Self::Trim { force: rest % 4 == 0 },
            14..20 => Self::Snapshot { first: peer, listed: flag },
            20 | 21 => Self::Grow,
            _ => Self::Shrink,
        })
    }

    /// Does it, and records what came of it.
    pub fn run(self, recorder: &mut Recorder<'_>, program: &Program) {
        let fillers = program.busy_peers..program.peers();
        match self {
            Self::Upsert { peer, tag, add, by_handle } => recorder.upsert(peer, tag, add, by_handle),
            Self::Copy { peer, tag, other } => recorder.copy(peer, tag, other),
            Self::Set { peer, tag, to } => recorder.set(peer, tag, to),
            Self::Untag { peer, tag } => recorder.untag(peer, tag),
            Self::TagValue { peer, tag, by_handle } => recorder.tag_value(peer, tag, by_handle),
            Self::TagInfo { peer } => recorder.tag_info(peer),
            Self::Protect { peer, name } => recorder.protect(peer, name),
            Self::Unprotect { peer, name } => recorder.unprotect(peer, name),
            Self::IsProtected { peer, name } => recorder.is_protected(peer, name),
            Self::Connect { peer, id } => recorder.connect(peer, id),
            Self::Disconnect { peer, id } => recorder.disconnect(peer, id),
            Self::Snapshot { first, listed } => recorder.snapshot(first, listed),
            Self::Trim { force } => recorder.trim(force),
            Self::Grow => fillers.for_each(|peer| recorder.set(peer, COUNTERS, 1)),
            Self::Shrink => fillers.for_each(|peer| recorder.untag(peer, COUNTERS)),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ops = |f: &mut fmt::Formatter<'_>, name: &str, ops: &[Op]| {
            let ops: Vec<_> = ops.iter().map(ToString::to_string).collect();
            writeln!(f, "  {name}: {}", ops.join("; "))
        };
        ops(f, "at first", &self.set_up)?;
        for (number, thread) in self.threads.iter().enumerate() {
            ops(f, &format!("thread {}", number + 1), thread)?;
        }
        write!(f, "  in the order of {} bytes", self.schedule.len())
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Upsert { peer, tag, add, by_handle } => {
                let by = if by_handle { " by its handle" } else { "" };
                write!(f, "upsert {peer}'s {} by {add:+}{by}", tag_name(tag))
            }
            Self::Copy { peer, tag, other } => {
                write!(f, "upsert {peer}'s {} having read {}'s {}", tag_name(tag), other.0, tag_name(other.1))
            }
            Self::Set { peer, tag, to } => write!(f, "set {peer}'s {} to {to}", tag_name(tag)),
            Self::Untag { peer, tag } => write!(f, "untag {peer}'s {}", tag_name(tag)),
            Self::TagValue { peer, tag, .. } => write!(f, "read {peer}'s {}", tag_name(tag)),
            Self::TagInfo { peer } => write!(f, "tag info of {peer}"),
            Self::Protect { peer, name } => write!(f, "protect {peer} under {}", protection_name(name)),
            Self::Unprotect { peer, name } => write!(f, "unprotect {peer} under {}", protection_name(name)),
            Self::IsProtected { peer, name } => {
                write!(f, "is {peer} protected under {}", name.map_or("any", protection_name))
            }
            Self::Connect { peer, id } => write!(f, "connect {peer} by {id}"),
            Self::Disconnect { peer, id } => write!(f, "disconnect {peer} from {id}"),
            Self::Snapshot { first, listed } => {
                let how = if listed { "listed" } else { "looked up" };
                write!(f, "snapshot, {how} from {first} on")
            }
            Self::Trim { force: false } => f.write_str("trim"),
            Self::Trim { force: true } => f.write_str("force trim"),
            Self::Grow => f.write_str("grow"),
            Self::Shrink => f.write_str("shrink"),
        }
    }
}
