//! A peer that is slow to go: one that does not read what it is sent, over TCP, so that the end of the connection cannot be sent either.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::iter::{Once, once};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use connmgr::swarm::{Admission, Config, Limits, close_within};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent, SubstreamBox};
use libp2p::core::transport::{Transport, upgrade::Version};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::futures::{AsyncRead, AsyncWrite};
use libp2p::swarm::{ConnectionError, SwarmEvent, dummy};
use libp2p::{PeerId, plaintext, tcp};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::net::{self, FOR_EVER, Hub, manager, within};

/// A yamux ping: each is to be answered. (Version, type, flags, stream, what is to come back.)
const PING: [u8; 12] = [0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

/// Speaks yamux as far as it sends pings without end, and never reads an answer.
#[derive(Clone)]
struct Deaf;

impl UpgradeInfo for Deaf {
    type Info = &'static str;
    type InfoIter = Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        once("/yamux/1.0.0")
    }
}

impl<C> OutboundConnectionUpgrade<C> for Deaf {
    type Output = DeafMuxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(DeafMuxer { socket, sent: 0 }))
    }
}

/// It dials; but a transport has to be able to listen.
impl<C> InboundConnectionUpgrade<C> for Deaf {
    type Output = DeafMuxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.upgrade_outbound(socket, info)
    }
}

struct DeafMuxer<C> {
    socket: C,
    /// Bytes of the present ping.
    sent: usize,
}

impl<C: AsyncWrite + Unpin> StreamMuxer for DeafMuxer<C> {
    type Substream = SubstreamBox;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        Poll::Pending
    }

    fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let Self { socket, sent } = &mut *self;
        loop {
            let written = ready!(Pin::new(&mut *socket).poll_write(cx, &PING[*sent..]))?;
            *sent = (*sent + written) % PING.len();
            ready!(Pin::new(&mut *socket).poll_flush(cx))?;
        }
    }
}

/// A TCP stream of ours that tells when nothing more can be written to it.
struct Watched {
    stream: tcp::tokio::TcpStream,
    stuck: Arc<Notify>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        // (It may also be pending because the task has had its share of time.)
        if polled.is_pending() && self.stream.0.try_write(&[]).is_err() {
            self.stuck.notify_one();
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

/// A hub with caps, and one connection that is stuck.
struct Stuck {
    hub: Hub,
    admission: Arc<Admission>,
    deaf: PeerId,
    running: JoinHandle<()>,
}

impl Stuck {
    /// Connections of the hub have `limit` to close.
    async fn new(limit: Duration) -> Self {
        let admission = Admission::new(Limits::default().with_max_established(50).with_trim_to_admit(10));
        let admission = admission.expect("valid limits");
        let config = Config::default().with_admission(Arc::clone(&admission));
        let stuck = Arc::new(Notify::new());
        let watched = |stuck: Arc<Notify>| {
            tcp::tokio::Transport::default()
                .map(move |stream, _| Watched { stream, stuck: Arc::clone(&stuck) })
        };
        let transport = |key: &_| close_within(limit, net::upgraded(watched(Arc::clone(&stuck)), key));
        let mut hub = Hub::over(transport, &manager(1, 10), config).await;

        let idle = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(FOR_EVER);
        let transport = |key: &_| {
            let secured = tcp::tokio::Transport::default()
                .upgrade(Version::V1)
                .authenticate(plaintext::Config::new(key));
            secured.multiplex(Deaf).boxed()
        };
        let mut swarm = net::swarm_with(transport, |_| dummy::Behaviour, idle);
        let deaf = *swarm.local_peer_id();
        swarm.dial(hub.tcp.clone()).expect("dialled");
        let running = net::run(swarm);
        // By then both systems have taken what they take, as the deaf one's takes no more: it stays so.
        loop {
            tokio::select! {
                () = stuck.notified() => break,
                _ = hub.next() => {}
            }
        }
        assert!(hub.swarm.is_connected(&deaf));
        Self { hub, admission, deaf, running }
    }
}

/// A peer that does not let its connection end holds up nobody else. It counts as closing until it ends, is not chosen again, and its place is free
/// when it has gone.
#[test]
fn who_does_not_let_go_keeps_nobody_waiting() {
    within(async {
        let Stuck { mut hub, admission, deaf, running } = Stuck::new(FOR_EVER).await;
        let manager = Arc::clone(&hub.manager);
        let kept = hub.crowd(1).await[0];
        manager.protect(&kept, "kept");
        for round in 0..3 {
            let others = hub.crowd(10).await;
            let report = manager.trim_open_conns();
            let again = usize::from(round == 0);
            assert_eq!(report.closed_connections, 10 + again, "it is closed once");
            hub.until(|hub| hub.established() == 2).await;
            assert!(others.iter().all(|peer| !hub.swarm.is_connected(peer)), "the others have gone");
            assert!(hub.swarm.is_connected(&deaf) && hub.swarm.is_connected(&kept));
            let (info, usage) = (manager.info(), admission.usage());
            assert_eq!((info.connections, info.closing), (2, 1));
            assert_eq!((usage.established_inbound, usage.closing), (2, 1));
        }
        running.abort();
        hub.until(|hub| hub.established() == 1).await;
        assert!(hub.swarm.is_connected(&kept));
        assert_eq!((manager.info().connections, manager.info().closing), (1, 0));
        assert_eq!((admission.usage().established_inbound, admission.usage().closing), (1, 0));
    });
}

/// With a bound the connection is dropped though its remote never lets it end, and its place is free.
#[test]
fn who_does_not_let_go_is_dropped_in_time() {
    within(async {
        let Stuck { mut hub, admission, deaf, running } = Stuck::new(Duration::from_millis(50)).await;
        let kept = hub.crowd(1).await[0];
        hub.manager.protect(&kept, "kept");
        assert_eq!(hub.manager.trim_open_conns().closed_connections, 1);
        let ended = |event: &SwarmEvent<_>| match event {
            SwarmEvent::ConnectionClosed { peer_id, cause, .. } if *peer_id == deaf => {
                let Some(ConnectionError::IO(error)) = cause else { return Some(None) };
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>());
                Some(inner.map(io::Error::kind))
            }
            _ => None,
        };
        assert_eq!(hub.wait(ended).await, Some(io::ErrorKind::TimedOut));
        assert_eq!((hub.manager.info().connections, hub.manager.info().closing), (1, 0));
        assert_eq!((admission.usage().established_inbound, admission.usage().closing), (1, 0));
        assert!(!running.is_finished(), "the remote did nothing for it");
    });
}
