//! Each feature of each published crate compiles alone. The build of the workspace unifies features and hides such
//! errors. The unit tests of the engine run with each choice of its features.

use crate::{
    process::Log,
    report::Outcome,
    screen::Screen,
    workspace::{Package, Workplace},
};

/// The crate whose unit tests run with each choice of its features. The step "tests" runs them with
/// all features.
const ENGINE: &str = "token-rotator";

/// Checks and tests the engine without features and with each feature alone. A warning is a failure.
pub(crate) fn run_engine(workplace: &Workplace) -> Outcome {
    let engine = workplace
        .members()
        .filter(|package| package.name == ENGINE)
        .flat_map(commands_of_engine);
    run(workplace, engine)
}

/// Runs `cargo check` on every published member without features, with the default features, and with each feature
/// alone, except for what [`run_engine`] checks. A warning is a failure.
pub(crate) fn run_others(workplace: &Workplace) -> Outcome {
    let published = workplace.members().filter(|package| package.published);
    run(workplace, published.flat_map(commands_of_others))
}

/// A cargo command on a package with a choice of its features.
type Check<'a> = (&'a Package, &'static [&'static str], Vec<String>);

fn run<'a>(workplace: &Workplace, all: impl Iterator<Item = Check<'a>>) -> Outcome {
    let mut log = match Log::create(workplace, "features") {
        Ok(log) => log,
        Err(error) => return Outcome::failed(error.to_string()),
    };
    let mut checks = 0;
    let mut failed = Vec::new();
    for (package, words, choice) in all {
        checks += 1;
        let mut command = workplace.cargo(words.iter().copied());
        command.args(["--quiet", "--package", &package.name]);
        command.args(&choice);
        let written = log.text().map_or(0, |text| text.len());
        let passed = log
            .run(command, Screen::All)
            .and_then(|success| Ok(success && !warns(log.text()?.get(written..).unwrap_or(""))));
        match passed {
            Ok(true) => {}
            Ok(false) => failed.push(
                format!("{} {} {}", words[0], package.name, choice.join(" "))
                    .trim_end()
                    .to_owned(),
            ),
            Err(error) => return Outcome::failed(error.to_string()),
        }
    }
    if checks == 0 {
        Outcome::failed("there is nothing to check")
    } else if failed.is_empty() {
        Outcome::passed(format!("{checks} checks"))
    } else {
        Outcome::failed(format!(
            "{} of {checks} checks: {}",
            failed.len(),
            failed.join(", ")
        ))
    }
}

const CHECK: &[&str] = &["check"];
const TEST: &[&str] = &["test", "--lib", "--test", "memory"];

/// A check of the engine with each choice of features but the default one, then its tests.
fn commands_of_engine(engine: &Package) -> impl Iterator<Item = Check<'_>> {
    [CHECK, TEST].into_iter().flat_map(move |words| {
        let choices = choices(engine).into_iter().skip(1);
        choices.map(move |choice| (engine, words, choice))
    })
}

/// A check of a package with each choice of features. For the engine, only with the default one.
fn commands_of_others(package: &Package) -> impl Iterator<Item = Check<'_>> {
    let count = if package.name == ENGINE {
        1
    } else {
        usize::MAX
    };
    let choices = choices(package).into_iter().take(count);
    choices.map(move |choice| (package, CHECK, choice))
}

/// Returns the arguments for each choice of features, without duplicates. The first choice is the default one.
fn choices(package: &Package) -> Vec<Vec<String>> {
    let mut choices = vec![vec![]];
    if package.features.iter().any(|feature| feature == "default") {
        choices.push(vec!["--no-default-features".to_owned()]);
    }
    let alone = package
        .features
        .iter()
        .filter(|feature| *feature != "default");
    choices.extend(alone.map(|feature| {
        vec![
            "--no-default-features".to_owned(),
            "--features".to_owned(),
            feature.clone(),
        ]
    }));
    choices
}

/// Returns true if the compiler warned. cargo's warnings about future incompatibilities of dependencies do not count.
fn warns(output: &str) -> bool {
    output
        .lines()
        .any(|line| line.starts_with("warning") && !line.contains("rejected by a future version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(features: &[&str]) -> Package {
        let features = features.iter().map(|&feature| feature.to_owned()).collect();
        Package {
            name: "some".into(),
            version: "1.0.0".into(),
            features,
            member: true,
            ..Package::default()
        }
    }

    #[test]
    fn each_feature_is_checked_alone() {
        assert_eq!(choices(&package(&[])), [Vec::<String>::new()]);
        let lines: Vec<String> = choices(&package(&["default", "json", "tls"]))
            .iter()
            .map(|choice| choice.join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "",
                "--no-default-features",
                "--no-default-features --features json",
                "--no-default-features --features tls"
            ]
        );
        assert_eq!(choices(&package(&["json"])).len(), 2);
    }

    #[test]
    fn both_steps_together_check_every_choice() {
        let words = |commands: Vec<Check<'_>>| -> Vec<String> {
            let line = |(_, words, choice): Check<'_>| format!("{} {}", words[0], choice.join(" "));
            commands.into_iter().map(line).collect()
        };
        let mut package = package(&["default", "tower"]);
        package.name = ENGINE.into();
        assert_eq!(
            words(commands_of_engine(&package).collect()),
            [
                "check --no-default-features",
                "check --no-default-features --features tower",
                "test --no-default-features",
                "test --no-default-features --features tower",
            ]
        );
        assert_eq!(words(commands_of_others(&package).collect()), ["check "]);
        package.name = "other".into();
        assert_eq!(
            words(commands_of_others(&package).collect()),
            [
                "check ",
                "check --no-default-features",
                "check --no-default-features --features tower",
            ]
        );
    }

    #[test]
    fn warnings_are_noticed() {
        assert!(warns("warning: unused import: `x`\n --> src/lib.rs"));
        assert!(!warns("$ cargo check --quiet\n"));
        assert!(!warns(
            "warning: the following packages contain code that will be rejected by a future version of Rust: x"
        ));
    }
}
