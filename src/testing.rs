//! A connection for tests and examples.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::connection::{CloseReason, Connection, Direction};

/// A connection that leads nowhere and remembers whether it was closed. Clones are the same connection.
///
/// # Examples
///
/// ```
/// use connmgr::{BasicConnManager, testing::Loopback};
///
/// let manager = BasicConnManager::<u64, Loopback>::builder().background(false).build().unwrap();
/// let conn = Loopback::inbound(1);
/// manager.connected(&7, conn.clone());
/// assert_eq!(manager.info().connections, 1);
/// assert_eq!(conn.closes(), 0);
/// ```
#[derive(Clone)]
pub struct Loopback(Arc<Inner>);

struct Inner {
    id: u64,
    direction: Direction,
    /// One more than the count; zero is unknown.
    streams: AtomicUsize,
    closes: AtomicUsize,
    on_close: Option<Box<dyn Fn(CloseReason) + Send + Sync>>,
}

impl Loopback {
    fn new(id: u64, direction: Direction, on_close: Option<Box<dyn Fn(CloseReason) + Send + Sync>>) -> Self {
        let (streams, closes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Inner { id, direction, streams, closes, on_close }))
    }

    /// One that the peer opened, with an unknown number of streams.
    #[must_use]
    pub fn inbound(id: u64) -> Self {
        Self::new(id, Direction::Inbound, None)
    }

    /// One that we opened, with an unknown number of streams.
    #[must_use]
    pub fn outbound(id: u64) -> Self {
        Self::new(id, Direction::Outbound, None)
    }

    /// One that calls `on_close` when it is closed.
    #[must_use]
    pub fn closing_with(id: u64, on_close: impl Fn(CloseReason) + Send + Sync + 'static) -> Self {
        Self::new(id, Direction::Inbound, Some(Box::new(on_close)))
    }

    /// The same connection, with that many streams now.
    #[must_use]
    pub fn with_streams(self, streams: usize) -> Self {
        self.0.streams.store(streams.saturating_add(1), Ordering::Relaxed);
        self
    }

    /// How often it was closed.
    #[must_use]
    pub fn closes(&self) -> usize {
        self.0.closes.load(Ordering::Acquire)
    }
}

impl Connection for Loopback {
    type Id = u64;

    fn id(&self) -> u64 {
        self.0.id
    }

    fn remote_addr(&self) -> String {
        format!("loopback/{}", self.0.id)
    }

    fn direction(&self) -> Direction {
        self.0.direction
    }

    fn stream_count(&self) -> Option<usize> {
        self.0.streams.load(Ordering::Relaxed).checked_sub(1)
    }

    fn close(&self, reason: CloseReason) {
        self.0.closes.fetch_add(1, Ordering::AcqRel);
        if let Some(on_close) = &self.0.on_close {
            on_close(reason);
        }
    }
}

impl fmt::Debug for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loopback")
            .field("id", &self.0.id)
            .field("closes", &self.closes())
            .finish_non_exhaustive()
    }
}
