//! The course of one run: the crowd arrives, settles, and the outcome is judged.
//!
//! Every wait has a deadline; a deadline that passes is a failure that says what was waited for.

use std::{
    collections::HashSet,
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use connmgr::swarm::Manager;
use libp2p::{PeerId, identity::Keypair, noise};
use tokio::{
    runtime,
    sync::watch,
    task::{JoinError, JoinSet},
    time::timeout,
};

use crate::{
    args::Config,
    checks::{self, Evidence, Failure},
    hub::Hub,
    ledger::TrimLog,
    peers::{self, Destination, Phase},
    report::{self, Progress},
    taggers::Taggers,
};

/// How long the hub is given for anything it must finish.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a condition that no swarm event announces is looked at.
const TICK: Duration = Duration::from_millis(20);

/// The facts of the last line.
pub(crate) struct Summary {
    peers: usize,
    opened: usize,
    open: usize,
    trimmed: usize,
    trims: usize,
    protected: usize,
    protected_closed: usize,
    updates: u64,
    updates_per_s: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "peers={} opened={} open={} trimmed={} trims={} protected={} protected_closed={} \
             updates={} updates_per_s={}",
            self.peers,
            self.opened,
            self.open,
            self.trimmed,
            self.trims,
            self.protected,
            self.protected_closed,
            self.updates,
            self.updates_per_s,
        )
    }
}

/// Runs a session on a runtime of its own.
pub(crate) fn run(config: Config) -> Result<Summary, Vec<Failure>> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| setup(&error))?;
    let outcome = runtime.block_on(session(config));
    runtime.shutdown_timeout(PATIENCE);
    outcome
}

async fn session(config: Config) -> Result<Summary, Vec<Failure>> {
    let trims = Arc::<TrimLog>::default();
    let manager = new_manager(&config, &trims).map_err(|error| setup(&error))?;

    // Protected before they arrive: protection belongs to the peer, not to its connection.
    let lasting: Vec<Keypair> = (0..config.protected).map(|_| Keypair::generate_ed25519()).collect();
    let protected: HashSet<PeerId> = lasting.iter().map(|key| key.public().into()).collect();
    for peer in &protected {
        manager.protect(peer, "example");
    }

    let mut hub = Hub::new(Arc::clone(&manager)).map_err(|error| setup(&error))?;
    hub.listen().map_err(|error| setup(&error))?;
    let taggers = Taggers::start(config.threads, &manager, hub.roster()).map_err(|error| setup(&error))?;
    let mut session = Session { progress: Progress::start(), hub, taggers, trims };

    let deaf = |session: &Session| session.hub.address().is_none();
    session.drive_while(PATIENCE, deaf).await;
    let Some(address) = session.hub.address().cloned() else {
        return Err(vec![Failure::Stuck("starting the listener", PATIENCE)]);
    };
    let destination = Destination { hub: session.hub.peer_id(), address };
    let (phase, in_phase) = watch::channel(Phase::Arriving);
    let crowd = peers::start(&config, lasting, &destination, &in_phase);
    let tagging = Instant::now();
    session.drive(tagging + config.arrivals).await;

    phase.send_replace(Phase::Staying);
    session.settle(&config).await;

    let (updates, tagged_for) = (session.taggers.updates(), tagging.elapsed());
    session.stop_taggers().await?;
    session.close_manager(&manager).await?;
    // A deadline that passes here shows in the checks, which say more.
    let counted = |session: &Session| {
        session.hub.is_drained() && session.hub.ledger().open() == session.hub.established()
    };
    session.drive_while(PATIENCE, |session| !counted(session)).await;

    let all_trims = session.trims.all();
    let evidence = Evidence {
        config: &config,
        protected: &protected,
        ledger: session.hub.ledger(),
        trims: &all_trims,
        manager_count: manager.info().connections,
        swarm_count: session.hub.established(),
    };
    report::print_table(&evidence, &session.hub, &manager);
    let mut failures = checks::verify(&evidence);
    let summary = Summary {
        peers: config.peers,
        opened: evidence.ledger.total(),
        open: evidence.swarm_count,
        trimmed: evidence.ledger.trimmed(),
        trims: all_trims.len(),
        protected: protected.len(),
        protected_closed: checks::protected_closed(&evidence),
        updates,
        updates_per_s: (updates as f64 / tagged_for.as_secs_f64()) as u64,
    };

    phase.send_replace(Phase::Leaving);
    // What went wrong while the peers left must not hide what was found before.
    failures.extend(dismiss(crowd).await.err());
    if failures.is_empty() { Ok(summary) } else { Err(failures) }
}

fn new_manager(config: &Config, trims: &Arc<TrimLog>) -> Result<Arc<Manager>, connmgr::ConfigError> {
    let trims = Arc::clone(trims);
    Manager::builder()
        .low_water(config.low)
        .high_water(config.high)
        .grace_period(config.grace)
        .silence_period(config.silence)
        .on_trim(move |report| trims.record(report))
        .build()
        .map(Arc::new)
}

/// Waits for the peers to leave.
async fn dismiss(mut crowd: JoinSet<Result<(), noise::Error>>) -> Result<(), Failure> {
    let all_left = async {
        while let Some(left) = crowd.join_next().await {
            left.map_err(|_: JoinError| Failure::Panicked("a peer"))?
                .map_err(|error| Failure::Setup(error.to_string()))?;
        }
        Ok(())
    };
    timeout(PATIENCE, all_left).await.unwrap_or(Err(Failure::Stuck("the peers", PATIENCE)))
}

fn setup(error: &dyn ToString) -> Vec<Failure> {
    vec![Failure::Setup(error.to_string())]
}

/// What must keep running for the hub to make progress.
struct Session {
    hub: Hub,
    taggers: Taggers,
    trims: Arc<TrimLog>,
    progress: Progress,
}

impl Session {
    /// Runs the hub until `deadline`.
    async fn drive(&mut self, deadline: Instant) {
        while Instant::now() < deadline {
            self.tick(deadline).await;
        }
    }

    /// Runs the hub while `waiting`, at most for `patience`. Tells whether the wait is over.
    async fn drive_while(&mut self, patience: Duration, waiting: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while waiting(self) {
            if Instant::now() >= deadline {
                return false;
            }
            self.tick(deadline).await;
        }
        true
    }

    async fn drive_until(
        &mut self,
        what: &'static str,
        patience: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Vec<Failure>> {
        if self.drive_while(patience, |session| !done(session)).await {
            Ok(())
        } else {
            Err(vec![Failure::Stuck(what, patience)])
        }
    }

    async fn tick(&mut self, deadline: Instant) {
        self.progress.print_if_due(self.hub.ledger(), &self.trims, &self.taggers);
        self.hub.step(deadline.min(Instant::now() + TICK)).await;
    }

    /// Gives the manager time to trim those who came last, then waits for the count to be down
    /// and the closes to be done. If that never happens, the checks say so.
    async fn settle(&mut self, config: &Config) {
        let last_trim = config.grace + 2 * config.silence + Duration::from_millis(500);
        self.drive(Instant::now() + last_trim).await;
        let high = config.high;
        let restless = |session: &Self| {
            let hub = &session.hub;
            hub.pending() > 0 || !hub.is_drained() || hub.established() > high
        };
        self.drive_while(PATIENCE, restless).await;
    }

    async fn stop_taggers(&mut self) -> Result<(), Vec<Failure>> {
        self.taggers.stop();
        let finished = |session: &Self| session.taggers.are_finished();
        self.drive_until("a tagging thread", PATIENCE, finished).await?;
        if self.taggers.join() { Ok(()) } else { Err(vec![Failure::Panicked("a tagging thread")]) }
    }

    /// Closes the manager, which stops its trimming. On a thread of its own, because it may wait
    /// for a trim to end and the hub must run meanwhile.
    async fn close_manager(&mut self, manager: &Arc<Manager>) -> Result<(), Vec<Failure>> {
        let manager = Arc::clone(manager);
        let closer = thread::Builder::new()
            .name("closer".into())
            .spawn(move || manager.close())
            .map_err(|error| setup(&error))?;
        self.drive_until("closing the manager", PATIENCE, |_| closer.is_finished()).await?;
        match closer.join() {
            Ok(outcome) => outcome.map_err(|error| setup(&error)),
            Err(_) => Err(vec![Failure::Panicked("closing the manager")]),
        }
    }
}
