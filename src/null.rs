//! The manager that manages nothing.

#![forbid(unsafe_code)]

use crate::interface::{CloseError, ConnLimiter, ConnManager, LimitError, Protection, TagInfo};
use crate::report::{TrimOutcome, TrimReport, TrimTrigger};

/// Accepts everything, does nothing, protects nobody.
///
/// It manages peers of any type. Where that type cannot be inferred, name it:
///
/// ```
/// use connmgr::{ConnManager, NullConnManager};
///
/// assert!(!<NullConnManager as ConnManager<u64>>::unprotect(&NullConnManager, &1, "tag"));
/// assert!(<NullConnManager as ConnManager<u64>>::close(&NullConnManager).is_ok());
/// ```
#[doc(alias = "NullConnMgr")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct NullConnManager;

impl<P> ConnManager<P> for NullConnManager {
    fn tag_peer(&self, _peer: &P, _tag: &str, _value: i64) {}

    fn untag_peer(&self, _peer: &P, _tag: &str) {}

    /// Returns 0 without calling `upsert`.
    fn upsert_tag(&self, _peer: &P, _tag: &str, _upsert: &mut dyn FnMut(i64) -> i64) -> i64 {
        0
    }

    fn tag_info(&self, _peer: &P) -> Option<TagInfo> {
        None
    }

    fn trim_open_conns(&self) -> TrimReport<P> {
        TrimReport::new(TrimTrigger::Explicit, TrimOutcome::Disabled)
    }

    /// Protects nobody, and says [`Protection::Protected`] as there will be no trim to be protected from.
    fn protect(&self, _peer: &P, _tag: &str) -> Protection {
        Protection::Protected
    }

    fn unprotect(&self, _peer: &P, _tag: &str) -> bool {
        false
    }

    fn is_protected(&self, _peer: &P, _tag: Option<&str>) -> bool {
        false
    }

    fn check_limit(&self, _limiter: &dyn ConnLimiter) -> Result<(), LimitError> {
        Ok(())
    }

    fn close(&self) -> Result<(), CloseError> {
        Ok(())
    }
}
