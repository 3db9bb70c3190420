//! Closes that come to an end, by a wrapper around the transport's muxer.
//!
//! The swarm asks a muxer to close and waits for its answer without end. Over TCP the answer comes when everything has been handed to the system, and a
//! remote that reads nothing keeps the system from taking it: see [`close_within`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use futures_timer::Delay;
use libp2p_core::Transport;
use libp2p_core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};
use libp2p_core::transport::Boxed;
use libp2p_identity::PeerId;

use crate::decay::LONGEST;

/// `transport`, whose connections are given `limit` to close in good order and are dropped then.
///
/// To close a connection over TCP and yamux, libp2p writes what is left to be sent and a farewell, and sets no time for it. A remote that reads nothing, but
/// whose system goes on acknowledging, fills what the two systems buffer, and from then on can keep the connection, its socket and its
/// place under every cap for as long as it likes. (QUIC ends its connections by itself.) `limit` is counted from when the swarm asks the muxer
/// to close and finds it not done. A connection that is dropped has ended for both sides; in the swarm's
/// [`ConnectionClosed`](libp2p_swarm::SwarmEvent::ConnectionClosed), `cause` then holds an [`io::Error`] that wraps one of the kind
/// [`TimedOut`](io::ErrorKind::TimedOut). Other connections never see this. Zero gives one chance; more than a hundred years is for ever.
///
/// It goes around a [`StreamCounter`](super::StreamCounter), if there is one, or inside; either way both do their work.
///
/// # Examples
///
/// ```
/// use connmgr::swarm::close_within;
/// use libp2p::core::{Transport, upgrade::Version};
/// use libp2p::{identity::Keypair, noise, tcp, yamux};
/// use std::time::Duration;
///
/// let key = Keypair::generate_ed25519();
/// let tcp = tcp::tokio::Transport::default()
///     .upgrade(Version::V1Lazy)
///     .authenticate(noise::Config::new(&key)?)
///     .multiplex(yamux::Config::default());
/// let bounded = close_within(Duration::from_secs(10), tcp);
/// # drop(bounded);
/// # Ok::<(), noise::Error>(())
/// ```
pub fn close_within<T, M>(limit: Duration, transport: T) -> Boxed<(PeerId, StreamMuxerBox)>
where
    T: Transport<Output = (PeerId, M)> + Send + Unpin + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Error: Send + Sync,
    M: StreamMuxer + Send + 'static,
    M::Substream: Send + 'static,
    M::Error: Send + Sync + 'static,
{
    let limit = limit.min(LONGEST);
    let wrap = move |(peer, muxer): (PeerId, M), _| {
        let bounded = Bounded { muxer: StreamMuxerBox::new(muxer), limit, timer: None };
        (peer, StreamMuxerBox::new(bounded))
    };
    transport.map(wrap).boxed()
}

/// A muxer that closes in time.
struct Bounded {
    muxer: StreamMuxerBox,
    limit: Duration,
    /// Runs from the first time that a close is not done.
    timer: Option<Delay>,
}

impl StreamMuxer for Bounded {
    type Substream = SubstreamBox;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
        Pin::new(&mut self.muxer).poll_inbound(cx)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
        Pin::new(&mut self.muxer).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(closed) = Pin::new(&mut self.muxer).poll_close(cx) {
            return Poll::Ready(closed);
        }
        let limit = self.limit;
        ready!(self.timer.get_or_insert_with(|| Delay::new(limit)).poll_unpin(cx));
        let late = format!("the connection did not close within {limit:?}");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, late)))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.muxer).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Never does anything but, after so many polls, close.
    struct Slow(Option<usize>);

    impl StreamMuxer for Slow {
        type Substream = SubstreamBox;
        type Error = io::Error;

        fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
            Poll::Pending
        }

        fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
            Poll::Pending
        }

        fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match &mut self.0 {
                Some(0) => return Poll::Ready(Ok(())),
                Some(polls) => {
                    *polls -= 1;
                    cx.waker().wake_by_ref();
                }
                None => {}
            }
            Poll::Pending
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
            Poll::Pending
        }
    }

    fn closed(slow: Slow, limit: Duration) -> io::Result<()> {
        let mut bounded = Bounded { muxer: StreamMuxerBox::new(slow), limit, timer: None };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(poll_fn(|cx| Pin::new(&mut bounded).poll_close(cx)))
    }

    #[test]
    fn a_close_without_end_ends() {
        for limit in [Duration::ZERO, Duration::from_millis(20)] {
            let late = closed(Slow(None), limit).expect_err("it never closes");
            assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        }
    }

    #[test]
    fn a_close_that_is_slow_has_its_time() {
        closed(Slow(Some(1_000)), LONGEST).expect("closed in good order");
        closed(Slow(Some(0)), Duration::ZERO).expect("closed at the first chance");
    }
}
