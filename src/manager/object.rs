//! The manager as a `ConnManager` object: each method is the inherent one of its name.

use std::hash::Hash;
use std::time::Duration;

use super::BasicConnManager;
use crate::connection::Connection;
use crate::decay::{BumpFn, DecayError, DecayFn};
use crate::decayer::{Decayer, DecayingTag};
use crate::interface::{CloseError, ConnLimiter, ConnManager, LimitError, Protection, TagInfo};
use crate::report::TrimReport;

impl<P, C> ConnManager<P> for BasicConnManager<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    fn tag_peer(&self, peer: &P, tag: &str, value: i64) {
        self.tag_peer(peer, tag, value);
    }

    fn untag_peer(&self, peer: &P, tag: &str) {
        self.untag_peer(peer, tag);
    }

    fn upsert_tag(&self, peer: &P, tag: &str, upsert: &mut dyn FnMut(i64) -> i64) -> i64 {
        self.upsert_tag(peer, tag, upsert)
    }

    fn tag_info(&self, peer: &P) -> Option<TagInfo> {
        self.tag_info(peer)
    }

    fn trim_open_conns(&self) -> TrimReport<P> {
        self.trim_open_conns()
    }

    fn protect(&self, peer: &P, tag: &str) -> Protection {
        self.protect(peer, tag)
    }

    fn unprotect(&self, peer: &P, tag: &str) -> bool {
        self.unprotect(peer, tag)
    }

    fn is_protected(&self, peer: &P, tag: Option<&str>) -> bool {
        self.is_protected(peer, tag)
    }

    fn check_limit(&self, limiter: &dyn ConnLimiter) -> Result<(), LimitError> {
        self.check_limit(limiter)
    }

    fn decayer(&self) -> Option<&dyn Decayer<P>> {
        Some(self)
    }

    fn close(&self) -> Result<(), CloseError> {
        self.close()
    }
}

impl<P, C> Decayer<P> for BasicConnManager<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    fn register_decaying_tag(
        &self,
        name: &str,
        interval: Duration,
        decay: DecayFn,
        bump: BumpFn,
    ) -> Result<DecayingTag<P>, DecayError> {
        self.register_decaying_tag(name, interval, decay, bump)
    }
}
