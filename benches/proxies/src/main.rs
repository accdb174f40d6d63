//! Compares plain proxying with a header by nginx and haproxy with `token-rotator proxy` and a live
//! session. Each proxy runs alone on the first core. Upstream and load run on the second core.
//!
//! Run it by `cargo xtask bench-proxy`, which installs what it needs.

mod load;
mod usage;
mod world;

use std::error::Error;
use std::time::Duration;

use token_rotator_benches::table::Table;

use crate::load::{Paced, Wrk};
use crate::usage::Usage;
use crate::world::{Contestant, World};

/// The number of rounds. Every proxy runs in each round.
const ROUNDS: usize = 5;
const CONNECTIONS: [u32; 2] = [64, 256];
const LENGTH: Duration = Duration::from_secs(5);
/// The rate in requests a second at which latency is measured. Every proxy can serve it.
const PACE: u32 = 4_000;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [command, url] = words.as_slice()
        && command == "pace"
    {
        return load::pace(url);
    }
    let rounds = match words.first() {
        None => ROUNDS,
        Some(word) => word
            .parse()
            .map_err(|_| format!("{word} is no number of rounds"))?,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let world = runtime.block_on(World::set())?;
    println!("## Saturated\n");
    let bars = saturated(&world, rounds)?;
    println!("\n## At {PACE} requests a second\n");
    paced(&world, rounds)?;
    println!("\n## In a storm of expiries\n");
    runtime.block_on(world::storm())?;
    println!();
    for bar in &bars {
        println!("- {bar}");
    }
    if bars.iter().any(|bar| bar.starts_with("missed")) {
        return Err("a bar is missed".into());
    }
    Ok(())
}

/// The figures of one proxy over all rounds.
#[derive(Default)]
struct Figures {
    rate: Vec<f64>,
    micros: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    megabytes: Vec<f64>,
}

fn saturated(world: &World, rounds: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let mut bars = Vec::new();
    let mut table = Table::new([
        "connections, proxy",
        "k requests/s",
        "processor us/request",
        "p50 ms",
        "p99 ms",
        "MB",
    ]);
    for connections in CONNECTIONS {
        let mut all: Vec<Figures> = world.contestants().map(|_| Figures::default()).collect();
        for _ in 0..rounds {
            for (contestant, figures) in world.contestants().zip(&mut all) {
                let before = Usage::of(contestant.pids())?;
                let wrk = Wrk::run(&contestant.url(), connections, LENGTH)?;
                let after = Usage::of(contestant.pids())?;
                figures.rate.push(wrk.rate / 1_000.0);
                let spent = after.processor.saturating_sub(before.processor);
                figures
                    .micros
                    .push(spent.as_secs_f64() * 1e6 / wrk.requests as f64);
                figures.p50.push(wrk.p50.as_secs_f64() * 1e3);
                figures.p99.push(wrk.p99.as_secs_f64() * 1e3);
                figures.megabytes.push(after.resident as f64 / 1e6);
            }
        }
        for (contestant, figures) in world.contestants().zip(&mut all) {
            table.row([
                format!("{connections}, {}", contestant.name()),
                format!("{:.1}", median(&mut figures.rate)),
                format!("{:.1}", median(&mut figures.micros)),
                format!("{:.2}", median(&mut figures.p50)),
                format!("{:.2}", median(&mut figures.p99)),
                format!("{:.1}", median(&mut figures.megabytes)),
            ]);
        }
        bars.extend(judged(world, connections, &mut all));
    }
    print!("{table}");
    Ok(bars)
}

/// Prints the bars: ours against nginx in the same run.
fn judged(world: &World, connections: u32, all: &mut [Figures]) -> Vec<String> {
    let place = |name: &str| world.contestants().position(|one| one.name() == name);
    let (Some(nginx), Some(ours)) = (place(Contestant::NGINX), place(Contestant::OURS)) else {
        return Vec::new();
    };
    let mut ratio = |of: fn(&mut Figures) -> &mut Vec<f64>| {
        median(of(&mut all[ours])) / median(of(&mut all[nginx]))
    };
    let processor = ratio(|figures| &mut figures.micros);
    let p99 = ratio(|figures| &mut figures.p99);
    let megabytes = median(&mut all[ours].megabytes);
    let most = if connections == 64 { 1.3 } else { 1.5 };
    let met = |met: bool| if met { "met" } else { "missed" };
    let mut bars = vec![
        format!(
            "{}: {connections} connections: {processor:.2} of nginx's processor time, at most {most}",
            met(processor <= most)
        ),
        format!(
            "{}: {connections} connections: {p99:.2} of nginx's p99, at most 2",
            met(p99 <= 2.0)
        ),
    ];
    if connections == 256 {
        bars.push(format!(
            "{}: {connections} connections: {megabytes:.1} MB, at most 24",
            met(megabytes <= 24.0)
        ));
    }
    bars
}

fn paced(world: &World, rounds: usize) -> Result<(), Box<dyn Error>> {
    let mut table = Table::new(["proxy", "p50 us", "p99 us"]);
    let mut all: Vec<(Vec<f64>, Vec<f64>)> =
        world.contestants().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        for (contestant, (p50, p99)) in world.contestants().zip(&mut all) {
            let paced = Paced::run(&contestant.url())?;
            p50.push(paced.p50.as_secs_f64() * 1e6);
            p99.push(paced.p99.as_secs_f64() * 1e6);
        }
    }
    for (contestant, (p50, p99)) in world.contestants().zip(&mut all) {
        table.row([
            contestant.name().to_owned(),
            format!("{:.0}", median(p50)),
            format!("{:.0}", median(p99)),
        ]);
    }
    print!("{table}");
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
