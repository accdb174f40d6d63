//! The files in `scenarios/`, played by the core and compared byte for byte.
//!
//! `BLESS=1 cargo test -p token-rotator-core --test scenarios` writes the answers of today into the
//! files, and makes the generated ones anew. What it changed is then to be read, line by line.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::generate::Seed;
use common::scenario::Scenario;

mod common;

/// Bundles of generated scenarios, and scenarios and events in each.
const BUNDLES: u64 = 20;
const BUNDLE: u64 = 20;
const EVENTS: usize = 24;
/// From this bundle on, requests name endpoints.
const NAMED: u64 = 15;

// Property: every hand-named scenario is answered as its file says.
#[test]
fn named_scenarios_hold() {
    let mut names = BTreeSet::new();
    for path in files("") {
        let text = fs::read_to_string(&path).expect("a scenario");
        let scenario: Scenario = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        assert_eq!(
            stem,
            Some(&*scenario.name),
            "a file is named after its scenario"
        );
        assert!(!scenario.why.is_empty(), "{}: why?", scenario.name);
        let played = scenario.played();
        compare(&path, &expected(&path, &played), &played);
        names.insert(scenario.name);
    }
    assert!(names.len() >= 60, "only {} scenarios", names.len());
}

// Property: the generated scenarios are those of the fixed seed, and are answered as they say.
#[test]
fn generated_scenarios_hold() {
    let mut made = BTreeSet::new();
    for bundle in 0..BUNDLES {
        let scenarios: Vec<Scenario> = (0..BUNDLE)
            .map(|n| generated(bundle * BUNDLE + n))
            .collect();
        let path = home().join(format!("generated/{bundle:02}.json"));
        let played = in_a_bundle(&scenarios);
        let text = expected(&path, &played);
        compare(&path, &text, &played);
        // As the port in JavaScript does: from the file alone.
        let read: Vec<Scenario> = serde_json::from_str(&text).expect("a bundle");
        compare(&path, &text, &in_a_bundle(&read));
        made.insert(path);
    }
    let there: BTreeSet<PathBuf> = files("generated").into_iter().collect();
    assert_eq!(there, made, "files of an older generator");
}

fn generated(number: u64) -> Scenario {
    let mut words = Seed(number);
    let rules = words.next().expect("a word");
    Scenario::generated(
        format!("generated-{number:03}"),
        rules,
        words.take(EVENTS),
        number / BUNDLE >= NAMED,
    )
}

fn in_a_bundle(scenarios: &[Scenario]) -> String {
    let texts: Vec<String> = scenarios.iter().map(Scenario::played).collect();
    let texts: Vec<&str> = texts.iter().map(|text| text.trim_end()).collect();
    format!("[\n{}\n]\n", texts.join(",\n"))
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(home().join(folder)).expect("the scenarios");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    files
}

fn blessing() -> bool {
    std::env::var_os("BLESS").is_some_and(|bless| bless == "1")
}

/// Both texts are the same, to the byte.
fn compare(path: &Path, expected: &str, played: &str) {
    for (number, (expected, played)) in expected.lines().zip(played.lines()).enumerate() {
        assert_eq!(played, expected, "{}, line {}", path.display(), number + 1);
    }
    assert!(
        expected == played,
        "{}: not of the same length",
        path.display()
    );
}

/// The text of the file, which is written anew first where the test blesses it.
fn expected(path: &Path, played: &str) -> String {
    if blessing() {
        fs::write(path, played).expect("a place to write");
    }
    fs::read_to_string(path).unwrap_or_default()
}
