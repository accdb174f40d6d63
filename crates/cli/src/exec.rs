//! `token-rotator exec`: a command with a token that is good now.

use std::process::{Command, ExitCode};

use crate::arguments::{ExecOptions, GlobalOptions};
use crate::command_error::CommandError;
use crate::session::Home;
use crate::token::{Wanted, chosen, fresh};

/// Runs it. Comes back only where the command could not take this program's place.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: ExecOptions,
) -> Result<ExitCode, CommandError> {
    let home = Home::open(global, "exec").await?;
    let session = home.session(&options.session.name)?;
    let rotator = session.rotator()?;
    let wanted = Wanted {
        min_ttl: options.min_ttl,
        refresh: false,
    };
    let token = fresh(&session, &rotator, wanted).await;
    session.land(&rotator).await;
    let (token, _) = chosen(token?.token_set(), options.id_token)?;
    let [program, arguments @ ..] = &*options.command else {
        unreachable!("it is a required argument");
    };
    let mut command = Command::new(program);
    command.args(arguments);
    hand_over(&mut command, &options, &token)?;
    let error = take_place(&mut command)?;
    Err(
        CommandError::new(format!("{} cannot be run", program.display()))
            .hint(match error.kind() {
                std::io::ErrorKind::PermissionDenied => "allow this user to execute it",
                _ => "check its name, and that it may be executed",
            })
            .because(error)
            .code(127),
    )
}

#[cfg(unix)]
fn hand_over(
    command: &mut Command,
    options: &ExecOptions,
    token: &str,
) -> Result<(), CommandError> {
    use command_fds::{CommandFdExt as _, FdMapping};

    let Some(number) = options.fd else {
        command.env(&options.env, token);
        return Ok(());
    };
    let failed = |error: &dyn std::fmt::Display| not_handed_over(number, error);
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if most.is_some_and(|most| most <= u64::from(number.unsigned_abs())) {
        return Err(failed(&format!(
            "this process may have none above {} (`ulimit -n`)",
            most.unwrap_or_default().saturating_sub(1)
        )));
    }
    let file = in_memory(token).map_err(|error| failed(&error))?;
    command
        .fd_mappings(vec![FdMapping {
            parent_fd: file,
            child_fd: number,
        }])
        .map_err(|error| failed(&error))?;
    Ok(())
}

#[cfg(unix)]
fn not_handed_over(number: i32, why: &dyn std::fmt::Display) -> CommandError {
    CommandError::new(format!(
        "the token cannot be handed over in descriptor {number}"
    ))
    .why(why.to_string())
    .hint("choose a lower number, or leave `--fd` out to have it in an environment variable")
}

/// The token in a pipe, whole: it is read to its end and is gone.
#[cfg(unix)]
fn in_memory(token: &str) -> std::io::Result<std::os::fd::OwnedFd> {
    use std::io::Write as _;

    let (reader, mut writer) = std::io::pipe()?;
    // Nobody reads yet: more than a pipe holds would wait for ever.
    if token.len() > PIPE {
        return Err(std::io::Error::other("it is too long for a pipe"));
    }
    writer.write_all(token.as_bytes())?;
    Ok(reader.into())
}

/// What every system's pipes hold.
#[cfg(unix)]
const PIPE: usize = 16 * 1024;

#[cfg(not(unix))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "where there are descriptors it may fail"
)]
fn hand_over(
    command: &mut Command,
    options: &ExecOptions,
    token: &str,
) -> Result<(), CommandError> {
    command.env(&options.env, token);
    Ok(())
}

/// Becomes the command: signals, terminal and exit code are its own from here on.
#[cfg(unix)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "where there is no exec it is another program that fails"
)]
fn take_place(command: &mut Command) -> Result<std::io::Error, CommandError> {
    Ok(std::os::unix::process::CommandExt::exec(command))
}

/// Runs the command and ends as it ends. Ctrl-C reaches both; the command decides.
#[cfg(not(unix))]
fn take_place(command: &mut Command) -> Result<std::io::Error, CommandError> {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => Ok(error),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_no_pipe_holds() {
        let error = in_memory(&"x".repeat(PIPE + 1)).expect_err("it would wait for ever");
        insta::assert_snapshot!(not_handed_over(5, &error).text(), @"
        exit code 1
        error: the token cannot be handed over in descriptor 5
          because it is too long for a pipe
        hint: choose a lower number, or leave `--fd` out to have it in an environment variable
        ");
    }
}
