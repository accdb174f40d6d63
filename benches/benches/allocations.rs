//! Allocations of the hot path and of the layer.

use std::process::ExitCode;

use token_rotator_benches::allocations;
use token_rotator_benches::cases;
use token_rotator_benches::program::{self, Bar};
use token_rotator_benches::requests::Shape;
use token_rotator_benches::table::Table;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() -> ExitCode {
    if !program::is_asked_to_measure() {
        return ExitCode::SUCCESS;
    }
    let mut bars = Vec::new();

    println!("### Allocations of one call, the token good\n");
    let mut table = Table::new(["way", "allocations"]);
    for (index, case) in cases::hot_path().iter().enumerate() {
        let count = allocations::per_call(case);
        table.row([case.name.to_owned(), format!("{count:.1}")]);
        if allocations::ROTATOR_CASES.contains(&index) {
            bars.push(Bar {
                claim: format!("{}: {count} allocations, at most 0", case.name),
                met: count <= 0.0,
            });
        }
    }
    println!("{table}");

    for shape in Shape::ALL {
        println!(
            "### Allocations of one request through a service: {}\n",
            shape.name()
        );
        let counts: Vec<(&str, f64)> = cases::services(shape)
            .iter()
            .map(|case| (case.name, allocations::per_call(case)))
            .collect();
        let least = counts[0].1;
        let mut table = Table::new(["service", "allocations", "over bare"]);
        for (name, count) in &counts {
            table.row([
                (*name).to_owned(),
                format!("{count:.1}"),
                format!("{:+.1}", count - least),
            ]);
        }
        println!("{table}");
        let extra = counts[1].1 - least;
        bars.push(Bar {
            claim: format!(
                "{}, {}: {extra} allocations over the bare service, at most {}",
                counts[1].0,
                shape.name(),
                allocations::LAYER_EXTRA
            ),
            met: extra <= allocations::LAYER_EXTRA,
        });
    }
    program::conclude(&bars)
}
