//! Command lines: what is common to those of all benchmarks.

use std::env;
use std::ops::RangeInclusive;
use std::process::ExitCode;

use lexopt::prelude::*;

/// Reads the command line by `parse`, which gives nothing where help is asked for, and runs the benchmark.
///
/// Without Cargo's `--bench` it does nothing: `cargo test --benches` runs benchmarks as if they were tests.
pub fn start<O>(
    name: &str,
    help: &str,
    parse: impl FnOnce(&mut lexopt::Parser) -> Result<Option<O>, lexopt::Error>,
    run: impl FnOnce(O),
) -> ExitCode {
    let args: Vec<_> = env::args_os().skip(1).collect();
    if !args.iter().any(|arg| arg == "--bench") {
        eprintln!("{name}: not run without --bench, which `cargo bench` gives");
        return ExitCode::SUCCESS;
    }
    match parse(&mut lexopt::Parser::from_args(args.into_iter().filter(|arg| arg != "--bench"))) {
        Ok(Some(options)) => {
            run(options);
            ExitCode::SUCCESS
        }
        Ok(None) => {
            println!("{help}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{name}: {why} (--help lists what there is)");
            ExitCode::from(2)
        }
    }
}

/// The command line of a benchmark that prints JSON and has no other choice than `--quick`, which it returns.
pub fn quick_only(parser: &mut lexopt::Parser) -> Result<Option<bool>, lexopt::Error> {
    let mut quick = false;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("json") => {}
            Long("quick") => quick = true,
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(quick))
}

/// The number that an option is given.
pub fn number(parser: &mut lexopt::Parser, range: RangeInclusive<usize>) -> Result<usize, lexopt::Error> {
    let number = parser.value()?.parse()?;
    if range.contains(&number) {
        return Ok(number);
    }
    Err(format!("a number from {} to {} is needed, not {number}", range.start(), range.end()).into())
}

/// One of a few values that an option is given by name.
pub fn choice<T: Copy>(parser: &mut lexopt::Parser, choices: &[(&str, T)]) -> Result<T, lexopt::Error> {
    let name = parser.value()?.string()?;
    let found = choices.iter().find(|choice| choice.0 == name);
    found.map(|choice| choice.1).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|choice| choice.0).collect();
        format!("one of {} is needed, not {name:?}", names.join(", ")).into()
    })
}
