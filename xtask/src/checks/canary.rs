//! No output holds a token. The tokens of the tests begin with a canary, and this step searches for the canary in all
//! output.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::house_rules::project_files;
use crate::{report::Outcome, workspace::Workplace};

/// The beginning of every token and secret of the tests, in two pieces so that no output of this program holds it.
const CANARY: [&str; 2] = ["CANARY", "-"];
/// The logs that the search requires.
const NEEDED: [&str; 2] = ["tests.log", "doctests.log"];

/// Searches all files in `target/test-output`. Skipped if the tests did not run, or if no test makes a canary.
pub(crate) fn run(workplace: &Workplace) -> Outcome {
    let logs = workplace.logs();
    if let Some(missing) = NEEDED.iter().find(|name| !logs.join(name).is_file()) {
        return Outcome::skipped(format!(
            "no {missing} to search: run the steps tests and doctests first"
        ));
    }
    let canary = CANARY.concat();
    match mints(&workplace.root, &canary) {
        Ok(true) => {}
        Ok(false) => return Outcome::skipped("no test mints a token with the canary in it"),
        Err(why) => return Outcome::skipped(why),
    }
    let search = match Search::through(&logs, &canary) {
        Ok(search) => search,
        Err(error) => return Outcome::failed(error.to_string()),
    };
    // Prints the file and line only: the text of the line would leak the token again.
    search
        .found
        .iter()
        .take(20)
        .for_each(|place| println!("{place}"));
    let Search {
        files,
        bytes,
        logged,
        found,
    } = search;
    let seen = format!(
        "{files} files, {} kB, {logged} lines of debug logging",
        bytes / 1_000
    );
    if !found.is_empty() {
        Outcome::failed(format!("{} lines hold a token ({seen})", found.len()))
    } else if logged == 0 {
        Outcome::skipped(format!(
            "no test logged at debug or trace level, so that nothing could leak ({seen})"
        ))
    } else {
        Outcome::passed(seen)
    }
}

/// Returns true if a Rust file of the project holds the canary.
fn mints(root: &Path, canary: &str) -> Result<bool, String> {
    let files = project_files(root)?;
    let mut rust = files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    Ok(rust.any(|path| {
        std::fs::read_to_string(root.join(path)).is_ok_and(|text| text.contains(canary))
    }))
}

/// The result of a search.
#[derive(Debug, Default)]
struct Search {
    files: u64,
    bytes: u64,
    /// Lines of debug logging. Without debug logging the search proves nothing.
    logged: u64,
    /// The lines with a token, as `file:line (form)`.
    found: Vec<String>,
}

impl Search {
    /// Reads every file below the directory.
    fn through(directory: &Path, canary: &str) -> io::Result<Self> {
        let needles = needles(canary);
        let mut search = Self::default();
        for path in files_below(directory)? {
            search.files += 1;
            let mut reader = BufReader::new(File::open(&path)?);
            let (mut line, mut number) = (Vec::new(), 0_u64);
            while reader.read_until(b'\n', &mut line)? > 0 {
                number += 1;
                search.bytes += line.len() as u64;
                let text = String::from_utf8_lossy(&line);
                search.logged += u64::from(text.contains("TRACE ") || text.contains("DEBUG "));
                if let Some(needle) = needles.iter().find(|needle| text.contains(&needle.text)) {
                    search
                        .found
                        .push(format!("{}:{number} ({})", path.display(), needle.form));
                }
                line.clear();
            }
        }
        Ok(search)
    }
}

/// An encoding of the canary.
struct Needle {
    form: &'static str,
    text: String,
}

/// Returns the canary in plain text and in the usual encodings.
fn needles(plain: &str) -> Vec<Needle> {
    let each = |show: fn(&u8) -> String| plain.as_bytes().iter().map(show).collect::<Vec<_>>();
    let hexadecimal = each(|byte| format!("{byte:02x}")).concat();
    let mut needles = vec![
        Needle {
            form: "plain",
            text: plain.to_owned(),
        },
        Needle {
            form: "a list of bytes",
            text: each(u8::to_string).join(", "),
        },
        Needle {
            form: "hexadecimal",
            text: hexadecimal.to_uppercase(),
        },
        Needle {
            form: "hexadecimal",
            text: hexadecimal,
        },
    ];
    needles.extend((0..3).map(|before| Needle {
        form: "base64",
        text: base64_inside(plain.as_bytes(), before),
    }));
    needles
}

/// Returns the part of the text's base64 that is the same for any text around it, if `before` bytes stand before it.
fn base64_inside(plain: &[u8], before: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = std::iter::repeat_n(0, before)
        .chain(plain.iter().copied())
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    // A letter encodes six bits. The first letters share bits with the text before, and the last letter with the text
    // after.
    let first = (before * 8).div_ceil(6);
    let letter = |bits: &[u8]| {
        let index = bits.iter().fold(0, |sum, bit| sum << 1 | usize::from(*bit));
        char::from(LETTERS[index])
    };
    bits.chunks_exact(6).skip(first).map(letter).collect()
}

fn files_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not the real canary, because the output of these tests is searched too.
    const WORD: &str = "SPARROW-";

    fn found(text: &str) -> Option<&'static str> {
        needles(WORD)
            .into_iter()
            .find(|needle| text.contains(&needle.text))
            .map(|needle| needle.form)
    }

    #[test]
    fn every_form_is_found() {
        assert_eq!(found("token=SPARROW-7f3a"), Some("plain"));
        assert_eq!(
            found("[1, 83, 80, 65, 82, 82, 79, 87, 45, 9]"),
            Some("a list of bytes")
        );
        assert_eq!(found("53504152524f572d"), Some("hexadecimal"));
        // echo -n "SPARROW-1", "xSPARROW-1", "xySPARROW-1" through base64
        for encoded in ["U1BBUlJPVy0x", "eFNQQVJST1ctMQ==", "eHlTUEFSUk9XLTE="] {
            assert_eq!(found(encoded), Some("base64"), "{encoded}");
        }
    }

    #[test]
    fn innocent_text_is_not() {
        for text in ["", "SPARROW", "sparrow-", "a SPARROW flew by", "U1BBUlJP"] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn a_leak_in_any_file_is_found_by_its_place() {
        let directory = std::env::temp_dir().join(format!("xtask-canary-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("deep"))
            .expect("the temporary directory is writable");
        std::fs::write(directory.join("tests.log"), "TRACE flight: published\n").expect("writable");
        let clean = Search::through(&directory, WORD).expect("readable");
        std::fs::write(
            directory.join("deep/panic.txt"),
            b"\xff first\nat SPARROW-7f3a\n",
        )
        .expect("writable");
        let leaked = Search::through(&directory, WORD).expect("readable");
        std::fs::remove_dir_all(directory).expect("ours");
        assert_eq!((clean.files, clean.logged, clean.found.len()), (1, 1, 0));
        assert_eq!((leaked.files, leaked.found.len()), (2, 1));
        assert!(
            leaked.found[0].ends_with("deep/panic.txt:2 (plain)"),
            "{:?}",
            leaked.found
        );
    }

    #[test]
    fn without_logs_there_is_nothing_to_prove() {
        let nowhere = Workplace {
            root: "/nowhere".into(),
            target: "/nowhere".into(),
            packages: vec![],
            ci: false,
        };
        let outcome = run(&nowhere);
        assert_eq!(outcome.verdict, crate::report::Verdict::Skipped);
        assert!(outcome.detail.contains("tests.log"), "{}", outcome.detail);
    }
}
