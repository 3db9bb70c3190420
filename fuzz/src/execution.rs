//! One execution of a model under shuttle.

use shuttle::scheduler::Scheduler;
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// The most scheduling points of an execution: one that takes more is livelocked.
pub const MOST_STEPS: usize = 300_000;

/// Runs `body` once, as `scheduler` has it, and checks that it leaked nothing and left no guard.
///
/// `scheduler` ends its second execution before it begins.
///
/// # Panics
///
/// If a thread of the model does, or none can go on.
pub fn run(scheduler: impl Scheduler + 'static, body: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    // The bytes are the schedule.
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    // That orderings are taken for SeqCst is known: see the `sync` module.
    config.silence_warnings = true;
    // What unwinds would go on calling the model, and could panic again.
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    Runner::new(scheduler, config).run(move || connmgr_shuttle::model(&body));
}
