//! What the command line says.

use std::time::Duration;

use crate::spec::ProfileName;

/// A run over some stores and profiles.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long each storm lasts.
    pub length: Duration,
    /// The stores, by name.
    pub stores: Vec<String>,
    /// The profiles.
    pub profiles: Vec<ProfileName>,
    /// The verdicts as JSON.
    pub json: bool,
}

/// The text of `--help`.
pub const HELP: &str = "\
Eight processes on one session, killed and stopped at random, an issuer that fails.

usage: token-rotator-chaos [--seconds N] [--store file]... [--profile NAME]... [--json]

  --seconds N      how long each storm lasts (20)
  --store NAME     which store (all)
  --profile NAME   strict, leeway, parent-always, multi-use (all)
  --json           the verdicts as JSON

Exit code 0 if all bars hold, 1 if one does not, 2 for a wrong word.
";

/// The stores there are.
pub const STORES: [&str; 1] = ["file"];

impl Options {
    /// Reads them; the error says which word is wrong.
    pub fn read(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            length: Duration::from_secs(20),
            stores: Vec::new(),
            profiles: Vec::new(),
            json: false,
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--seconds" => {
                    let value = value()?;
                    let seconds = value.parse().map_err(|_| format!("{value} is no number"))?;
                    options.length = Duration::from_secs(seconds);
                }
                "--store" => {
                    let value = value()?;
                    if !STORES.contains(&value.as_str()) {
                        return Err(format!("there is no store {value}"));
                    }
                    options.stores.push(value);
                }
                "--profile" => {
                    let value = value()?;
                    let profile = ProfileName::ALL
                        .into_iter()
                        .find(|profile| profile.word() == value);
                    options
                        .profiles
                        .push(profile.ok_or(format!("there is no profile {value}"))?);
                }
                "--json" => options.json = true,
                _ => return Err(format!("{word} means nothing here")),
            }
        }
        if options.stores.is_empty() {
            options.stores = STORES.map(str::to_owned).to_vec();
        }
        if options.profiles.is_empty() {
            options.profiles = ProfileName::ALL.to_vec();
        }
        Ok(options)
    }
}
