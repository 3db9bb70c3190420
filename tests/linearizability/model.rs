//! What a peer is, one operation after another: the specification that histories are checked against.

use std::fmt;

use super::history::{CONNS, Event, Held, Shape, TAGS, protection_names, tag_name, write_conns};
use super::subject::Protection;

/// All that is known of one peer. The default is a peer that is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Peer {
    pub tags: [Option<i64>; TAGS],
    pub conns: [Option<Held>; CONNS],
    pub protections: u8,
}

impl Peer {
    /// What the peer may be after `event`: nothing if the event cannot happen to it with the result it had.
    pub fn after(self, event: &Event) -> [Option<Self>; 2] {
        if *event == Event::MayExpire {
            let expired = Self { tags: [None; TAGS], ..self };
            return [Some(self), self.is_temporary().then_some(expired)];
        }
        let mut next = self;
        [next.apply(event).then_some(next), None]
    }

    /// Changes the peer by an event that leaves no choice. Returns whether its result is right.
    fn apply(&mut self, event: &Event) -> bool {
        match *event {
            Event::Upsert { tag, add, to } => {
                let before = self.tags[tag].replace(to).unwrap_or(0);
                before + add == to
            }
            Event::Set { tag, to } => {
                self.tags[tag] = Some(to);
                true
            }
            Event::Untag { tag } => {
                self.tags[tag] = None;
                true
            }
            Event::TagValue { tag, value } => self.tags[tag] == value,
            Event::Protect { name, found } => {
                let before = self.protections >> name & 1 == 1;
                self.protections |= 1 << name;
                let closing = self.conns.iter().flatten().any(|held| held.closing);
                found
                    == match (closing, before) {
                        (true, _) => Protection::TooLate,
                        (false, true) => Protection::AlreadyProtected,
                        (false, false) => Protection::Protected,
                    }
            }
            Event::Unprotect { name, still } => {
                self.protections &= !(1 << name);
                still == self.is_protected()
            }
            Event::IsProtected { name: Some(name), is } => is == (self.protections >> name & 1 == 1),
            Event::IsProtected { name: None, is } => is == self.is_protected(),
            Event::Connected { id, serial } => {
                // An id that the peer holds already is ignored.
                self.conns[id].get_or_insert(Held { serial, closing: false });
                true
            }
            Event::Disconnected { id } => {
                let last = self.conns[id].take().is_some() && self.conns == [None; CONNS];
                if last {
                    self.tags = [None; TAGS];
                }
                true
            }
            Event::Claim { ref serials, value, protected } => {
                let right = value == self.tags.iter().flatten().sum() && protected == self.is_protected();
                right && serials.iter().all(|serial| self.claim(*serial))
            }
            Event::Spared => self.is_protected(),
            Event::Structure { shape } => self.has(shape),
            Event::ValueIn { shape, tag, value } => self.has(shape) && self.tags[tag] == Some(value),
            Event::MayExpire => unreachable!("it leaves a choice"),
        }
    }

    fn claim(&mut self, serial: u16) -> bool {
        match self.conns.iter_mut().flatten().find(|held| held.serial == serial) {
            Some(held) => !std::mem::replace(&mut held.closing, true),
            None => false,
        }
    }

    fn is_protected(&self) -> bool {
        self.protections != 0
    }

    /// Whether a trim may remove it for its age: it is tagged, and nothing else.
    fn is_temporary(&self) -> bool {
        self.conns == [None; CONNS] && self.tags != [None; TAGS] && !self.is_protected()
    }

    fn has(&self, shape: Shape) -> bool {
        let tags = self
            .tags
            .iter()
            .enumerate()
            .fold(0, |bits, (tag, value)| bits | u8::from(value.is_some()) << tag);
        let protections = shape.protections.is_none_or(|protections| protections == self.protections);
        tags == shape.tags && self.conns == shape.conns && protections
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.tags.iter().enumerate();
        let tags: Vec<_> = values
            .filter_map(|(tag, value)| value.map(|value| format!("{} = {value}", tag_name(tag))))
            .collect();
        write!(f, "tags [{}], connections [", tags.join(", "))?;
        write_conns(f, &self.conns)?;
        write!(f, "], protections [{}]", protection_names(self.protections))
    }
}
