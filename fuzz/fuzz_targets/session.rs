//! The state machine: over any history, every answer follows from the past.
#![no_main]
// The tests of the core are compiled without their test functions here.
#![allow(dead_code, unreachable_pub, unused_imports)]

#[path = "../../crates/core/tests/common/mod.rs"]
mod common;
#[path = "../../crates/core/tests/histories/model.rs"]
mod model;
#[path = "../../crates/core/tests/histories/past.rs"]
mod past;

use libfuzzer_sys::fuzz_target;

use common::generate::World;
use common::scenario::Scenario;
use past::Past;

fuzz_target!(|history: (u64, bool, Vec<u64>)| {
    let (rules, named, words) = history;
    let words = &words[..words.len().min(200)];
    let mut world = World::new(rules, named);
    let mut past = Past {
        policy: world.run.times,
        facts: Vec::new(),
    };
    for word in words {
        let event = world.event(*word);
        let expected = past.expect(&event);
        let (answer, _) = world.play(&event);
        assert_eq!(answer, expected, "\n{}", Scenario::text(rules, words, named));
        past.record(&event, answer);
    }
});
