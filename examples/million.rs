//! The release check: a million peers, 64 threads, a snapshot every second, and exact counts at the end.
//!
//! `cargo run --release --example million` (a minute or two on two cores, about 1 GiB).

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use connmgr::testing::Loopback;
use connmgr::{BasicConnManager, TrimOutcome};

const PEERS: u64 = 1_000_000;
const THREADS: u64 = 64;
const LOW: usize = 250_000;
/// Updates of other threads' peers for each peer of one's own.
const VISITS: u64 = 4;

type Manager = BasicConnManager<u64, Loopback>;

/// A cheap sequence without short cycles (splitmix64).
fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn own(thread: u64) -> impl Iterator<Item = u64> {
    (0..PEERS).skip(thread as usize).step_by(THREADS as usize)
}

/// Runs `work` on every thread.
fn on_all(manager: &Manager, work: impl Fn(&Manager, u64) + Sync) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(manager, thread));
        }
    });
}

fn check(what: &str, found: impl Into<i128>, expected: impl Into<i128>) -> Result<(), String> {
    let (found, expected) = (found.into(), expected.into());
    if found == expected { Ok(()) } else { Err(format!("{what}: {found}, expected {expected}")) }
}

fn run() -> Result<String, String> {
    let began = Instant::now();
    let manager: Arc<Manager> = Arc::new(
        Manager::builder()
            .low_water(LOW)
            .high_water(LOW * 2)
            .grace_period(Duration::ZERO)
            .background(false)
            .build()
            .map_err(|error| error.to_string())?,
    );
    let (own_tag, visited) = (manager.tag("own"), manager.tag("visited"));

    let done = Arc::new(AtomicBool::new(false));
    let snapshots = {
        let (manager, done) = (Arc::clone(&manager), Arc::clone(&done));
        thread::spawn(move || {
            let (mut taken, mut most) = (0_u64, 0);
            while !done.load(Ordering::Acquire) {
                let seen = manager.snapshot().iter().filter(|peer| peer.connections() > 0).count();
                if seen < most {
                    return Err(format!("a later snapshot saw {seen} connected peers after {most}"));
                }
                most = seen;
                taken += 1;
                thread::park_timeout(Duration::from_secs(1));
            }
            Ok(taken)
        })
    };

    on_all(&manager, |manager, thread| {
        for peer in own(thread) {
            manager.connected(&peer, Loopback::inbound(peer));
            manager.tag_peer(&peer, &own_tag, 1);
            for visit in 0..VISITS {
                let other = scramble(peer * VISITS + visit) % PEERS;
                manager.upsert_tag(&other, &visited, |count| count + 1);
            }
        }
    });
    done.store(true, Ordering::Release);
    snapshots.thread().unpark();
    let taken = snapshots.join().map_err(|_| "the snapshot thread panicked".to_owned())??;

    let sum: i64 = manager.snapshot().iter().map(|peer| peer.value()).sum();
    check("sum of all values", sum, PEERS as i64 * (1 + VISITS as i64))?;
    check("connections", manager.info().connections as i64, PEERS as i64)?;
    check("peers", manager.snapshot().iter().count() as i64, PEERS as i64)?;
    let filled = began.elapsed();

    let trimming = Instant::now();
    let report = manager.trim_open_conns();
    let trim = trimming.elapsed();
    check("outcome reached", i32::from(report.outcome == TrimOutcome::Reached), 1)?;
    check("connections closed", report.closed_connections as i64, PEERS as i64 - LOW as i64)?;
    check("closing", manager.info().closing as i64, PEERS as i64 - LOW as i64)?;

    let closed: Vec<u64> = report.closed.iter().map(|closed| closed.peer).collect();
    let ended = AtomicUsize::new(0);
    on_all(&manager, |manager, thread| {
        for peer in closed.iter().skip(thread as usize).step_by(THREADS as usize) {
            manager.disconnected(peer, peer);
            ended.fetch_add(1, Ordering::Relaxed);
        }
    });
    check("disconnected", ended.into_inner() as i64, PEERS as i64 - LOW as i64)?;
    let info = manager.info();
    check("connections left", info.connections as i64, LOW as i64)?;
    check("closing in the end", info.closing as i64, 0)?;
    check("events ignored", info.ignored_events as i64, 0)?;
    check("peers left", manager.snapshot().iter().count() as i64, LOW as i64)?;

    let updates = PEERS * (1 + VISITS);
    Ok(format!(
        "million: OK peers={PEERS} threads={THREADS} updates={updates} snapshots={taken} filled_s={:.1} trim_ms={} left={LOW}",
        filled.as_secs_f64(),
        trim.as_millis(),
    ))
}

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("million: FAILED {why}");
            ExitCode::FAILURE
        }
    }
}
