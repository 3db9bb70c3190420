//! Counts and sizes for Prometheus, by way of [`prometheus_client`].
//!
//! | metric | labels | what |
//! |---|---|---|
//! | `connmgr_connections` | `direction` | connections held, those being closed included |
//! | `connmgr_peers` | – | peers: connected, temporary, or only protected |
//! | `connmgr_protected` | – | those of them that are protected |
//! | `connmgr_trims_total` | `trigger`, `outcome` | trims that ran |
//! | `connmgr_closed_total` | `reason`, `direction` | connections that trims closed |
//! | `connmgr_spared_total` | `why` | peers that were chosen and not closed |
//! | `connmgr_trim_seconds` | – | how long a trim took, close callbacks included |
//! | `connmgr_closed_value` | – | what the peers that were closed were worth |
//!
//! No label holds anything of a peer, so that the number of series is fixed. Nothing is counted when peers are tagged or
//! connect: trims are counted as they end, and the first three are read off a snapshot when they are asked for, which takes O(peers).

#![forbid(unsafe_code)]

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::connection::{Connection, Direction};
use crate::manager::{BasicConnManager, TrimObserver};
use crate::report::TrimReport;

/// A counter by `N` labels, each a name and a value.
type Counters<const N: usize> = Family<[(&'static str, String); N], Counter>;

/// Registers the metrics of `manager` in `registry`, under the prefix `connmgr`.
///
/// The registry keeps all they need, and does not keep the manager alive. For several managers, give each a
/// [sub-registry with a label](Registry::sub_registry_with_label).
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use connmgr::{BasicConnManager, metrics, testing::Loopback};
/// use prometheus_client::{encoding::text::encode, registry::Registry};
///
/// let manager = Arc::new(BasicConnManager::<u64, Loopback>::builder().background(false).build()?);
/// let mut registry = Registry::default();
/// metrics::register(&mut registry, &manager);
///
/// manager.connected(&1, Loopback::inbound(1));
/// let mut text = String::new();
/// encode(&mut text, &registry)?;
/// assert!(text.contains("connmgr_connections{direction=\"inbound\"} 1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn register<P, C>(registry: &mut Registry, manager: &Arc<BasicConnManager<P, C>>)
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    let registry = registry.sub_registry_with_prefix("connmgr");
    let trims = Trims::register(registry);
    let observer: Arc<TrimObserver<P>> = Arc::new(move |report| trims.count(report));
    manager.observe_trims(&observer);
    registry.register_collector(Box::new(Live { manager: Arc::downgrade(manager), _observer: observer }));
}

/// What is counted of trims.
struct Trims {
    trims: Counters<2>,
    closed: Counters<2>,
    spared: Counters<1>,
    seconds: Histogram,
    value: Histogram,
}

impl Trims {
    fn register(registry: &mut Registry) -> Self {
        let values = [-1e4, -1e3, -1e2, -1e1, -1.0, 0.0, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
        let trims = Self {
            trims: Counters::default(),
            closed: Counters::default(),
            spared: Counters::default(),
            seconds: Histogram::new(exponential_buckets(1e-4, 4.0, 9)),
            value: Histogram::new(values),
        };
        registry.register("trims", "Trims that ran", trims.trims.clone());
        registry.register("closed", "Connections that trims closed", trims.closed.clone());
        registry.register("spared", "Peers that were chosen and not closed", trims.spared.clone());
        let took = "How long a trim took, close callbacks included";
        registry.register_with_unit("trim", took, Unit::Seconds, trims.seconds.clone());
        registry.register("closed_value", "What the peers that were closed were worth", trims.value.clone());
        trims
    }

    fn count<P>(&self, report: &TrimReport<P>) {
        let trim = [("trigger", label(&report.trigger)), ("outcome", label(&report.outcome))];
        self.trims.get_or_create(&trim).inc();
        self.seconds.observe(report.elapsed.as_secs_f64());
        for closed in &report.closed {
            let outbound = closed.connections.saturating_sub(closed.inbound);
            for (direction, count) in [(Direction::Inbound, closed.inbound), (Direction::Outbound, outbound)]
            {
                if count > 0 {
                    let labels = [("reason", label(&closed.reason)), ("direction", direction.to_string())];
                    self.closed.get_or_create(&labels).inc_by(count as u64);
                }
            }
            self.value.observe(closed.value as f64);
        }
        for spared in &report.spared {
            self.spared.get_or_create(&[("why", label(&spared.reason))]).inc();
        }
    }
}

/// A label's value: words, joined.
fn label(words: &impl fmt::Display) -> String {
    words.to_string().replace(' ', "_")
}

/// What is read off a snapshot.
struct Live<P: Send + Sync + 'static, C: Connection> {
    manager: Weak<BasicConnManager<P, C>>,
    /// Kept here, as the manager forgets it otherwise.
    _observer: Arc<TrimObserver<P>>,
}

impl<P: Send + Sync + 'static, C: Connection> fmt::Debug for Live<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl<P, C> Collector for Live<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut inbound, mut outbound, mut peers, mut protected) = (0_u64, 0_u64, 0_u64, 0_u64);
        if let Some(manager) = self.manager.upgrade() {
            for peer in manager.snapshot().iter() {
                peers += 1;
                protected += u64::from(peer.is_protected());
                for direction in peer.directions() {
                    match direction {
                        Direction::Inbound => inbound += 1,
                        Direction::Outbound => outbound += 1,
                    }
                }
            }
        }
        let held = "Connections held, those being closed included.";
        let mut connections = encoder.encode_descriptor("connections", held, None, MetricType::Gauge)?;
        for (direction, count) in [(Direction::Inbound, inbound), (Direction::Outbound, outbound)] {
            connections.encode_family(&[("direction", direction.to_string())])?.encode_gauge(&count)?;
        }
        let known = "Peers: connected, temporary, or only protected.";
        encoder.encode_descriptor("peers", known, None, MetricType::Gauge)?.encode_gauge(&peers)?;
        let kept = "Peers that are protected.";
        encoder.encode_descriptor("protected", kept, None, MetricType::Gauge)?.encode_gauge(&protected)
    }
}
