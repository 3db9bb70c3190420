//! Draws the figures of docs/figures from what `cargo bench --bench growth` printed.
//!
//! `cargo bench --bench growth >growth.jsonl && cargo run --release --example plot -- growth.jsonl docs/figures`

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use plotters::prelude::*;
use serde::Deserialize;

/// A line of the benchmark's.
#[derive(Deserialize)]
struct Point {
    figure: String,
    subject: String,
    x: f64,
    y: f64,
}

/// A figure: its points, by subject.
type Curves = BTreeMap<String, Vec<(f64, f64)>>;

/// A figure's name, title and axes.
const FIGURES: [[&str; 4]; 3] = [
    ["upsert_by_peers", "One update of a tag, 1 thread", "peers", "ns, median"],
    ["upsert_by_threads", "One update of a tag, 100,000 peers", "threads", "ns by updates of all threads"],
    ["plan_by_peers", "Snapshot or copy, and choice of half the peers", "peers", "ms, median"],
];

/// Where the key begins, in pixels.
const KEY_AT: i32 = 620;

/// Subjects with their names in the key and colours that are told apart in grey, too.
const SUBJECTS: [(&str, &str, RGBColor); 5] = [
    ("sharded_mutex", "256 mutexes", RGBColor(213, 60, 0)),
    ("dashmap", "DashMap", RGBColor(230, 159, 0)),
    ("connmgr", "connmgr, by id", RGBColor(0, 60, 150)),
    ("connmgr_handle", "connmgr, kept handle", RGBColor(80, 170, 230)),
    ("floor", "padded atomics, no table", RGBColor(130, 130, 130)),
];

fn read(text: &str) -> Result<BTreeMap<String, Curves>, serde_json::Error> {
    let mut figures: BTreeMap<String, Curves> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let Point { figure, subject, x, y } = serde_json::from_str(line)?;
        figures.entry(figure).or_default().entry(subject).or_default().push((x, y));
    }
    Ok(figures)
}

/// The least and the greatest of `values`.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), value| (least.min(value), most.max(value)))
}

/// 1, 2 and 5 times the powers of ten from `least` to `most`.
fn marks((least, most): (f64, f64)) -> Vec<f64> {
    let decades = (least.log10().floor() as i32)..=(most.log10().ceil() as i32);
    let all = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|mark| mark * 10_f64.powi(decade)));
    all.filter(|mark| (least..=most).contains(mark)).collect()
}

/// A number as people write it on an axis.
fn label(value: &f64) -> String {
    match *value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value => format!("{}", (value * 1e6).round() / 1e6),
    }
}

fn draw(path: &Path, [_, title, x_name, y_name]: [&str; 4], curves: &Curves) -> Result<(), Box<dyn Error>> {
    let xs: Vec<f64> =
        curves.values().next().ok_or("a figure without curves")?.iter().map(|at| at.0).collect();
    let (x_least, x_most) = span(xs.iter().copied());
    let (y_least, y_most) = span(curves.values().flatten().map(|at| at.1));
    let (y_least, y_most) = (y_least / 1.3, y_most * 1.3);

    let root = SVGBackend::new(path, (820, 440)).into_drawing_area();
    root.fill(&WHITE)?;
    // The key stands beside the curves, where it hides none.
    let (left, key) = root.split_horizontally(KEY_AT);
    let mut chart = ChartBuilder::on(&left)
        .caption(title, ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(62)
        .build_cartesian_2d(
            (x_least / 1.1..x_most * 1.1).log_scale().with_key_points(xs),
            (y_least..y_most).log_scale().with_key_points(marks((y_least, y_most))),
        )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc(x_name)
        .y_desc(y_name)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .label_style(("sans-serif", 14))
        .draw()?;
    let shown = SUBJECTS
        .into_iter()
        .filter_map(|(subject, name, colour)| curves.get(subject).map(|points| (points, name, colour)));
    for ((points, name, colour), line) in shown.zip(1..) {
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3))?;
        let y = 36 + line * 22;
        key.draw(&PathElement::new([(4, y), (24, y)], colour.stroke_width(3)))?;
        key.draw(&Text::new(name, (32, y - 7), ("sans-serif", 14)))?;
    }
    root.present()?;
    Ok(())
}

fn run() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [source, folder] = &args[..] else {
        return Err("usage: plot RESULTS FOLDER".into());
    };
    let figures = read(&fs::read_to_string(source)?)?;
    for figure in FIGURES {
        let name = figure[0];
        let curves = figures.get(name).ok_or_else(|| format!("{source} has no points of {name}"))?;
        let path = Path::new(folder).join(name).with_extension("svg");
        draw(&path, figure, curves)?;
        println!("{}", path.display());
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("plot: {why}");
            ExitCode::FAILURE
        }
    }
}
