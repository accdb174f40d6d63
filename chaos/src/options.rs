//! The command line.

use std::time::Duration;

use crate::spec::ProfileName;
use crate::store::Kind;

/// A run over some stores and profiles.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long each storm lasts.
    pub length: Duration,
    /// The stores.
    pub stores: Vec<Kind>,
    /// The profiles.
    pub profiles: Vec<ProfileName>,
    /// Prints the verdicts as JSON.
    pub json: bool,
}

/// The text of `--help`.
pub const HELP: &str = "\
Eight processes on one session, killed and stopped at random, an issuer that fails.

usage: token-rotator-chaos [--seconds N] [--store NAME]... [--profile NAME]... [--json]

  --seconds N      how long each storm lasts (20)
  --store NAME     file, redis, postgres (all)
  --profile NAME   strict, leeway, parent-always, multi-use (all)
  --json           the verdicts as JSON

Exit code 0 if all bars hold, 1 if one does not, 2 for a wrong argument.
";

impl Options {
    /// Reads the arguments. The error names the argument that is wrong.
    pub fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            length: Duration::from_secs(20),
            stores: Vec::new(),
            profiles: Vec::new(),
            json: false,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--seconds" => {
                    let value = value()?;
                    let seconds = value.parse().map_err(|_| format!("{value} is no number"))?;
                    options.length = Duration::from_secs(seconds);
                }
                "--store" => {
                    let value = value()?;
                    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == value);
                    let kind = kind.ok_or(format!("there is no store {value}"))?;
                    options.stores.push(kind);
                }
                "--profile" => {
                    let value = value()?;
                    let profile = ProfileName::ALL
                        .into_iter()
                        .find(|profile| profile.name() == value);
                    options
                        .profiles
                        .push(profile.ok_or(format!("there is no profile {value}"))?);
                }
                "--json" => options.json = true,
                _ => return Err(format!("unknown argument {argument}")),
            }
        }
        if options.stores.is_empty() {
            options.stores = Kind::ALL.to_vec();
        }
        if options.profiles.is_empty() {
            options.profiles = ProfileName::ALL.to_vec();
        }
        Ok(options)
    }
}
