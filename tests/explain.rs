//! Explanations: each peer's place among the candidates, or what exempts it, by the code of the trim.
#![expect(clippy::disallowed_types, reason = "tests collect what threads and callbacks say")]

mod common;

use std::num::NonZeroU32;
use std::time::Duration;

use common::{builder, closed, connect_valued, manager, secs};
use connmgr::testing::Loopback;
use connmgr::{BumpFn, DecayFn, Exemption, Explanation, GracePer, ManualClock, Rank, Standing};

fn places(explained: &[Explanation<u64>]) -> Vec<(u64, usize, bool)> {
    let place = |explanation: &Explanation<u64>| match explanation.standing {
        Standing::Candidate { place, closes, .. } => Some((explanation.peer, place, closes)),
        _ => None,
    };
    explained.iter().filter_map(place).collect()
}

#[test]
fn candidates_are_ranked_as_the_trim_takes_them() {
    let manager = manager(3, 100);
    connect_valued(&manager, 0..40);
    let _ = manager.protect(&1, "p");
    let all = manager.explain_all();
    assert_eq!(all.len(), 40, "every peer");
    let places = places(&all);
    assert_eq!(places.len(), 39, "all but the protected one are candidates");
    assert!(
        places.iter().enumerate().all(|(at, &(_, place, _))| at == place),
        "in order of place, without gaps"
    );
    for peer in [0, 1, 2, 39] {
        let alone = manager.explain(&peer).expect("known");
        assert!(all.contains(&alone), "one by one they are told the same: {alone}");
    }
    let Standing::Candidate { of, rank: Rank(value, _), connections, .. } = all[7].standing else {
        panic!("the eighth is a candidate: {}", all[7]);
    };
    assert_eq!((of, value, connections), (39, 8, 1), "the eighth is peer 8, as peer 1 is exempt");
    let doomed: Vec<_> = places.iter().filter(|place| place.2).map(|place| place.0).collect();
    let planned: Vec<_> = manager.plan_trim().victims.iter().map(|victim| victim.peer).collect();
    assert_eq!(doomed, planned, "as a plan has it");
    assert_eq!(closed(&manager.trim_open_conns()), doomed, "and as the trim does it");
}

#[test]
fn an_explanation_changes_nothing() {
    let manager = manager(1, 2);
    connect_valued(&manager, 0..5);
    let before = manager.info();
    let _ = manager.explain_all();
    let _ = manager.explain(&1);
    assert_eq!(manager.explain(&99), None, "an unknown peer has no standing");
    assert_eq!(manager.info(), before, "and no peer is made for it");
}

/// It was listed as temporary, though it is unknown to `tag_info` and in no snapshot.
#[test]
fn a_peer_of_which_all_has_decayed_away_has_no_standing() {
    let clock = ManualClock::new();
    let manager = builder(1, 2).decay_resolution(secs(1)).clock(clock.clone()).build().unwrap();
    let tag = manager.register_decaying_tag("t", secs(1), DecayFn::fixed(1), BumpFn::overwrite()).unwrap();
    tag.bump(&1, 1).unwrap();
    assert!(manager.explain(&1).is_some(), "temporary");
    clock.advance(secs(1));
    assert_eq!((manager.explain(&1), manager.explain_all()), (None, vec![]), "nothing is left");
}

#[test]
fn where_nothing_is_to_be_closed_nobody_would_be() {
    for (low, high) in [(0, 0), (10, 20)] {
        let manager = manager(low, high);
        connect_valued(&manager, 0..5);
        let places = places(&manager.explain_all());
        assert_eq!(places, (0..5).map(|peer| (peer, peer as usize, false)).collect::<Vec<_>>(), "low {low}");
    }
}

#[test]
fn a_bound_on_closes_bounds_who_would_be_closed() {
    let manager = builder(1, 100).close_rate(NonZeroU32::new(2)).build().unwrap();
    connect_valued(&manager, 0..5);
    let closes: Vec<_> = places(&manager.explain_all()).iter().map(|place| place.2).collect();
    assert_eq!(closes, [true, true, false, false, false], "two a second");
}

/// One peer of each kind, at 12 s, with a grace of 10 s and tags kept for 20 s.
fn one_of_each_kind() -> connmgr::BasicConnManager<u64, Loopback> {
    let clock = ManualClock::new();
    let manager =
        builder(1, 100).grace_period(secs(10)).keep_tags(secs(20)).clock(clock.clone()).build().unwrap();
    manager.connected(&0, Loopback::inbound(0).with_streams(3));
    manager.connected(&1, Loopback::inbound(10));
    manager.connected(&1, Loopback::inbound(11));
    manager.connected(&2, Loopback::inbound(20));
    manager.tag_peer(&2, "value", -9);
    clock.set(secs(10));
    let _ = manager.protect(&1, "b\n");
    let _ = manager.protect(&1, "a");
    assert_eq!(closed(&manager.trim_open_conns()), [2], "two candidates less one");
    clock.set(Duration::from_millis(10_500));
    manager.connected(&3, Loopback::inbound(30));
    manager.connected(&4, Loopback::inbound(40));
    manager.tag_peer(&4, "value", 4);
    manager.disconnected(&4, &40);
    manager.tag_peer(&5, "value", 5);
    manager.tag_peer(&6, "value", 6);
    let _ = manager.protect(&6, "p");
    let _ = manager.protect(&7, "p");
    manager.connected(&8, Loopback::inbound(80));
    let _ = manager.protect(&8, "p");
    clock.set(secs(12));
    manager
}

#[test]
fn every_exemption_is_named_with_the_time_it_lasts() {
    let manager = one_of_each_kind();
    let exempt = |peer| match manager.explain(&peer).expect("known").standing {
        Standing::Exempt(by) => by,
        other => panic!("peer {peer} is exempt: {other}"),
    };
    let protected = |under: &[&str]| {
        let under = under.iter().map(ToString::to_string).collect();
        Exemption::Protected { under }
    };
    let left = Duration::from_millis;
    assert!(matches!(manager.explain(&0).unwrap().standing, Standing::Candidate { place: 0, of: 1, .. }));
    assert_eq!(exempt(1), [protected(&["b\n", "a"])], "by every name");
    assert_eq!(exempt(2), [Exemption::Closing]);
    assert_eq!(exempt(3), [Exemption::InGrace { left: left(8_500) }]);
    assert_eq!(exempt(4), [Exemption::Left { left: left(18_500) }]);
    assert_eq!(exempt(5), [Exemption::Temporary { left: Some(left(8_500)) }]);
    assert_eq!(exempt(6), [protected(&["p"]), Exemption::Temporary { left: None }], "protected, it stays");
    assert_eq!(exempt(7), [protected(&["p"]), Exemption::NoConnection]);
    assert_eq!(exempt(8), [protected(&["p"]), Exemption::InGrace { left: left(8_500) }], "each reason");
}

#[test]
fn the_text_is_one_stable_line_for_each_peer() {
    let lines: Vec<_> = one_of_each_kind().explain_all().iter().map(ToString::to_string).collect();
    let mut expected = vec![
        "0: value 0, 1 connection; candidate 1 of 1, rank (0, 8589934595), would be kept",
        r#"1: value 0, 2 connections; exempt: protected under "b\n" and "a""#,
        "2: value -9, 0 connections; exempt: being closed",
        "3: value 0, 1 connection; exempt: in grace for 8.5s",
        "4: value 4, 0 connections; exempt: left, tags kept for 18.5s",
        "5: value 5, 0 connections; exempt: temporary for 8.5s",
        r#"6: value 6, 0 connections; exempt: protected under "p", temporary"#,
        r#"7: value 0, 0 connections; exempt: protected under "p", no connection"#,
        r#"8: value 0, 1 connection; exempt: protected under "p", in grace for 8.5s"#,
    ];
    assert_eq!(lines[0], expected[0], "candidates first");
    assert_eq!(lines[1], expected[2], "then the others, lower value first");
    let mut lines: Vec<_> = lines.iter().map(String::as_str).collect();
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn with_grace_per_connection_a_peer_is_exempt_until_its_first_connection_is_past_it() {
    let clock = ManualClock::new();
    let manager = builder(1, 100).grace_period(secs(10)).grace_per(GracePer::Connection);
    let manager = manager.clock(clock.clone()).build().unwrap();
    manager.connected(&1, Loopback::inbound(10));
    clock.set(secs(4));
    manager.connected(&1, Loopback::inbound(11));
    manager.disconnected(&1, &10);
    clock.set(secs(12));
    let grace = Standing::Exempt(vec![Exemption::InGrace { left: secs(2) }]);
    assert_eq!(manager.explain(&1).unwrap().standing, grace, "by its connection, not by its first-seen time");
    manager.connected(&1, Loopback::inbound(12));
    clock.set(secs(14));
    let explained = manager.explain(&1).unwrap();
    assert!(
        matches!(explained.standing, Standing::Candidate { connections: 1, .. })
            && explained.connections == 2,
        "one of its two: {explained}"
    );
}
