//! The storm: 10,000 waiters on one flight.

use std::process::ExitCode;

use token_rotator_benches::program::{self, Bar};
use token_rotator_benches::storm::{Cost, storm};
use token_rotator_benches::table::Table;
use token_rotator_benches::threads::median;
use token_rotator_benches::ways::{
    MokaCache, RotatorWay, StdRwLock, TokioMutex, TokioOnceCell, TokioRwLock, Way,
};
use tokio::runtime::Runtime;

const WAITERS: usize = 10_000;
const ROUNDS: usize = 15;

/// The processor time that a waiter of the rotator may cost, in microseconds.
const MICROSECONDS: f64 = 2.0;

/// One way, and the costs of its storms on two kinds of runtime.
struct Row {
    name: &'static str,
    storm: fn(&Runtime, usize) -> Cost,
    multi: Vec<Cost>,
    current: Vec<Cost>,
}

fn main() -> ExitCode {
    if !program::is_asked_to_measure() {
        return ExitCode::SUCCESS;
    }
    let mut rows = [
        row::<RotatorWay>(),
        row::<TokioMutex>(),
        row::<TokioRwLock>(),
        row::<TokioOnceCell>(),
        row::<MokaCache>(),
        row::<StdRwLock>(),
    ];
    let multi = program::multi_thread(2);
    let current = program::current_thread();
    for _ in 0..ROUNDS {
        for row in &mut rows {
            row.multi.push((row.storm)(&multi, WAITERS));
            row.current.push((row.storm)(&current, WAITERS));
        }
    }
    println!(
        "### {WAITERS} waiters on one refresh: processor time a waiter, from its end to the last one served\n"
    );
    let mut table = Table::new([
        "way",
        "us, 2 workers",
        "us, current thread",
        "refreshes",
        "served",
    ]);
    for row in &rows {
        table.row([
            row.name.to_owned(),
            shown(microseconds(&row.multi)),
            shown(microseconds(&row.current)),
            worst(row).refreshes.to_string(),
            worst(row).served.to_string(),
        ]);
    }
    println!("{table}");
    let rotator = worst(&rows[0]);
    let mut bars = vec![Bar {
        claim: format!(
            "{}: {} of {WAITERS} served by {} refresh in the worst of {} storms, all by 1",
            rows[0].name,
            rotator.served,
            rotator.refreshes,
            2 * ROUNDS
        ),
        met: rotator.refreshes == 1 && rotator.served == WAITERS,
    }];
    // A time depends on the machine too, so without `--every-bar` the table shows it and no bar
    // judges it.
    if program::requires_every_bar() {
        bars.push(time_bar("2 workers", &rows[0].multi));
        bars.push(time_bar("current thread", &rows[0].current));
    }
    program::conclude(&bars)
}

/// A waiter costs at most its bar in processor time. Fails on a system that does not report
/// processor time.
fn time_bar(runtime: &str, costs: &[Cost]) -> Bar {
    let spent = microseconds(costs);
    Bar {
        claim: format!(
            "{}, {runtime}: {} microseconds of processor time a waiter, under {MICROSECONDS}",
            RotatorWay::NAME,
            shown(spent)
        ),
        met: spent.is_some_and(|spent| spent < MICROSECONDS),
    }
}

fn row<W: Way>() -> Row {
    Row {
        name: W::NAME,
        storm: storm::<W>,
        multi: Vec::new(),
        current: Vec::new(),
    }
}

/// The most refreshes and the fewest served waiters of all storms.
fn worst(row: &Row) -> Cost {
    let all = || row.multi.iter().chain(&row.current);
    Cost {
        microseconds: None,
        refreshes: all().map(|cost| cost.refreshes).max().unwrap_or(0),
        served: all().map(|cost| cost.served).min().unwrap_or(0),
    }
}

/// Returns the median, or `None` if the system does not report processor time.
fn microseconds(costs: &[Cost]) -> Option<f64> {
    let known: Option<Vec<f64>> = costs.iter().map(|cost| cost.microseconds).collect();
    known.map(|known| median(&known))
}

fn shown(microseconds: Option<f64>) -> String {
    microseconds.map_or("not known here".to_owned(), |known| format!("{known:.2}"))
}
