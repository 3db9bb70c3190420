//! Connections: what the manager asks of them, and what it tells about them.

#![forbid(unsafe_code)]

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::time::SystemTime;

use crate::peer::{Conn, ConnEntry, Identified};

/// Who opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Direction {
    /// The peer did.
    Inbound,
    /// We did.
    Outbound,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

/// Why the manager closes a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum CloseReason {
    /// A trim down to the low watermark.
    Trim,
    /// [`force_trim`](crate::BasicConnManager::force_trim).
    Emergency,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trim => "trim",
            Self::Emergency => "emergency",
        })
    }
}

/// A connection as the manager needs it.
///
/// The manager keeps the value from `connected` until `disconnected`, and drops it some time afterwards, on any
/// thread that uses a manager, perhaps inside a trim: its destructor must not panic, block, or wait for a trim.
pub trait Connection: Send + Sync + 'static {
    /// What tells the connections of one peer apart. Two of them may share an address.
    type Id: Eq + Hash + Clone + Send + Sync + Debug + 'static;

    /// The identity. Asked once, when the connection is added.
    fn id(&self) -> Self::Id;

    /// The remote address, for [`TagInfo`](crate::TagInfo).
    fn remote_addr(&self) -> String;

    /// Who opened it. Asked once, when the connection is added.
    fn direction(&self) -> Direction;

    /// The number of open streams, or `None` where that is unknown, which is never taken for zero.
    ///
    /// Asked of every candidate of a trim while the trim's snapshot is held: answer from memory, do not block.
    /// (Blocking would hold back frees; nobody would wait.)
    fn stream_count(&self) -> Option<usize>;

    /// Closes the connection: to be started here, not waited for.
    ///
    /// Called once at most, on the thread that trims, with nothing held: it may call the manager, and if it
    /// panics, the panic is caught, counted in the report and logged, and the other closes go on. The connection counts as
    /// *closing* until [`disconnected`](crate::BasicConnManager::disconnected) is called for it.
    fn close(&self, reason: CloseReason);

    /// [`close`](Self::close) with the peer's value at the claim. This is what the manager calls; override it if you report the value.
    fn close_at(&self, reason: CloseReason, value: i64) {
        let _ = value;
        self.close(reason);
    }

    /// Hears that the peer's last protection has been lifted, for whoever keeps protected peers connected.
    ///
    /// Called on the thread that unprotects, after the fact and with nothing held, perhaps more often than needed: the peer may never have
    /// been protected, or be protected again. A panic is caught and logged. Does nothing by default.
    fn protection_lifted(&self) {}
}

/// What is known of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ConnInfo {
    /// Its id, in `Debug` form.
    pub id: String,
    /// Its remote address.
    pub remote_addr: String,
    /// Who opened it.
    pub direction: Direction,
    /// When it was added.
    pub opened: SystemTime,
    /// Whether a trim has issued its close.
    pub closing: bool,
    /// Its open streams, if known.
    pub streams: Option<usize>,
}

/// A connection in the table.
#[derive(Debug)]
pub(crate) struct Entry<C: Connection> {
    id: C::Id,
    pub(crate) conn: C,
}

impl<C: Connection> Entry<C> {
    pub(crate) fn new(conn: C) -> Self {
        Self { id: conn.id(), conn }
    }
}

impl<E> Conn<E> {
    pub(crate) fn direction(&self) -> Direction {
        if self.is_inbound() { Direction::Inbound } else { Direction::Outbound }
    }
}

impl ConnInfo {
    /// What is known of a connection that was opened at that time.
    pub(crate) fn of<C: Connection>(conn: Conn<&ConnEntry<Entry<C>>>, opened: SystemTime) -> Self {
        Self {
            id: format!("{:?}", conn.entry.id),
            remote_addr: conn.entry.conn.remote_addr(),
            direction: conn.direction(),
            opened,
            closing: conn.is_closing(),
            streams: conn.entry.conn.stream_count(),
        }
    }
}

impl<C: Connection> Identified for Entry<C> {
    type Id = C::Id;

    fn id(&self) -> &C::Id {
        &self.id
    }
}
