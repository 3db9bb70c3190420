//! A schedule that bytes decide.

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

/// Scheduling points that a thread goes on for when the bytes have run out.
const TURN: usize = 50;

/// Each byte says which thread runs next, and for how many of its scheduling points; when the bytes have run out, the threads take
/// turns. The same bytes give the same interleaving.
///
/// The main thread, which starts the others and waits for them, runs whenever it can and costs no byte.
#[derive(Debug)]
pub struct ByteSchedule {
    bytes: std::vec::IntoIter<u8>,
    running: usize,
    left: usize,
    begun: bool,
}

impl ByteSchedule {
    /// The schedule of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into_iter(), running: 0, left: 0, begun: false }
    }

    /// How many scheduling points a byte stands for: most often few, now and then more than an operation has.
    fn length(byte: u8) -> usize {
        match usize::from(byte >> 2) {
            few @ 0..48 => few + 1,
            many => (many - 47) * 48,
        }
    }

    /// The thread of that number, or the next that can run.
    fn from_on(runnable: &[&Task], number: usize) -> usize {
        let numbers = || runnable.iter().map(|task| usize::from(task.id()));
        numbers().find(|&other| other >= number).or_else(|| numbers().next()).expect("a thread can run")
    }
}

impl Scheduler for ByteSchedule {
    fn new_execution(&mut self) -> Option<Schedule> {
        (!std::mem::replace(&mut self.begun, true)).then(|| Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], _: Option<TaskId>, _: bool) -> Option<TaskId> {
        let can = |number| runnable.iter().any(|task| usize::from(task.id()) == number);
        if can(0) {
            return Some(TaskId::from(0));
        }
        if self.left == 0 || !can(self.running) {
            (self.running, self.left) = match self.bytes.next() {
                Some(byte) => (Self::from_on(runnable, 1 + usize::from(byte & 3)), Self::length(byte)),
                None => (Self::from_on(runnable, self.running + 1), TURN),
            };
        }
        self.left -= 1;
        Some(TaskId::from(self.running))
    }

    fn next_u64(&mut self) -> u64 {
        unreachable!("no model asks for random numbers")
    }
}
