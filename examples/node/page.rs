//! The page. Whatever is put into it is escaped by the macro that writes it: peers choose their names and addresses.

use std::{collections::HashMap, time::SystemTime};

use connmgr::{ConnInfo, TrimPlan, TrimReport};
use libp2p::PeerId;
use maud::{DOCTYPE, Markup, html};

use crate::status::Status;

/// Seconds after which a browser asks again.
const REFRESH: u32 = 3;

const STYLE: &str = "
    :root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
    body { margin: 1.5rem auto; max-width: 72rem; padding: 0 1rem; }
    h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
    code, td.id { font-family: ui-monospace, monospace; font-size: .9em; } code, td { overflow-wrap: anywhere; }
    td.id { white-space: nowrap; } td.conns { min-width: 22rem; }
    table { border-collapse: collapse; width: 100%; }
    th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #8884; }
    th { font-weight: 600; } td.n, th.n { text-align: right; }
    dl { display: flex; flex-wrap: wrap; gap: .4rem 2rem; } dt { opacity: .7; } dd { margin: 0; font-size: 1.3rem; }
    .mark { border: 1px solid; border-radius: .3rem; padding: 0 .3rem; margin-right: .25rem; white-space: nowrap; }
    .kept { color: #2a7d46; } .going { color: #b3541e; } .quiet { opacity: .7; }
";

/// A peer as the page shows it.
struct Row {
    peer: PeerId,
    name: Option<String>,
    value: i64,
    tags: Vec<(String, i64)>,
    protections: Vec<String>,
    conns: Vec<ConnInfo>,
}

pub(crate) fn page(status: &Status) -> Markup {
    let (heard, info, plan) = (status.heard(), status.manager.info(), status.manager.plan_trim());
    let rows = rows(status, &heard.names);
    let protected = rows.iter().filter(|row| !row.protections.is_empty()).count();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content=(REFRESH);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "connmgr node" }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { "Node " code { (status.peer) } }
                p.quiet {
                    "listens on "
                    @for (number, address) in heard.listens.iter().enumerate() {
                        @if number > 0 { ", " } code { (address) }
                    }
                    " · " a href="/metrics" { "metrics" }
                }
                dl {
                    (fact("connections", &info.connections.to_string()))
                    (fact("being closed", &info.closing.to_string()))
                    (fact("low / high", &format!("{} / {}", info.low_water, info.high_water)))
                    (fact("peers", &rows.len().to_string()))
                    (fact("protected", &protected.to_string()))
                    (fact("last trim", &info.last_trim.map_or("none yet".into(), ago)))
                }
                h2 { "Peers: the protected, then by value" }
                (peers(&rows, &plan))
                h2 { "What a trim would close now" }
                (planned(&plan, &heard.names))
                h2 { "The last trim that did something" }
                @match &heard.last_trim {
                    Some((at, report)) => (last_trim(*at, report)),
                    None => p.quiet { "None has." },
                }
            }
        }
    }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// All peers of one snapshot, which is given up before anything is written.
fn rows(status: &Status, names: &HashMap<PeerId, String>) -> Vec<Row> {
    let snapshot = status.manager.snapshot();
    let mut rows: Vec<Row> = snapshot
        .iter()
        .map(|view| Row {
            peer: *view.peer(),
            name: names.get(view.peer()).cloned(),
            value: view.value(),
            tags: view.tags().map(|(tag, value)| (tag.to_string(), value)).collect(),
            protections: view.protections().map(|tag| tag.to_string()).collect(),
            conns: view.conns().collect(),
        })
        .collect();
    rows.sort_by_key(|row| (row.protections.is_empty(), std::cmp::Reverse(row.value), row.peer));
    rows
}

fn peers(rows: &[Row], plan: &TrimPlan<PeerId>) -> Markup {
    html! {
        table {
            tr { th { "peer" } th { "calls itself" } th.n { "value" } th { "tags" } th { "connections" } }
            @for row in rows {
                tr {
                    td.id title=(row.peer) {
                        (short(&row.peer)) " "
                        @for tag in &row.protections { br; span.mark.kept { "protected: " (tag) } }
                        @if plan.victims.iter().any(|victim| victim.peer == row.peer) { br; span.mark.going { "next to go" } }
                    }
                    td { @match &row.name { Some(name) => (name), None => span.quiet { "–" } } }
                    td.n { (row.value) }
                    td { @for (tag, value) in &row.tags { span.mark { (tag) " " (value) } " " } }
                    td.conns {
                        @for conn in &row.conns { div { (connection(conn)) } }
                        @if row.conns.is_empty() { span.quiet { "none" } }
                    }
                }
            }
        }
        @if rows.is_empty() { p.quiet { "Nobody yet." } }
    }
}

fn connection(conn: &ConnInfo) -> Markup {
    let streams = conn.streams.map_or("streams unknown".into(), |count| format!("{count} streams"));
    html! {
        (conn.direction) " " code { (conn.remote_addr) }
        span.quiet { " · " (streams) " · " (ago(conn.opened)) }
        @if conn.closing { " " span.mark.going { "closing" } }
    }
}

fn planned(plan: &TrimPlan<PeerId>, names: &HashMap<PeerId, String>) -> Markup {
    html! {
        p.quiet { "Outcome: " (plan.outcome) ". Candidates: " (plan.candidates) ". Wanted: " (plan.target) "." }
        @if !plan.victims.is_empty() {
            table {
                tr { th { "peer" } th { "calls itself" } th.n { "value" } th.n { "connections" } }
                @for victim in &plan.victims {
                    tr {
                        td.id title=(victim.peer) { (short(&victim.peer)) }
                        td { (names.get(&victim.peer).map_or("–", String::as_str)) }
                        td.n { (victim.value) }
                        td.n { (victim.connections) }
                    }
                }
            }
        }
    }
}

fn last_trim(at: SystemTime, report: &TrimReport<PeerId>) -> Markup {
    html! {
        p.quiet {
            (ago(at)) " (" (report.trigger) "): " (report.outcome) ", closed " (report.closed_connections)
            " of " (report.target) " wanted"
            @if let Some(cutoff) = report.cutoff { ", up to value " (cutoff) }
            " in " (report.elapsed.as_micros()) " µs"
        }
        table {
            tr { th { "peer" } th.n { "value" } th.n { "connections" } th { "what became of it" } }
            @for closed in &report.closed {
                tr {
                    td.id title=(closed.peer) { (short(&closed.peer)) }
                    td.n { (closed.value) }
                    td.n { (closed.connections) }
                    td.going { "closed: " (closed.reason) @if closed.protected { ", though protected" } }
                }
            }
            @for spared in &report.spared {
                tr {
                    td.id title=(spared.peer) { (short(&spared.peer)) }
                    td.n { (spared.value) }
                    td.n {}
                    td.kept { "spared: " (spared.reason) }
                }
            }
        }
    }
}

/// A short name for a peer. All ids begin alike, so it is known by its end.
fn short(peer: &PeerId) -> String {
    let mut name = peer.to_base58();
    name.split_off(name.len().saturating_sub(8))
}

fn ago(at: SystemTime) -> String {
    let seconds = at.elapsed().map_or(0, |elapsed| elapsed.as_secs());
    format!("{seconds} s ago")
}
