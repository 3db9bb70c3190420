//! Results in print: a table to read, or one JSON object a line.

/// One subject's result in one race.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// What was measured.
    pub workload: &'static str,
    /// Peers in the table.
    pub peers: usize,
    /// Threads at work.
    pub threads: usize,
    /// Who was measured.
    pub subject: &'static str,
    /// Wall time by operations of all threads: the median of the rounds.
    pub ns_per_op: f64,
    /// By how much it is slower than the sharded mutex: the median of the rounds' ratios.
    pub ratio: f64,
    /// The time of the best round.
    pub min_ns: f64,
    /// The least of the rounds' ratios.
    pub min_ratio: f64,
    /// The ratio of the two best rounds, its own and the sharded mutex's: what other load disturbs least.
    pub best_ratio: f64,
    /// Rounds measured.
    pub rounds: usize,
    /// Operations in a round, of all threads.
    pub ops: usize,
}

/// Prints the table's head.
pub fn head() {
    println!("Each round, every subject in turn does the same operations, on peers drawn at random.");
    println!("ns: wall time by operations of all threads; a connect_disconnect is one of each.");
    println!("ratio: to sharded_mutex in the same round, median and least; best: of the two least times.\n");
    println!(
        "{:<18} {:>6} {:>3}  {:<14} {:>9} {:>9} {:>7} {:>7} {:>7}",
        "workload", "peers", "thr", "subject", "median ns", "least ns", "ratio", "least", "best"
    );
}

/// Prints a race's lines in the table.
pub fn rows(lines: &[Line]) {
    for line in lines {
        println!(
            "{:<18} {:>6} {:>3}  {:<14} {:>9.1} {:>9.1} {:>7.2} {:>7.2} {:>7.2}",
            line.workload,
            line.peers,
            line.threads,
            line.subject,
            line.ns_per_op,
            line.min_ns,
            line.ratio,
            line.min_ratio,
            line.best_ratio
        );
    }
    println!();
}

/// Prints a race's lines as JSON.
pub fn json(lines: &[Line]) {
    for line in lines {
        println!(
            "{{\"workload\":\"{}\",\"peers\":{},\"threads\":{},\"subject\":\"{}\",\"ns_per_op\":{:.2},\
             \"ratio_to_sharded_mutex\":{:.3},\"min_ns\":{:.2},\"min_ratio\":{:.3},\"best_ratio\":{:.3},\
             \"rounds\":{},\"ops_per_round\":{}}}",
            line.workload,
            line.peers,
            line.threads,
            line.subject,
            line.ns_per_op,
            line.ratio,
            line.min_ns,
            line.min_ratio,
            line.best_ratio,
            line.rounds,
            line.ops
        );
    }
}
