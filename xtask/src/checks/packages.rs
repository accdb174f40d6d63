//! Each published crate packs. A packed crate has its README and its licence, and reads no file outside its folder.

use std::path::Path;

use crate::{
    process::Log,
    report::Outcome,
    screen::Screen,
    workspace::{Package, Workplace},
};

/// The files that every packed crate has.
const REQUIRED: [&str; 3] = ["Cargo.toml", "LICENSE", "README.md"];

/// The text before the path of another file in the sources of a crate.
const BEFORE_A_PATH: [&str; 3] = ["include_str!(\"", "include_bytes!(\"", "#[path = \""];

/// Packs all published crates at once, because cargo resolves them among each other. Then reads the packed sources.
///
/// Does not compile the packed sources, because that takes minutes. `cargo xtask soak --only package` does.
pub(crate) fn run(workplace: &Workplace) -> Outcome {
    pack(workplace, &["--no-verify"]).unwrap_or_else(Outcome::failed)
}

/// Packs all published crates and compiles what was packed.
pub(crate) fn run_verified(workplace: &Workplace) -> Outcome {
    pack(workplace, &[]).unwrap_or_else(Outcome::failed)
}

fn pack(workplace: &Workplace, options: &[&str]) -> Result<Outcome, String> {
    let mut log = Log::create(workplace, "package").map_err(|error| error.to_string())?;
    let mut command = workplace.cargo(["package", "--workspace", "--allow-dirty"]);
    command.args(options);
    for package in workplace.members().filter(|package| !package.published) {
        command.args(["--exclude", &package.name]);
    }
    if !log
        .run(command, Screen::All)
        .map_err(|error| error.to_string())?
    {
        return Ok(Outcome::failed("its output stands above"));
    }
    let mut problems = Vec::new();
    let mut packed = 0;
    for package in workplace.members().filter(|package| package.published) {
        packed += 1;
        problems.extend(incomplete(workplace, package)?);
    }
    for problem in &problems {
        log.say(problem).map_err(|error| error.to_string())?;
    }
    Ok(if packed == 0 {
        Outcome::failed("no crate is published")
    } else if problems.is_empty() {
        Outcome::passed(format!("{packed} crates"))
    } else {
        Outcome::failed(format!("{} problems in {packed} crates", problems.len()))
    })
}

/// Returns the missing files of a packed crate, and its sources that read a file outside the crate.
fn incomplete(workplace: &Workplace, package: &Package) -> Result<Vec<String>, String> {
    let output = workplace
        .cargo(["package", "--list", "--allow-dirty", "--package"])
        .arg(&package.name)
        .output()
        .map_err(|error| format!("cargo package --list does not start: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "cargo package --list -p {} failed: {errors}",
            package.name
        ));
    }
    let list = String::from_utf8_lossy(&output.stdout);
    let files: Vec<&str> = list.lines().collect();
    let name = &package.name;
    let mut problems: Vec<String> = REQUIRED
        .iter()
        .filter(|required| !files.contains(required))
        .map(|required| format!("{name}: packs no {required}"))
        .collect();
    for file in files {
        if Path::new(file)
            .extension()
            .is_none_or(|extension| extension != "rs")
        {
            continue;
        }
        let text = std::fs::read_to_string(package.folder.join(file))
            .map_err(|error| format!("{name}: {file}: {error}"))?;
        problems.extend(
            reads_outside(file, &text)
                .map(|(line, path)| format!("{name}: {file}:{line}: reads {path}")),
        );
    }
    Ok(problems)
}

/// Returns the lines, counted from one, that name a file outside the crate, and that file.
fn reads_outside<'a>(file: &str, text: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let depth = Path::new(file).components().count() - 1;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let found = BEFORE_A_PATH
            .iter()
            .find_map(|before| quoted_after(line, before))
            .filter(|path| path.matches("../").count() > depth);
        // The argument of `join` is relative to the folder of the crate.
        let joined = quoted_after(line, ".join(\"").filter(|path| path.starts_with("../"));
        Some((number, found.or(joined)?))
    })
}

fn quoted_after<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(before)?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> Vec<(usize, String)> {
        reads_outside(file, text)
            .map(|(line, path)| (line, path.to_owned()))
            .collect()
    }

    #[test]
    fn a_path_that_leaves_the_crate_is_found() {
        let readme = "//!\n#[doc = include_str!(\"../README.md\")]";
        assert_eq!(found("src/lib.rs", readme), []);
        assert_eq!(
            found("src/lib.rs", &readme.replace("../", "../../../")),
            [(2, "../../../README.md".to_owned())]
        );
        assert_eq!(
            found("tests/a/main.rs", "#[path = \"../common/mod.rs\"]"),
            []
        );
        assert_eq!(
            found("tests/a.rs", "#[path = \"../../b/mod.rs\"]"),
            [(1, "../../b/mod.rs".to_owned())]
        );
        assert_eq!(
            found("src/deep/down/x.rs", "manifest.join(\"../../corpus\")"),
            [(1, "../../corpus".to_owned())]
        );
        assert_eq!(found("src/x.rs", "folder.join(\"corpus/record\")"), []);
    }
}
