//! Why a connection is denied, or limits are.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use libp2p_identity::PeerId;

/// Why the [`Behaviour`](crate::swarm::Behaviour) denied a connection.
///
/// Found by [`ConnectionDenied::downcast`](libp2p_swarm::ConnectionDenied::downcast) in a swarm's
/// [`DialError::Denied`](libp2p_swarm::DialError::Denied) or [`ListenError::Denied`](libp2p_swarm::ListenError::Denied).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Denied {
    /// A cap is reached.
    Full {
        /// Which one.
        cap: Cap,
        /// How many connections it allows.
        limit: u32,
    },
    /// A subnet has as many connections as it may.
    Subnet {
        /// The subnet.
        subnet: IpNet,
        /// How many connections it may have.
        limit: u32,
    },
    /// An address comes back too fast, or, while too many are known to tell it apart, others of which nothing is known.
    TooFast {
        /// The address, or the /64 of an IPv6 address.
        from: IpAddr,
        /// When it may come again.
        retry_after: Duration,
    },
    /// The peer was trimmed a moment ago.
    CoolingDown {
        /// The peer.
        peer: PeerId,
        /// When it may be dialled again.
        left: Duration,
    },
}

/// A cap on a number of connections.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Cap {
    /// Inbound connections that have not been authenticated yet.
    PendingInbound,
    /// Dials under way.
    PendingOutbound,
    /// Established inbound connections.
    EstablishedInbound,
    /// Established outbound connections.
    EstablishedOutbound,
    /// Established connections with one peer.
    EstablishedPerPeer,
    /// Established connections.
    Established,
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PendingInbound => "pending inbound connections",
            Self::PendingOutbound => "pending outbound connections",
            Self::EstablishedInbound => "established inbound connections",
            Self::EstablishedOutbound => "established outbound connections",
            Self::EstablishedPerPeer => "established connections with one peer",
            Self::Established => "established connections",
        })
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { cap, limit } => write!(f, "at most {limit} {cap} are allowed"),
            Self::Subnet { subnet, limit } => {
                write!(f, "at most {limit} connections with {subnet} are allowed")
            }
            Self::TooFast { from, retry_after } => {
                write!(f, "{from} comes too often, and may come again in {} ms", retry_after.as_millis())
            }
            Self::CoolingDown { peer, left } => {
                write!(f, "{peer} was trimmed, and may be dialled again in {} ms", left.as_millis())
            }
        }
    }
}

impl Error for Denied {}

/// Why limits are refused: they make no [`Admission`](crate::swarm::Admission), or none that fits a manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LimitsError {
    /// A prefix is longer than an address.
    PrefixTooLong {
        /// The prefix's length, in bits.
        prefix: u8,
        /// An address's length, in bits.
        address: u8,
    },
    /// An arrival rate is for less than a nanosecond a connection, or for more than a day.
    ArrivalPeriod(Duration),
    /// The cap on established connections is below the manager's high watermark: it would never trim.
    BelowHigh {
        /// The cap.
        cap: usize,
        /// The high watermark.
        high_water: usize,
    },
    /// The cap on established connections, where a trim is to make room, is not above the low watermark: a trim would make none.
    NotAboveLow {
        /// The cap.
        cap: usize,
        /// The low watermark.
        low_water: usize,
    },
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrefixTooLong { prefix, address } => {
                write!(f, "prefix of {prefix} bits is longer than an address of {address}")
            }
            Self::ArrivalPeriod(period) => write!(f, "arrivals cannot be counted over {period:?}"),
            Self::BelowHigh { cap, high_water } => {
                write!(f, "cap of {cap} connections is below the high watermark {high_water}")
            }
            Self::NotAboveLow { cap, low_water } => {
                write!(f, "cap of {cap} connections is not above the low watermark {low_water}")
            }
        }
    }
}

impl Error for LimitsError {}
