//! Instructions of the hot path and of the layer, counted by callgrind.

use std::process::ExitCode;

use token_rotator_benches::callgrind::{self, Errand, Uncounted};
use token_rotator_benches::cases::{self, Case};
use token_rotator_benches::program::{self, Bar};
use token_rotator_benches::requests::Shape;
use token_rotator_benches::storm::COUNTED;
use token_rotator_benches::table::Table;

/// The highest ratio of `token()` to the baseline.
const HOT_PATH_RATIO: f64 = 1.5;

/// The most instructions that the layer may add to a request: without headers; with six headers and a body.
const LAYER: [f64; 2] = [1_200.0, 2_000.0];

/// The highest ratio of a waiter of the storm to a waiter on tokio's `Mutex`.
const STORM_RATIO: f64 = 1.0;

/// The groups of cases.
const NOTHING: &str = "nothing";
const HOT_PATH: &str = "hot-path";
const STORM: &str = "storm";

fn main() -> ExitCode {
    if let Some(errand) = Errand::of_this_process() {
        errand.run(&cases_of(&errand.group));
        return ExitCode::SUCCESS;
    }
    if !program::is_asked_to_measure() {
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(bars) => program::conclude(&bars),
        Err(why @ Uncounted::NoValgrind(_)) if !program::requires_every_bar() => {
            println!("Instructions: not counted. {why}\n");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn cases_of(group: &str) -> Vec<Case> {
    match Shape::ALL.into_iter().find(|shape| shape.name() == group) {
        Some(shape) => cases::services(shape),
        None if group == HOT_PATH => cases::hot_path(),
        None if group == STORM => cases::storms(),
        None => vec![cases::nothing()],
    }
}

fn measure() -> Result<Vec<Bar>, Uncounted> {
    let empty = callgrind::per_call(NOTHING, NOTHING, None)?;
    let count = |group: &str, case: &Case| {
        let all = callgrind::per_call(group, case.name, None)?;
        Ok((case.name, all - empty))
    };
    let hot_path: Vec<(&str, f64)> = cases::hot_path()
        .iter()
        .map(|case| count(HOT_PATH, case))
        .collect::<Result<_, _>>()?;
    println!("### Instructions of one call, the token good\n");
    let least = hot_path[0].1;
    let mut table = Table::new(["way", "instructions", "ratio"]);
    for (name, count) in &hot_path {
        table.row([
            (*name).to_owned(),
            format!("{count:.0}"),
            format!("{:.2}", count / least),
        ]);
    }
    println!("{table}");

    let mut bars: Vec<Bar> = hot_path[1..=2]
        .iter()
        .map(|(name, count)| Bar {
            claim: format!(
                "{name}: {:.2} of the baseline's instructions, at most {HOT_PATH_RATIO}",
                count / least
            ),
            met: count / least <= HOT_PATH_RATIO,
        })
        .collect();

    for (shape, most) in Shape::ALL.into_iter().zip(LAYER) {
        println!(
            "### Instructions of one request through a service: {}\n",
            shape.name()
        );
        let mut table = Table::new(["service", "instructions", "over bare"]);
        let mut counts = Vec::new();
        for case in cases::services(shape) {
            counts.push(count(shape.name(), &case)?);
        }
        let bare_count = counts[0].1;
        for (name, count) in &counts {
            table.row([
                (*name).to_owned(),
                format!("{count:.0}"),
                format!("{:+.0}", count - bare_count),
            ]);
        }
        println!("{table}");
        let (name, layer) = counts[1];
        bars.push(Bar {
            claim: format!(
                "{name}, {}: {:+.0} instructions over the bare service, at most {most:+.0}",
                shape.name(),
                layer - bare_count
            ),
            met: layer - bare_count <= most,
        });
    }

    println!("### Instructions of a waiter in the storm, from the end of the refresh\n");
    let mut storms = Vec::new();
    for case in cases::storms() {
        let count = callgrind::per_call(STORM, case.name, Some(COUNTED))?;
        storms.push((case.name, count));
    }
    let mutex = storms[1].1;
    let mut table = Table::new(["way", "instructions", "ratio to tokio Mutex"]);
    for (name, count) in &storms {
        table.row([
            (*name).to_owned(),
            format!("{count:.0}"),
            format!("{:.2}", count / mutex),
        ]);
    }
    println!("{table}");
    let (name, ours) = storms[0];
    bars.push(Bar {
        claim: format!(
            "{name}, storm: {:.2} of tokio Mutex's instructions a waiter, at most {STORM_RATIO}",
            ours / mutex
        ),
        met: ours / mutex <= STORM_RATIO,
    });
    Ok(bars)
}
