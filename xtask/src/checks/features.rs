//! Each feature of each published crate compiles alone: the joint build of the workspace would hide
//! what is missing. The engine is tested with each choice of its features too.

use crate::{
    process::Log,
    report::Outcome,
    screen::Screen,
    workspace::{Package, Workplace},
};

/// The crate whose unit tests run with each choice of its features. The step "tests" runs them with
/// all features.
const ENGINE: &str = "token-rotator";

/// Runs `cargo check` on every published member with its default features, without any, and with each
/// one alone. A warning fails too.
pub(crate) fn run(workplace: &Workplace) -> Outcome {
    let mut log = match Log::create(workplace, "features") {
        Ok(log) => log,
        Err(error) => return Outcome::failed(error.to_string()),
    };
    let mut checks = 0;
    let mut failed = Vec::new();
    let published = workplace.members().filter(|package| package.published);
    for (package, words, choice) in published.flat_map(commands) {
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
    if failed.is_empty() {
        Outcome::passed(format!("{checks} checks"))
    } else {
        Outcome::failed(format!(
            "{} of {checks} checks: {}",
            failed.len(),
            failed.join(", ")
        ))
    }
}

/// The commands for a package: a check with each choice of features, and for the engine its tests
/// with each choice but the default one.
fn commands(
    package: &Package,
) -> impl Iterator<Item = (&Package, &'static [&'static str], Vec<String>)> {
    let checks = choices(package).into_iter();
    let tests = choices(package).into_iter().skip(1);
    let tests = tests.filter(|_| package.name == ENGINE);
    checks
        .map(move |choice| (package, &["check"][..], choice))
        .chain(
            tests.map(move |choice| (package, &["test", "--lib", "--test", "memory"][..], choice)),
        )
}

/// The arguments of each check of a package, no two of the same meaning.
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

/// True if the compiler warned. What cargo says about dependencies of the future is not ours.
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
    fn the_engine_is_tested_too() {
        let words = |name: &str| -> Vec<&str> {
            let mut package = package(&["default", "tower"]);
            package.name = name.into();
            let commands = commands(&package).map(|(_, words, _)| words[0]);
            commands.collect()
        };
        assert_eq!(words(ENGINE), ["check", "check", "check", "test", "test"]);
        assert_eq!(words("other"), ["check", "check", "check"]);
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
