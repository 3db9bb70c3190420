//! Streams counted, by a wrapper around the transport's muxer.
//!
//! The swarm tells nobody how many streams a connection has, and the transport, which could count them, knows no connection id. The two
//! meet where the swarm polls a connection: it polls the connection's handler, then its muxer, in one call on one
//! thread. So the handler leaves the place for the count in a thread-local, and the muxer, polled next by the same task, takes it. Should a
//! swarm ever poll otherwise, the count stays unknown.

mod negotiation;

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use arc_swap::ArcSwapOption;
use futures::{AsyncRead, AsyncWrite};
use libp2p_core::Transport;
use libp2p_core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use libp2p_core::transport::Boxed;
use libp2p_identity::PeerId;

use negotiation::Negotiation;

/// Whether any transport of the process counts: without one, no handler need leave anything.
static COUNTING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The handler that was polled last on this thread, if its streams are not known yet, and the task that polled it.
    static POLLED: RefCell<Option<(Waker, Streams)>> = const { RefCell::new(None) };
}

/// A connection's stream count, once its muxer has been found.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<ArcSwapOption<Count>>);

/// The open streams of one muxer that count.
#[derive(Default)]
struct Count(AtomicUsize);

impl Streams {
    /// `None`: the transport does not count, or the connection has not been polled yet.
    pub(super) fn count(&self) -> Option<usize> {
        self.0.load().as_ref().map(|count| count.0.load(Ordering::Relaxed))
    }
}

/// What a handler does when it is polled: leaves `streams` for the muxer that is polled next by the same task.
pub(super) fn offer(streams: &Streams, task: &Waker) {
    if COUNTING.load(Ordering::Relaxed) && streams.0.load().is_none() {
        POLLED.with_borrow_mut(|polled| *polled = Some((task.clone(), streams.clone())));
    }
}

/// Counts the streams of a transport's connections, for [`Connection::stream_count`](crate::Connection::stream_count).
///
/// Wrap the transport with [`transport`](Self::transport). Without it the number of streams is unknown, and is never
/// taken for zero.
///
/// Streams of auxiliary protocols, which say nothing about the use of a connection, can be left out by name. A stream's protocol is read off its
/// negotiation ([multistream-select]); until then the stream counts.
///
/// [multistream-select]: https://github.com/multiformats/multistream-select
///
/// # Examples
///
/// ```
/// use connmgr::swarm::StreamCounter;
/// use libp2p::core::{Transport, upgrade::Version};
/// use libp2p::{identity::Keypair, noise, tcp, yamux};
///
/// let key = Keypair::generate_ed25519();
/// let tcp = tcp::tokio::Transport::default()
///     .upgrade(Version::V1Lazy)
///     .authenticate(noise::Config::new(&key)?)
///     .multiplex(yamux::Config::default());
/// let counted = StreamCounter::default()
///     .leave_out(["/ipfs/ping/1.0.0", "/ipfs/id/1.0.0"])
///     .transport(tcp);
/// # drop(counted);
/// # Ok::<(), noise::Error>(())
/// ```
#[derive(Clone, Default, Debug)]
pub struct StreamCounter {
    left_out: Arc<HashSet<String>>,
}

impl StreamCounter {
    /// The same, but that streams of these protocols do not count, besides those left out before.
    #[must_use]
    pub fn leave_out<N: Into<String>>(mut self, protocols: impl IntoIterator<Item = N>) -> Self {
        Arc::make_mut(&mut self.left_out).extend(protocols.into_iter().map(Into::into));
        self
    }

    /// `transport`, with the streams of its connections counted.
    pub fn transport<T, M>(&self, transport: T) -> Boxed<(PeerId, StreamMuxerBox)>
    where
        T: Transport<Output = (PeerId, M)> + Send + Unpin + 'static,
        T::Dial: Send + 'static,
        T::ListenerUpgrade: Send + 'static,
        T::Error: Send + Sync,
        M: StreamMuxer + Unpin + Send + 'static,
        M::Substream: Unpin + Send + 'static,
        M::Error: Send + Sync + 'static,
    {
        COUNTING.store(true, Ordering::Relaxed);
        let left_out = Arc::clone(&self.left_out);
        let wrap = move |(peer, muxer): (PeerId, M), _| {
            let muxer =
                Counted { muxer, count: Arc::default(), left_out: Arc::clone(&left_out), found: false };
            (peer, StreamMuxerBox::new(muxer))
        };
        transport.map(wrap).boxed()
    }
}

/// A muxer whose streams are counted.
struct Counted<M> {
    muxer: M,
    count: Arc<Count>,
    left_out: Arc<HashSet<String>>,
    /// Whether the connection's count is this one.
    found: bool,
}

impl<M> Counted<M> {
    fn stream<S>(&self, stream: S, answers: Flow) -> CountedStream<S> {
        self.count.0.fetch_add(1, Ordering::Relaxed);
        let negotiation = (!self.left_out.is_empty()).then(|| Box::new(Negotiation::default()));
        CountedStream {
            stream,
            answers,
            negotiation,
            counts: true,
            count: Arc::clone(&self.count),
            left_out: Arc::clone(&self.left_out),
        }
    }

    /// Becomes the count of the connection whose handler the same task polled just before.
    fn meet(&mut self, task: &Waker) {
        if self.found {
            return;
        }
        let polled = POLLED.with_borrow_mut(Option::take);
        if let Some((_, streams)) = polled.filter(|(by, _)| by.will_wake(task)) {
            streams.0.store(Some(Arc::clone(&self.count)));
            self.found = true;
        }
    }
}

impl<M> StreamMuxer for Counted<M>
where
    M: StreamMuxer + Unpin,
    M::Substream: Unpin,
{
    type Substream = CountedStream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, M::Error>> {
        let polled = Pin::new(&mut self.muxer).poll_inbound(cx);
        polled.map_ok(|stream| self.stream(stream, Flow::Written))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, M::Error>> {
        let polled = Pin::new(&mut self.muxer).poll_outbound(cx);
        polled.map_ok(|stream| self.stream(stream, Flow::Read))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.muxer).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        self.meet(cx.waker());
        Pin::new(&mut self.muxer).poll(cx)
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Read,
    Written,
}

/// A stream that counts until it is dropped, or turns out to be one that is left out.
struct CountedStream<S> {
    stream: S,
    /// Which way the answers to proposed protocols go: they come from the side that did not open the stream.
    answers: Flow,
    /// While the protocol is not known and matters.
    negotiation: Option<Box<Negotiation>>,
    counts: bool,
    count: Arc<Count>,
    left_out: Arc<HashSet<String>>,
}

impl<S> CountedStream<S> {
    fn discount(&mut self) {
        if std::mem::replace(&mut self.counts, false) {
            self.count.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The first `length` of `bytes` went through the stream.
    fn heard<'b>(&mut self, flow: Flow, bytes: impl IntoIterator<Item = &'b [u8]>, mut length: usize) {
        if flow != self.answers {
            return;
        }
        for part in bytes {
            let Some(negotiation) = &mut self.negotiation else { return };
            let part = &part[..part.len().min(length)];
            length -= part.len();
            if let Some(protocol) = negotiation.feed(part) {
                if protocol.is_some_and(|protocol| self.left_out.contains(&protocol)) {
                    self.discount();
                }
                self.negotiation = None;
            }
        }
    }
}

impl<S> Drop for CountedStream<S> {
    fn drop(&mut self) {
        self.discount();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let (Poll::Ready(Ok(length)), true) = (&polled, self.negotiation.is_some()) {
            self.heard(Flow::Read, [&*buf], *length);
        }
        polled
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_read_vectored(cx, bufs);
        if let (Poll::Ready(Ok(length)), true) = (&polled, self.negotiation.is_some()) {
            self.heard(Flow::Read, bufs.iter().map(|buf| &**buf), *length);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let (Poll::Ready(Ok(length)), true) = (&polled, self.negotiation.is_some()) {
            self.heard(Flow::Written, [buf], *length);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if let (Poll::Ready(Ok(length)), true) = (&polled, self.negotiation.is_some()) {
            self.heard(Flow::Written, bufs.iter().map(|buf| &**buf), *length);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
