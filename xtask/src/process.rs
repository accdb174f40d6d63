//! Runs a command. A file keeps the whole output, and the terminal shows chosen lines at once.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{screen::Screen, workspace::Workplace};

/// The output of one step, in `target/test-output`.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Creates the file of the step, in place of the file of the last run.
    pub(crate) fn create(workplace: &Workplace, step: &str) -> io::Result<Self> {
        Self::create_in(&workplace.logs(), step)
    }

    fn create_in(directory: &Path, step: &str) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(format!("{step}.log"));
        let file = File::create(&path)?;
        Ok(Self { path, file })
    }

    /// The path of the output.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the command to its end. Returns true if it succeeded. Errors: the program is missing, or the file cannot be
    /// written.
    pub(crate) fn run(&mut self, mut command: Command, mut screen: Screen) -> io::Result<bool> {
        self.say(&format!("$ {}", shown(&command)))?;
        // One pipe for both streams keeps the order of their lines.
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let mut child = command.spawn().map_err(|error| {
            io::Error::new(
                error.kind(),
                format!(
                    "{} does not start: {error}",
                    command.get_program().display()
                ),
            )
        })?;
        // The command holds the writing ends of the pipe. The reader below ends only after they are closed.
        drop(command);
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            self.file.write_all(&line)?;
            let text = String::from_utf8_lossy(&line);
            if screen.shows(text.trim_end()) {
                let mut terminal = io::stdout().lock();
                // A closed terminal does not stop the command: the file has the whole output.
                let _ = terminal
                    .write_all(text.as_bytes())
                    .and_then(|()| terminal.flush());
            }
            line.clear();
        }
        Ok(child.wait()?.success())
    }

    /// Writes a line to the terminal and the file.
    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        println!("{line}");
        writeln!(self.file, "{line}")
    }

    /// Returns the content of the file.
    pub(crate) fn text(&self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.path)?).into_owned())
    }
}

/// Returns the command as a shell line.
fn shown(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!(
            "{}={}",
            name.display(),
            quoted(&value?.to_string_lossy())
        ))
    });
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let program = program.to_string_lossy().into_owned();
    let arguments = command
        .get_args()
        .map(|argument| quoted(&argument.to_string_lossy()));
    variables
        .chain([program])
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &str) -> String {
    if word.is_empty()
        || word.contains(|letter: char| letter.is_whitespace() || "'\"$&|;()<>*?".contains(letter))
    {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command
            .args(["test", "--", "a b"])
            .env("RUSTFLAGS", "--cfg loom");
        assert_eq!(
            shown(&command),
            "RUSTFLAGS='--cfg loom' cargo test -- 'a b'"
        );
    }

    #[test]
    fn both_streams_are_kept_in_order_and_the_result_is_returned() {
        let directory = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        let mut log =
            Log::create_in(&directory, "streams").expect("the temporary directory is writable");
        let script = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            command
        };
        assert!(
            log.run(script("echo one; echo two >&2; printf three"), Screen::All)
                .expect("sh starts")
        );
        assert!(!log.run(script("exit 3"), Screen::All).expect("sh starts"));
        let text = log.text().expect("just written");
        assert!(text.contains("one\ntwo\nthree"), "{text}");
        let missing = log
            .run(Command::new("no-such-program-anywhere"), Screen::All)
            .expect_err("missing");
        assert!(
            missing.to_string().contains("no-such-program-anywhere"),
            "{missing}"
        );
        std::fs::remove_dir_all(directory).expect("ours");
    }
}
