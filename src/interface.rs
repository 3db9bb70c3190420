//! The interface: what any connection manager can be asked, after libp2p's `ConnManager`.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::SystemTime;

use crate::connection::ConnInfo;
use crate::decayer::Decayer;
use crate::report::TrimReport;

/// A connection manager: decorate peers with tags, protect them, and let it close the least valuable connections.
///
/// Object safe: a program may choose between [`BasicConnManager`](crate::BasicConnManager) and
/// [`NullConnManager`](crate::NullConnManager) at run time. The methods are those of libp2p's `ConnManager` by the names of this language.
pub trait ConnManager<P>: Send + Sync {
    /// Sets `tag` of `peer` to `value`, saturated to a storable weight. An unknown peer gets a temporary record.
    #[doc(alias = "TagPeer")]
    fn tag_peer(&self, peer: &P, tag: &str, value: i64);

    /// Removes `tag` of `peer`, if it is there.
    #[doc(alias = "UntagPeer")]
    fn untag_peer(&self, peer: &P, tag: &str);

    /// Sets `tag` of `peer` to `upsert` of its value, or of 0; returns the value stored. `upsert` may run more than once.
    #[doc(alias = "UpsertTag")]
    fn upsert_tag(&self, peer: &P, tag: &str, upsert: &mut dyn FnMut(i64) -> i64) -> i64;

    /// What is known of `peer`; `None` if it is unknown or only protected.
    #[doc(alias = "GetTagInfo")]
    fn tag_info(&self, peer: &P) -> Option<TagInfo>;

    /// Closes connections down to the low watermark.
    #[doc(alias = "TrimOpenConns")]
    fn trim_open_conns(&self) -> TrimReport<P>;

    /// Protects `peer` under `tag`: no later trim closes it. Idempotent, not counted; outlives connections.
    #[doc(alias = "Protect")]
    fn protect(&self, peer: &P, tag: &str) -> Protection;

    /// Lifts the protection of `peer` under `tag`. Returns whether another still protects it.
    #[doc(alias = "Unprotect")]
    fn unprotect(&self, peer: &P, tag: &str) -> bool;

    /// Whether `peer` is protected under `tag`, or under any.
    #[doc(alias = "IsProtected")]
    fn is_protected(&self, peer: &P, tag: Option<&str>) -> bool;

    /// Whether the high watermark fits the system's limit.
    ///
    /// # Errors
    ///
    /// [`LimitError`] if the high watermark is above the limit.
    #[doc(alias = "CheckLimit")]
    fn check_limit(&self, limiter: &dyn ConnLimiter) -> Result<(), LimitError>;

    /// This manager as one whose tags may decay, if it is one.
    #[doc(alias = "SupportsDecay")]
    fn decayer(&self) -> Option<&dyn Decayer<P>> {
        None
    }

    /// Stops background work. Idempotent; other calls go on working.
    ///
    /// # Errors
    ///
    /// [`CloseError`] if the background work had failed.
    #[doc(alias = "Close")]
    fn close(&self) -> Result<(), CloseError>;
}

/// What is known of a peer: one structural state of it, each tag's value read atomically.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TagInfo {
    /// When its first connection was added, for a temporary record its first tag, or for a peer whose tags are kept when it left.
    pub first_seen: SystemTime,
    /// The sum of exactly the tags below, clamped to an `i64`.
    pub value: i64,
    /// The tags.
    pub tags: BTreeMap<String, i64>,
    /// The decaying tags.
    pub decaying: BTreeMap<String, i64>,
    /// The connections.
    pub conns: Vec<ConnInfo>,
}

/// What `protect` found.
///
/// In every case the peer is protected when the call returns, and no later trim closes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Protection {
    /// The peer is now protected under this tag.
    Protected,
    /// It was before.
    AlreadyProtected,
    /// Too late for a connection that it had: a trim had issued a close before. Connections to come are protected.
    TooLate,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protected => "protected",
            Self::AlreadyProtected => "protected before",
            Self::TooLate => "protected too late for a close that had been issued",
        })
    }
}

/// What limits the number of connections in the system, a resource manager say.
pub trait ConnLimiter {
    /// The limit.
    #[doc(alias = "GetConnLimit")]
    fn conn_limit(&self) -> usize;
}

/// The high watermark is above what the system allows, so trimming would come too late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LimitError {
    /// The high watermark.
    pub high_water: usize,
    /// The limit.
    pub limit: usize,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "high watermark {} is above the connection limit {}", self.high_water, self.limit)
    }
}

impl Error for LimitError {}

/// Background work had failed before it was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CloseError {
    /// The background thread had panicked outside every callback.
    Panicked,
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked => f.write_str("background trimming had panicked"),
        }
    }
}

impl Error for CloseError {}
