//! What Prometheus is shown, to the letter.
#![expect(clippy::disallowed_types, reason = "tests wait for what they test")]

mod common;

use std::sync::Arc;

use common::{builder, connect_valued, manager, with_meanwhile};
use connmgr::testing::Loopback;
use connmgr::{ByValue, metrics};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).expect("encoded");
    text
}

/// The lines of one metric, in order, comments left out.
fn series(registry: &Registry, metric: &str) -> Vec<String> {
    let named = |line: &&str| line.starts_with(metric) && line[metric.len()..].starts_with(['{', ' ']);
    let mut lines: Vec<String> = text(registry).lines().filter(named).map(ToOwned::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn what_is_held_is_counted_when_it_is_asked_for() {
    let manager = Arc::new(manager(10, 20));
    let mut registry = Registry::default();
    metrics::register(&mut registry, &manager);
    connect_valued(&manager, 0..3);
    manager.connected(&0, Loopback::outbound(100));
    manager.tag_peer(&50, "not connected", 1);
    manager.protect(&1, "kept");
    manager.protect(&60, "never seen");
    let connections =
        ["connmgr_connections{direction=\"inbound\"} 3", "connmgr_connections{direction=\"outbound\"} 1"];
    assert_eq!(series(&registry, "connmgr_connections"), connections);
    assert_eq!(series(&registry, "connmgr_peers"), ["connmgr_peers 5"]);
    assert_eq!(series(&registry, "connmgr_protected"), ["connmgr_protected 2"]);
    manager.disconnected(&0, &100);
    assert_eq!(series(&registry, "connmgr_connections")[1], "connmgr_connections{direction=\"outbound\"} 0");
}

#[test]
fn every_trim_is_counted_by_what_set_it_off_and_how_it_ended() {
    let manager = Arc::new(builder(2, 20).policy(ByValue::exact()).build().expect("a valid configuration"));
    let mut registry = Registry::default();
    metrics::register(&mut registry, &manager);
    connect_valued(&manager, 0..6);
    manager.connected(&1, Loopback::outbound(100));
    let _ = manager.trim_open_conns();
    (0..4).for_each(|peer| manager.disconnected(&peer, &peer));
    manager.disconnected(&1, &100);
    let _ = manager.trim_open_conns();
    connect_valued(&manager, 10..13);
    let _ = manager.force_trim();

    let trims = [
        "connmgr_trims_total{trigger=\"emergency\",outcome=\"reached\"} 1",
        "connmgr_trims_total{trigger=\"explicit\",outcome=\"nothing_to_do\"} 1",
        "connmgr_trims_total{trigger=\"explicit\",outcome=\"reached\"} 1",
    ];
    assert_eq!(series(&registry, "connmgr_trims_total"), trims);
    let closed = [
        "connmgr_closed_total{reason=\"emergency\",direction=\"inbound\"} 3",
        "connmgr_closed_total{reason=\"trim\",direction=\"inbound\"} 4",
        "connmgr_closed_total{reason=\"trim\",direction=\"outbound\"} 1",
    ];
    assert_eq!(series(&registry, "connmgr_closed_total"), closed);
    assert_eq!(series(&registry, "connmgr_trim_seconds_count"), ["connmgr_trim_seconds_count 3"]);
    // 0, 1, 2, 3 in the first trim; 4, 5 and 10 in the last.
    assert_eq!(series(&registry, "connmgr_closed_value_sum"), ["connmgr_closed_value_sum 25.0"]);
    assert_eq!(series(&registry, "connmgr_closed_value_count"), ["connmgr_closed_value_count 7"]);
    assert!(text(&registry).contains("connmgr_closed_value_bucket{le=\"1.0\"} 2"));
}

#[test]
fn who_is_spared_is_counted_by_why() {
    let manager = with_meanwhile(1, |manager| {
        manager.protect(&0, "late");
        manager.tag_peer(&1, "value", 1_000);
    });
    let mut registry = Registry::default();
    metrics::register(&mut registry, &manager);
    connect_valued(&manager, 0..3);
    let _ = manager.trim_open_conns();
    let spared =
        ["connmgr_spared_total{why=\"protected\"} 1", "connmgr_spared_total{why=\"value_raised\"} 1"];
    assert_eq!(series(&registry, "connmgr_spared_total"), spared);
}

/// A registry outlives its manager: what was counted stays, what is held is nothing.
#[test]
fn a_registry_keeps_no_manager_alive() {
    let manager = Arc::new(manager(1, 20));
    let mut registry = Registry::default();
    metrics::register(&mut registry, &manager);
    connect_valued(&manager, 0..3);
    let _ = manager.trim_open_conns();
    assert_eq!(Arc::strong_count(&manager), 1);
    drop(manager);
    assert_eq!(series(&registry, "connmgr_peers"), ["connmgr_peers 0"]);
    assert_eq!(series(&registry, "connmgr_trims_total").len(), 1);
}

#[test]
fn managers_are_told_apart_by_a_label() {
    let managers = [Arc::new(manager(1, 20)), Arc::new(manager(1, 20))];
    let mut registry = Registry::default();
    for (name, manager) in ["one", "two"].into_iter().zip(&managers) {
        metrics::register(registry.sub_registry_with_label(("swarm".into(), name.into())), manager);
    }
    connect_valued(&managers[1], 0..3);
    let peers = ["connmgr_peers{swarm=\"one\"} 0", "connmgr_peers{swarm=\"two\"} 3"];
    assert_eq!(series(&registry, "connmgr_peers"), peers);
}
