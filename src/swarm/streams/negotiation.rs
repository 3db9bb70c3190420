//! The protocol of a stream, read off its negotiation.
//!
//! In multistream-select each message is a length (an unsigned varint), and that many bytes of which the last is a newline. The side that did not open the
//! stream sends its version, then `na` for each protocol it has not, and at last the name of the one it agrees to. So listening to
//! that side is enough, and what comes after that name is none of this module's business.

/// The version that each side sends first.
const VERSION: &[u8] = b"/multistream/1.0.0\n";

/// The refusal of a proposed protocol.
const REFUSED: &[u8] = b"na\n";

/// The longest message that is looked at, in bytes. A stream of a protocol with a longer name counts.
const LONGEST: usize = 256;

/// What has been heard of a negotiation.
#[derive(Default)]
pub(super) struct Negotiation {
    length: usize,
    /// Bits of the length that are in.
    shift: u32,
    /// Whether the length is complete.
    in_message: bool,
    message: Vec<u8>,
}

impl Negotiation {
    /// Takes the next bytes. Returns `None` if more is needed, `Some(None)` if there is nothing to be learnt, else the name.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<Option<String>> {
        for &byte in bytes {
            if !self.in_message {
                self.length |= usize::from(byte & 0x7f) << self.shift;
                self.shift += 7;
                self.in_message = byte & 0x80 == 0;
                // Two bytes hold any length that is looked at.
                if self.shift > 14 || (self.in_message && !(1..=LONGEST).contains(&self.length)) {
                    return Some(None);
                }
                continue;
            }
            self.message.push(byte);
            if self.message.len() < self.length {
                continue;
            }
            let message = std::mem::take(self).message;
            if message == VERSION || message == REFUSED {
                continue;
            }
            let name = message.strip_suffix(b"\n").and_then(|name| std::str::from_utf8(name).ok());
            return Some(name.map(ToOwned::to_owned));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Vec<u8> {
        let length = text.len() + 1;
        let prefix =
            if length < 128 { vec![length as u8] } else { vec![length as u8 | 0x80, (length >> 7) as u8] };
        [prefix, text.as_bytes().to_vec(), b"\n".to_vec()].concat()
    }

    fn conversation(messages: &[&str]) -> Vec<u8> {
        messages.iter().flat_map(|text| message(text)).collect()
    }

    #[test]
    fn the_name_is_found_however_the_bytes_are_cut() {
        let bytes = conversation(&["/multistream/1.0.0", "na", "na", "/ipfs/ping/1.0.0", "and what follows"]);
        for size in 1..bytes.len() {
            let mut negotiation = Negotiation::default();
            let found = bytes.chunks(size).find_map(|part| negotiation.feed(part));
            assert_eq!(found, Some(Some("/ipfs/ping/1.0.0".to_owned())), "in pieces of {size}");
        }
    }

    #[test]
    fn a_long_name_has_a_length_of_two_bytes() {
        let name = format!("/{}", "x".repeat(200));
        let found = Negotiation::default().feed(&conversation(&["/multistream/1.0.0", &name]));
        assert_eq!(found, Some(Some(name)));
    }

    #[test]
    fn nothing_is_learnt_from_what_is_no_negotiation() {
        let too_long = format!("/{}", "x".repeat(LONGEST));
        for bytes in [
            conversation(&["/multistream/1.0.0", &too_long]),
            vec![0],
            vec![0xff; 64],
            vec![2, 0xff, b'\n'],
            vec![2, b'a', b'b'],
        ] {
            assert_eq!(Negotiation::default().feed(&bytes), Some(None), "{bytes:?}");
        }
    }

    #[test]
    fn an_unfinished_negotiation_wants_more() {
        let bytes = conversation(&["/multistream/1.0.0", "na", "/ipfs/ping/1.0.0"]);
        for end in 0..bytes.len() {
            assert_eq!(Negotiation::default().feed(&bytes[..end]), None, "after {end} bytes");
        }
    }
}
