//! Programs of several threads, in an interleaving of the input's choice.
//!
//! What is recorded and how it is checked are the files of `tests/linearizability`, compiled here over the build of the crate that
//! runs under shuttle: each peer linearizable, snapshots consistent cuts, nobody closed who is protected, no connection closed
//! twice, exact counts. That nothing leaked and nothing was used after it was freed is the checked reclaimer's to say.

#[path = "../../../tests/linearizability/checker.rs"]
mod checker;
#[path = "../../../tests/linearizability/cuts.rs"]
mod cuts;
#[path = "../../../tests/linearizability/history.rs"]
mod history;
#[path = "../../../tests/linearizability/judge.rs"]
mod judge;
#[path = "../../../tests/linearizability/minimise.rs"]
mod minimise;
#[path = "../../../tests/linearizability/model.rs"]
mod model;
mod pauses;
mod program;
#[path = "../../../tests/linearizability/recorder.rs"]
mod recorder;
#[path = "../../../tests/linearizability/world.rs"]
mod world;

use std::cell::RefCell;

use arbitrary::{Arbitrary, Unstructured};
use connmgr_shuttle as subject;

use crate::byte_schedule::ByteSchedule;
use crate::execution;
use history::History;
use program::Program;
use recorder::{Recorder, World};

thread_local! {
    /// What happened, on its way out of the execution, all of which runs on one thread of the system.
    static HISTORY: RefCell<History> = RefCell::default();
}

/// Runs the program and the schedule that `bytes` encode, and checks what happened.
///
/// # Panics
///
/// If a promise was not kept.
pub fn interleave(bytes: &[u8]) {
    let program = Program::arbitrary_take_rest(Unstructured::new(bytes)).expect("any bytes are a program");
    let schedule = ByteSchedule::new(program.schedule.clone());
    let told = program.to_string();
    execution::run(schedule, move || {
        let history = run(&program);
        HISTORY.set(history);
    });
    if let Some(fault) = judge::judge(&HISTORY.take()) {
        panic!("{fault}\nby the program\n{told}");
    }
}

/// What the program that `bytes` encode does, to be read.
#[must_use]
pub fn interleaved(bytes: &[u8]) -> String {
    let program = Program::arbitrary_take_rest(Unstructured::new(bytes)).expect("any bytes are a program");
    program.to_string()
}

/// Runs the threads of `program`, in a model.
fn run(program: &Program) -> History {
    let manager = world::builder().seed(1).build().expect("a valid configuration");
    let world = World::new(manager, program.peers(), program.counters);
    let mut first = Recorder::new(&world, 0);
    program.set_up.iter().for_each(|op| op.run(&mut first, program));
    let histories: Vec<History> = shuttle::thread::scope(|scope| {
        let spawn = |(number, ops): (usize, &'_ Vec<program::Op>)| {
            let (world, ops) = (&world, ops.clone());
            let program = program.clone();
            scope.spawn(move || {
                let mut recorder = Recorder::new(world, number + 1);
                ops.iter().for_each(|op| op.run(&mut recorder, &program));
                recorder.history
            })
        };
        let threads: Vec<_> = program.threads.iter().enumerate().map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("a program does not panic")).collect()
    });
    first.history.extend(histories);
    first.finish()
}
