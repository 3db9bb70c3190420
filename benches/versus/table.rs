//! Results with their targets, as a table to read or a line to parse.

use serde::Serialize;

use crate::common::race::Line;
use crate::common::report::Verdict;
use crate::targets::{Lineup, Row};

/// A subject's result in one race.
#[derive(Serialize)]
pub struct Outcome {
    bench: &'static str,
    row: &'static str,
    id_bytes: usize,
    contends: bool,
    #[serde(flatten)]
    line: Line,
    /// What a tag's name costs, in ns of processor time, where that is what is measured.
    name_ns: Option<f64>,
    #[serde(flatten)]
    verdict: Option<Verdict>,
}

impl Outcome {
    /// Of `line`, held against `target` if it is the one that the target is for.
    pub fn new(row: &Row, id_bytes: usize, target: Option<f64>, line: Line) -> Self {
        let contends = line.subject == row.lineup.contender();
        // By processor time: threads that contended for a name would spend it.
        let name_ns = (contends && row.lineup == Lineup::Names).then_some(line.extra_cpu_ns);
        let verdict =
            target.filter(|_| contends).map(|most| Verdict::of(name_ns.unwrap_or(line.ratio), most));
        Self { bench: "versus", row: row.name, id_bytes, contends, line, name_ns, verdict }
    }

    fn says(&self) -> String {
        let Some(verdict) = self.verdict else { return String::new() };
        let unit = if self.name_ns.is_some() { " ns more" } else { "" };
        match verdict.short_by_percent {
            Some(percent) if !verdict.met => {
                format!("at most {}{unit}: short by {percent:.0} %", verdict.target)
            }
            _ => format!("at most {}{unit}: met", verdict.target),
        }
    }
}

/// Prints the table's head.
pub fn head() {
    println!("Each round, every subject in turn does the same operations.");
    println!("ns: time by operations of all threads: processor time of one thread, wall time of several;");
    println!("connect_disconnect and leave_return are pairs of calls.");
    println!("ratio: to sharded_mutex in the same round, median and least; best: of the two least times.\n");
    println!(
        "{:<20} {:>8} {:>3} {:>3}  {:<14} {:>9} {:>9} {:>7} {:>7} {:>7}  target",
        "row", "peers", "id", "thr", "subject", "median ns", "least ns", "ratio", "least", "best"
    );
}

/// Prints a race's outcomes in the table.
pub fn rows(outcomes: &[Outcome]) {
    for outcome in outcomes {
        let (line, name) = (&outcome.line, outcome.name_ns);
        let extra = name.map_or(String::new(), |ns| format!("{ns:+.1} ns to a resolved tag, "));
        println!(
            "{:<20} {:>8} {:>3} {:>3}  {:<14} {:>9.1} {:>9.1} {:>7.2} {:>7.2} {:>7.2}  {extra}{}",
            outcome.row,
            line.peers,
            outcome.id_bytes,
            line.threads,
            line.subject,
            line.ns_per_op,
            line.min_ns,
            line.ratio,
            line.min_ratio,
            line.best_ratio,
            outcome.says()
        );
    }
    println!();
}

/// Prints how many targets were met.
pub fn summary(outcomes: &[Outcome]) {
    let verdicts: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.verdict).collect();
    let met = verdicts.iter().filter(|verdict| verdict.met).count();
    println!("{met} of {} targets met", verdicts.len());
}

/// Prints what the README shows: a line for each race, with ids of 80 bytes and of 32.
pub fn markdown(outcomes: &[Outcome]) {
    println!(
        "| row | peers | threads | at most | 80-byte ids | 32-byte ids | DashMap | own handle | floor | sharded mutex, ns |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for contender in outcomes.iter().filter(|outcome| outcome.contends && outcome.id_bytes == 80) {
        let race = (contender.row, contender.line.peers, contender.line.threads);
        let same = |other: &&Outcome| (other.row, other.line.peers, other.line.threads) == race;
        let ratio = |subject| {
            let found = outcomes.iter().filter(same).find(|other| other.line.subject == subject);
            found.map_or("–".to_owned(), |other| format!("{:.2}", other.line.ratio))
        };
        let ours = |id_bytes| {
            let mut of = outcomes.iter().filter(same).filter(|other| other.contends);
            match of.find(|other| other.id_bytes == id_bytes) {
                Some(Outcome { name_ns: Some(ns), .. }) => format!("{ns:+.0} ns"),
                Some(other) => format!("{:.2}", other.line.ratio),
                None => "–".to_owned(),
            }
        };
        let base = outcomes.iter().filter(same).find(|other| other.line.subject == "sharded_mutex");
        println!(
            "| `{}` | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} |",
            race.0,
            race.1,
            race.2,
            contender.verdict.map_or("–".to_owned(), |verdict| format!("{}", verdict.target)),
            ours(80),
            ours(32),
            ratio("dashmap"),
            ratio("sharded_handle"),
            ratio("floor"),
            base.map_or(f64::NAN, |base| base.line.ns_per_op)
        );
    }
}
