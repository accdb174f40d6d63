//! `cargo xtask count`: lines of Rust code, without comments, blank lines and tests.
//!
//! Run the same program on two states of the project to compare them. The paths may be in any checkout.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Prints a line for each path, with the files of a folder added up, and the sum. Errors: a path that cannot be read.
pub(crate) fn run(paths: &[String]) -> Result<ExitCode, String> {
    if paths.is_empty() {
        return Err(
            "count needs files or folders, as in `cargo xtask count crates/core/src`".to_owned(),
        );
    }
    let mut total = Count::default();
    for path in paths {
        let count = count_path(Path::new(path)).map_err(|error| format!("{path}: {error}"))?;
        println!("{:>6} lines {:>4} files  {path}", count.lines, count.files);
        total.lines += count.lines;
        total.files += count.files;
    }
    println!("{:>6} lines {:>4} files  in all", total.lines, total.files);
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    lines: usize,
    files: usize,
}

fn count_path(path: &Path) -> io::Result<Count> {
    if path.is_dir() {
        let mut entries = std::fs::read_dir(path)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<PathBuf>>>()?;
        entries.sort();
        let mut total = Count::default();
        for entry in entries
            .iter()
            .filter(|entry| entry.is_dir() || is_rust(entry))
        {
            let count = count_path(entry)?;
            total.lines += count.lines;
            total.files += count.files;
        }
        return Ok(total);
    }
    if is_test(path) {
        return Ok(Count::default());
    }
    Ok(Count {
        lines: code_lines(&std::fs::read_to_string(path)?),
        files: 1,
    })
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

/// A `tests` file or folder, and the models of the model checkers.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| {
        let name = part.as_os_str();
        name == "tests" || name == "tests.rs" || name == "models"
    })
}

/// The lines that hold code. `#[cfg(test)]` ends with the item that follows it.
fn code_lines(text: &str) -> usize {
    let mut count = 0;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
            skip_item(&mut lines);
        } else if !line.is_empty() && !line.starts_with("//") {
            count += 1;
        }
    }
    count
}

/// Skips one item: to its `;`, or to the closing brace at the indentation at which it began.
fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>) {
    let Some(first) = lines.find(|line| !line.trim_start().starts_with("#[")) else {
        return;
    };
    if first.trim_end().ends_with(['}', ';']) {
        return;
    }
    let indentation = first.len() - first.trim_start().len();
    // `find` takes the closing line from the iterator.
    lines.find(|line| {
        let rest = line.get(indentation..).unwrap_or("");
        line.len() - line.trim_start().len() == indentation && rest.starts_with('}')
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blanks_and_tests_do_not_count() {
        let text = "//! Module.\n\nuse std::io; // for errors\n\n/// Item.\nfn one() {\n    // Reason.\n    two();\n}\n\n\
                    #[cfg(test)]\nmod tests {\n    fn three() {\n    }\n}\nfn four() {}\n\
                    #[cfg(test)]\nmod more;\nfn five() {}\n";
        assert_eq!(code_lines(text), 6);
    }

    #[test]
    fn a_test_method_inside_a_type_does_not_count() {
        let text = "impl X {\n    #[cfg(all(test, model_loom))]\n    fn places(&self) {\n        y();\n    }\n\n    fn z() {}\n}\n";
        assert_eq!(code_lines(text), 3);
    }

    #[test]
    fn folders_are_added_up_without_their_tests() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let all = count_path(&source).expect("this crate's own folder");
        let checks = count_path(&source.join("checks")).expect("a folder in it");
        assert!(
            checks.files > 1 && all.files > checks.files,
            "{all:?} {checks:?}"
        );
        assert_eq!(
            count_path(Path::new("some/tests/file.rs")).expect("not read"),
            Count::default()
        );
    }
}
