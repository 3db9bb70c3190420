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
    /// The ratio of the best round.
    pub min_ratio: f64,
    /// Rounds measured.
    pub rounds: usize,
    /// Operations in a round, of all threads.
    pub ops: usize,
}

/// Prints the table's head.
pub fn head() {
    println!(
        "Each round, every subject in turn does the same operations; ns is wall time by operations of all threads,"
    );
    println!(
        "ratio is to sharded_mutex in the same round. A connect_disconnect is one of each. 80-byte peer ids.\n"
    );
    println!(
        "{:<18} {:>6} {:>3}  {:<14} {:>9} {:>9} {:>7} {:>7}",
        "workload", "peers", "thr", "subject", "median ns", "min ns", "ratio", "min"
    );
}

/// Prints a race's lines in the table.
pub fn rows(lines: &[Line]) {
    for line in lines {
        let Line { workload, peers, threads, subject, ns_per_op, ratio, min_ns, min_ratio, .. } = line;
        println!(
            "{workload:<18} {peers:>6} {threads:>3}  {subject:<14} {ns_per_op:>9.1} {min_ns:>9.1} {ratio:>7.2} {min_ratio:>7.2}"
        );
    }
    println!();
}

/// Prints a race's lines as JSON.
pub fn json(lines: &[Line]) {
    for line in lines {
        let Line { workload, peers, threads, subject, ns_per_op, ratio, min_ns, min_ratio, rounds, ops } =
            line;
        println!(
            "{{\"workload\":\"{workload}\",\"peers\":{peers},\"threads\":{threads},\"subject\":\"{subject}\",\
             \"ns_per_op\":{ns_per_op:.2},\"ratio_to_sharded_mutex\":{ratio:.3},\"min_ns\":{min_ns:.2},\
             \"min_ratio\":{min_ratio:.3},\"rounds\":{rounds},\"ops_per_round\":{ops}}}"
        );
    }
}
