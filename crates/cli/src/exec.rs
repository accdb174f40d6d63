//! `token-rotator exec`: runs a command with a valid token.

use std::process::{Command, ExitCode};

use crate::arguments::{ExecOptions, GlobalOptions};
use crate::command_error::CommandError;
use crate::session::Context;
use crate::token::{TokenRequirements, obtain_token, select_token};

/// Replaces this process by the command. Returns only if that fails.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: ExecOptions,
) -> Result<ExitCode, CommandError> {
    let context = Context::open(global, "exec").await?;
    let session = context.session(&options.session.name)?;
    let rotator = session.rotator()?;
    let wanted = TokenRequirements {
        min_ttl: options.min_ttl,
        refresh: false,
        no_wait: options.no_wait,
        id_token: options.id_token,
    };
    let token = obtain_token(&session, &rotator, wanted).await;
    session.shut_down(&rotator).await;
    let (token, _) = select_token(token?.token_set(), options.id_token)?;
    let [program, arguments @ ..] = &*options.command else {
        unreachable!("clap requires a command");
    };
    let mut command = Command::new(program);
    command.args(arguments);
    pass_token(&mut command, &options, &token)?;
    let error = replace_process(&mut command)?;
    Err(
        CommandError::new(format!("{} cannot be run", program.display()))
            .hint(match error.kind() {
                std::io::ErrorKind::PermissionDenied => "allow this user to execute the command",
                _ => "check the name of the command and that you may execute it",
            })
            .because(error)
            .code(127),
    )
}

#[cfg(unix)]
fn pass_token(
    command: &mut Command,
    options: &ExecOptions,
    token: &str,
) -> Result<(), CommandError> {
    use command_fds::{CommandFdExt as _, FdMapping};

    let Some(number) = options.fd else {
        command.env(&options.env, token);
        return Ok(());
    };
    let failed = |error: &dyn std::fmt::Display| token_not_passed(number, error);
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if most.is_some_and(|most| most <= u64::from(number.unsigned_abs())) {
        return Err(failed(&format!(
            "this process may have no descriptor above {} (`ulimit -n`)",
            most.unwrap_or_default().saturating_sub(1)
        )));
    }
    let file = token_pipe(token).map_err(|error| failed(&error))?;
    command
        .fd_mappings(vec![FdMapping {
            parent_fd: file,
            child_fd: number,
        }])
        .map_err(|error| failed(&error))?;
    Ok(())
}

#[cfg(unix)]
fn token_not_passed(number: i32, why: &dyn std::fmt::Display) -> CommandError {
    CommandError::new(format!(
        "the token cannot be passed in descriptor {number}"
    ))
    .why(why.to_string())
    .hint("choose a lower number, or leave `--fd` out to pass the token in an environment variable")
}

/// Returns the read end of a pipe that holds the whole token and can be read once.
#[cfg(unix)]
fn token_pipe(token: &str) -> std::io::Result<std::os::fd::OwnedFd> {
    use std::io::Write as _;

    let (reader, mut writer) = std::io::pipe()?;
    // No process reads yet: writing more than the capacity would block for ever.
    if token.len() > PIPE_CAPACITY {
        return Err(std::io::Error::other("the token is too long for a pipe"));
    }
    writer.write_all(token.as_bytes())?;
    Ok(reader.into())
}

/// Bytes that a pipe holds on every supported system.
#[cfg(unix)]
const PIPE_CAPACITY: usize = 16 * 1024;

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the Unix version can fail")]
fn pass_token(
    command: &mut Command,
    options: &ExecOptions,
    token: &str,
) -> Result<(), CommandError> {
    command.env(&options.env, token);
    Ok(())
}

/// Replaces this process by the command, which then owns signals, terminal and exit code.
#[cfg(unix)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the version without `exec` has the same signature"
)]
fn replace_process(command: &mut Command) -> Result<std::io::Error, CommandError> {
    Ok(std::os::unix::process::CommandExt::exec(command))
}

/// Runs the command and ends with its exit code. Ctrl-C reaches both processes.
#[cfg(not(unix))]
fn replace_process(command: &mut Command) -> Result<std::io::Error, CommandError> {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => Ok(error),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_token_longer_than_a_pipe_is_an_error() {
        let error = token_pipe(&"x".repeat(PIPE_CAPACITY + 1)).expect_err("too long");
        insta::assert_snapshot!(token_not_passed(5, &error).text(), @"
        exit code 1
        error: the token cannot be passed in descriptor 5
          because the token is too long for a pipe
        hint: choose a lower number, or leave `--fd` out to pass the token in an environment variable
        ");
    }
}
