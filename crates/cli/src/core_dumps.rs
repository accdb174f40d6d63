//! Keeps the memory of a process out of core dumps: it holds tokens and the key of the store.

use crate::arguments::{CliCommand, GlobalOptions};

/// The limit of core dumps that the process had at its start. A command that `exec` runs gets it back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CoreLimit {
    #[cfg(unix)]
    previous: Option<rustix::process::Rlimit>,
}

impl CoreLimit {
    /// Forbids core dumps of this process, unless the user allows them. Keeps the hard limit.
    ///
    /// A process that stays, or that asks the user, is also closed to debuggers of the same user. `exec`
    /// is not: the command that replaces it would inherit files in `/proc` that its user cannot read.
    pub(crate) fn forbid(global: &GlobalOptions, command: &CliCommand) -> Self {
        if global.allow_core_dumps {
            return Self::default();
        }
        #[cfg(target_os = "linux")]
        if matches!(
            command,
            CliCommand::Login(_) | CliCommand::Token(_) | CliCommand::Proxy(_)
        ) {
            use rustix::process::{DumpableBehavior, set_dumpable_behavior};

            // This cannot fail on Linux. Where it does, the limit below still holds.
            let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = command;
        Self::lower()
    }

    #[cfg(unix)]
    fn lower() -> Self {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let previous = getrlimit(Resource::Core);
        let lowered = Rlimit {
            current: Some(0),
            maximum: previous.maximum,
        };
        // Lowering a soft limit is always allowed.
        let _ = setrlimit(Resource::Core, lowered);
        Self {
            previous: Some(previous),
        }
    }

    #[cfg(not(unix))]
    fn lower() -> Self {
        Self::default()
    }

    /// Restores the limit, for the command that replaces this process.
    #[cfg(unix)]
    pub(crate) fn restore(self) {
        if let Some(previous) = self.previous {
            // The soft limit does not exceed the unchanged hard limit, so the system allows it.
            let _ = rustix::process::setrlimit(rustix::process::Resource::Core, previous);
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "the version for Unix uses it")]
    pub(crate) fn restore(self) {}
}
