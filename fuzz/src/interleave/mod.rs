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
use std::sync::Arc;

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
/// If a promise was not kept, having told the program.
pub fn interleave(bytes: &[u8]) {
    let program = decode(bytes);
    let _told = Told(Arc::clone(&program));
    if let Some(fault) = judge::judge(&history(&program)) {
        panic!("{fault}");
    }
}

fn decode(bytes: &[u8]) -> Arc<Program> {
    let program = Program::arbitrary_take_rest(Unstructured::new(bytes));
    Arc::new(program.expect("any bytes are a program"))
}

/// What happens in one execution of `program`.
fn history(program: &Arc<Program>) -> History {
    let schedule = ByteSchedule::new(program.schedule.clone());
    let program = Arc::clone(program);
    execution::run(schedule, move || HISTORY.set(run(&program)));
    HISTORY.take()
}

/// Says what the program was, if it made the target panic.
struct Told(Arc<Program>);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("by the program\n{}", self.0);
        }
    }
}

/// Runs the threads of `program`, in a model.
fn run(program: &Program) -> History {
    let manager = world::builder().seed(1).build().expect("a valid configuration");
    let world = World::new(manager, program.peers(), program.counters);
    let mut first = Recorder::new(&world, 0);
    program.set_up.iter().for_each(|op| op.run(&mut first, program));
    let histories: Vec<History> = shuttle::thread::scope(|scope| {
        let world = &world;
        let spawn = |number| {
            scope.spawn(move || {
                let mut recorder = Recorder::new(world, number);
                program.threads[number - 1].iter().for_each(|op| op.run(&mut recorder, program));
                recorder.history
            })
        };
        let threads: Vec<_> = (1..=program.threads.len()).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("a program does not panic")).collect()
    });
    first.history.extend(histories);
    first.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn the_same_bytes_do_the_same() {
        corpus::replay("interleave", |bytes| {
            let program = decode(bytes);
            let [once, again] = [(); 2].map(|()| format!("{:?}", history(&program)));
            assert_eq!(once, again, "one execution is like another");
        });
    }

    #[test]
    fn bytes_decide_the_order() {
        let program = decode(&[]);
        let with = |schedule: &[u8]| {
            let mut program = Program::clone(&program);
            program.schedule = schedule.to_vec();
            format!("{:?}", history(&Arc::new(program)).records)
        };
        // One thread to its end and then the other; or the other way round.
        assert_ne!(with(&[0xfc, 0xfc, 0xfd, 0xfd]), with(&[0xfd, 0xfd, 0xfc, 0xfc]), "another order");
    }
}
