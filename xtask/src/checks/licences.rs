//! The licence of every dependency allows shipping a program under MIT.

use super::spdx;
use crate::{
    process::Log,
    report::Outcome,
    workspace::{Package, Workplace},
};

/// Licences that require attribution only. Read a licence before you add it here and in `deny.toml`.
const ALLOWED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Checks all packages of the dependency graph, for every feature and platform.
pub(crate) fn run(workplace: &Workplace) -> Outcome {
    let problems: Vec<String> = workplace.packages.iter().filter_map(problem).collect();
    let written = Log::create(workplace, "licences")
        .and_then(|mut log| problems.iter().try_for_each(|problem| log.say(problem)));
    match written {
        Err(error) => Outcome::failed(error.to_string()),
        Ok(()) if problems.is_empty() => {
            Outcome::passed(format!("{} packages", workplace.packages.len()))
        }
        Ok(()) => Outcome::failed(format!(
            "{} of {} packages",
            problems.len(),
            workplace.packages.len()
        )),
    }
}

fn problem(package: &Package) -> Option<String> {
    let Package { name, version, .. } = package;
    let Some(expression) = &package.license else {
        return Some(format!("{name} {version}: states no licence"));
    };
    match spdx::satisfiable(expression, &|licence| ALLOWED.contains(&licence)) {
        Ok(true) => None,
        Ok(false) => Some(format!(
            "{name} {version}: {expression} is not among the licences we may ship"
        )),
        Err(problem) => Some(format!("{name} {version}: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(license: Option<&str>) -> Package {
        Package {
            name: "some".into(),
            version: "1.2.3".into(),
            license: license.map(str::to_owned),
            ..Package::default()
        }
    }

    #[test]
    fn deny_toml_has_the_same_list() {
        let text = include_str!("../../../deny.toml");
        let (_, list) = text.split_once("allow = [").expect("the list");
        let list = list.split(']').next().expect("its end");
        let listed: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
        assert_eq!(listed, ALLOWED);
    }

    #[test]
    fn a_package_is_named_with_its_problem() {
        assert_eq!(problem(&package(Some("MIT OR Apache-2.0"))), None);
        assert_eq!(
            problem(&package(Some("(MIT OR Apache-2.0) AND Unicode-3.0"))),
            None
        );
        for (license, word) in [
            (None, "no licence"),
            (Some("AGPL-3.0-only"), "AGPL-3.0-only"),
            (Some("MIT AND"), "missing"),
        ] {
            let text = problem(&package(license)).expect("a problem");
            assert!(
                text.starts_with("some 1.2.3: ") && text.contains(word),
                "{text}"
            );
        }
    }
}
