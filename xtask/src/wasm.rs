//! `cargo xtask wasm`: the core for JavaScript, from `crates/wasm` into the npm package.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{npm, process::Log, screen::Screen, workspace::Workplace};

const TARGET: &str = "wasm32-unknown-unknown";
/// The shipped file.
const MACHINE: &str = "npm/axios/src/core/machine.js";
/// One page of memory, which becomes variables: the core has no heap, and keeps nothing on the
/// stack.
const LINK: &str = "-Clink-arg=-zstack-size=8192 -Clink-arg=--max-memory=65536";
/// Inlines functions with one caller, of any size. A call is cheap in JavaScript, but its structs
/// are copied through the memory. Functions with many callers have `inline(never)`.
const INLINE: &str = "-Cllvm-args=-inline-threshold=1000";
/// Times and counters are floats, because JavaScript would emulate 64-bit integers.
const NUMBER: &str = "--cfg=token_rotator_f64";
/// The allowed growth of the file with other versions, in percent.
const TOLERANCE: u64 = 5;

/// A compiler with WebAssembly as a target.
struct Compiler {
    cargo: PathBuf,
    rustc: PathBuf,
    /// True for Debian's compiler, which has no library for the target and compiles its own.
    bare: bool,
}

/// Builds the file. With `--check`, compares the shipped file with the file that would be built.
pub(crate) fn run(workplace: &Workplace, arguments: &[String]) -> Result<ExitCode, String> {
    let check = match arguments {
        [] => false,
        [only] if only == "--check" => true,
        [other, ..] => return Err(format!("unknown argument: {other}")),
    };
    npm::packages(workplace)?;
    let compiler = Compiler::find()?;
    let built = workplace.target.join("wasm/machine.js");
    build(workplace, &compiler, &built)?;
    let shipped = workplace.root.join(MACHINE);
    let (new, old) = (read(&built)?, read(&shipped));
    if !check {
        std::fs::write(&shipped, &new).map_err(|error| format!("{MACHINE}: {error}"))?;
        println!("{MACHINE}: {} bytes", new.len());
        return Ok(ExitCode::SUCCESS);
    }
    let old = old?;
    if old == new {
        println!("{MACHINE} is what crates/wasm makes: {} bytes", new.len());
        return Ok(ExitCode::SUCCESS);
    }
    if header(&old) == header(&new) {
        return Err(format!(
            "{MACHINE} is not what crates/wasm makes\nhint: run `cargo xtask wasm` and commit the file"
        ));
    }
    println!(
        "made by other versions, so its size and the scenarios count:\n{}",
        header(&new)
    );
    let (ours, theirs) = (new.len() as u64, old.len() as u64);
    if ours.abs_diff(theirs) * 100 > theirs * TOLERANCE {
        return Err(format!("{MACHINE} has {theirs} bytes, built here {ours}"));
    }
    let mut replay = Command::new("npx");
    replay
        .args(["vitest", "run", "test/scenarios.test.ts"])
        .env("TOKEN_ROTATOR_MACHINE", &built)
        .current_dir(workplace.root.join("npm/axios"));
    logged(workplace, replay, "the scenarios differ")?;
    Ok(ExitCode::SUCCESS)
}

impl Compiler {
    /// Returns the toolchain in use if it has the target, else Debian's compiler with the sources
    /// of its library.
    fn find() -> Result<Self, String> {
        let (cargo, rustc) = (PathBuf::from("cargo"), PathBuf::from("rustc"));
        let library = Command::new(&rustc)
            .args(["--print", "target-libdir", "--target", TARGET])
            .output();
        let installed = library.is_ok_and(|output| {
            let path = String::from_utf8_lossy(&output.stdout);
            output.status.success() && Path::new(path.trim()).is_dir()
        });
        if installed {
            return Ok(Self {
                cargo,
                rustc,
                bare: false,
            });
        }
        let (cargo, rustc) = ("/usr/bin/cargo".into(), "/usr/bin/rustc".into());
        let here = |path: &PathBuf| path.is_file();
        if here(&cargo) && here(&rustc) && Path::new("/usr/bin/wasm-ld-19").is_file() {
            return Ok(Self {
                cargo,
                rustc,
                bare: true,
            });
        }
        Err(format!(
            "no compiler here makes {TARGET}\nhint: `rustup target add {TARGET}`, or on Debian \
             `apt-get install rustc-web cargo-web rust-web-src lld-19`"
        ))
    }

    fn version(&self) -> Result<String, String> {
        let output = Command::new(&self.rustc)
            .arg("--version")
            .output()
            .map_err(|error| format!("rustc does not start: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.split('(').next().unwrap_or("").trim().to_owned())
    }
}

fn build(workplace: &Workplace, compiler: &Compiler, out: &Path) -> Result<(), String> {
    let target = workplace.target.join("wasm");
    let mut cargo = Command::new(&compiler.cargo);
    cargo
        .args(["build", "--profile", "wasm", "-p", "token-rotator-wasm"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target)
        .env("RUSTC", &compiler.rustc)
        .env(
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
            format!("{LINK} {INLINE} {NUMBER}"),
        )
        .current_dir(&workplace.root);
    if compiler.bare {
        cargo
            .arg("-Zbuild-std=core,panic_abort")
            // The option needs a nightly compiler, and Debian's compiler is a stable one.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("PATH", "/usr/bin:/bin")
            .env_remove("RUSTUP_TOOLCHAIN")
            .env(
                "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
                "/usr/bin/wasm-ld-19",
            );
    }
    logged(workplace, cargo, "the core does not compile")?;
    let mut shape = Command::new("node");
    shape
        .arg("scripts/core.mjs")
        .arg(target.join(TARGET).join("wasm/token_rotator_wasm.wasm"))
        .arg(compiler.version()?)
        .arg(out)
        .current_dir(workplace.root.join("npm/axios"));
    logged(workplace, shape, "the core does not become JavaScript")
}

fn logged(workplace: &Workplace, command: Command, problem: &str) -> Result<(), String> {
    let ran = Log::create(workplace, "wasm").and_then(|mut log| log.run(command, Screen::All));
    match ran {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{problem}; the output stands above")),
        Err(error) => Err(error.to_string()),
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The lines that name the versions.
fn header(text: &str) -> &str {
    let end = text
        .split_inclusive('\n')
        .take_while(|line| line.starts_with("//"))
        .map(str::len)
        .sum();
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_ends_where_the_code_begins() {
        assert_eq!(
            header("// rustc: 1\n// binaryen: 2\nfunction a(){}\n// end\n"),
            "// rustc: 1\n// binaryen: 2\n"
        );
    }

    #[test]
    fn an_unknown_argument_is_named() {
        let workplace = Workplace::find().expect("cargo runs this test");
        let problem = run(&workplace, &["--fast".to_owned()]).expect_err("unknown");
        assert!(problem.contains("--fast"), "{problem}");
    }
}
