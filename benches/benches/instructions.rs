//! Instructions of the hot path and of the layer, counted by callgrind.

use std::process::ExitCode;

use token_rotator_benches::callgrind::{self, Errand, Uncounted};
use token_rotator_benches::cases::{self, Case};
use token_rotator_benches::program::{self, Bar};
use token_rotator_benches::requests::Shape;
use token_rotator_benches::table::Table;

/// The highest ratio of `token()` to the baseline.
const HOT_PATH_RATIO: f64 = 1.5;

/// The groups of cases.
const NOTHING: &str = "nothing";
const HOT_PATH: &str = "hot-path";

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
        None => vec![cases::nothing()],
    }
}

fn measure() -> Result<Vec<Bar>, Uncounted> {
    let empty = callgrind::per_call(NOTHING, NOTHING)?;
    let count = |group: &str, case: &Case| {
        let all = callgrind::per_call(group, case.name)?;
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

    for shape in Shape::ALL {
        println!(
            "### Instructions of one request through a service: {}\n",
            shape.name()
        );
        let mut table = Table::new(["service", "instructions", "over bare"]);
        let mut bare = None;
        for case in cases::services(shape) {
            let (name, count) = count(shape.name(), &case)?;
            let bare = *bare.get_or_insert(count);
            table.row([
                name.to_owned(),
                format!("{count:.0}"),
                format!("{:+.0}", count - bare),
            ]);
        }
        println!("{table}");
    }
    Ok(hot_path[1..=2]
        .iter()
        .map(|(name, count)| Bar {
            claim: format!(
                "{name}: {:.2} of the baseline's instructions, at most {HOT_PATH_RATIO}",
                count / least
            ),
            met: count / least <= HOT_PATH_RATIO,
        })
        .collect())
}
