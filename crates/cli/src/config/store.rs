//! The `[store]` table: where sessions are stored, and the key that encrypts them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use token_rotator::store::server::ServerAddress;

use super::values::text_value;

/// The `[store]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreSettings {
    /// Where sessions are stored.
    pub(crate) url: Option<StoreUrl>,
    /// The location of the key.
    pub(crate) key: Option<KeyChoice>,
    /// Authorities of the server's certificate (PEM), in place of those of the system.
    pub(crate) ca_file: Option<PathBuf>,
    /// The certificate of this client with its chain (PEM).
    pub(crate) client_cert_file: Option<PathBuf>,
    /// The key of that certificate (PEM).
    pub(crate) client_key_file: Option<PathBuf>,
    /// Hosts on other machines that may be connected to without TLS.
    pub(crate) clear_text_hosts: Vec<String>,
}

/// A directory, or the URL of a server.
///
/// `Display` and `Debug` omit the URL, which may hold a password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum StoreUrl {
    Directory(PathBuf),
    Redis(String),
    Postgres(String),
}

const PLAIN: &str = "write a directory as a plain path, or file:///path";

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            None if text.is_empty() => Err("it is empty; name a directory or a server".to_owned()),
            None => match text.split_once(':') {
                Some(("file", _)) => Err(PLAIN.to_owned()),
                Some((scheme @ ("redis" | "rediss" | "postgres" | "postgresql"), _)) => {
                    Err(format!(
                        "a server is written as {scheme}://, a directory of this name as ./{scheme}:"
                    ))
                }
                _ if has_keywords(text) => Err(
                    "a PostgreSQL server is written as postgres://user:password@host/database, a \
                     directory of this name with ./ before it"
                        .to_owned(),
                ),
                _ => Ok(Self::Directory(PathBuf::from(text))),
            },
            Some(("file", path)) if path.starts_with('/') => {
                Ok(Self::Directory(PathBuf::from(path)))
            }
            Some(("file", _)) => Err(PLAIN.to_owned()),
            // The crates of the stores check these addresses.
            Some(("redis" | "rediss" | "redis+unix" | "unix", _)) => {
                Ok(Self::Redis(text.to_owned()))
            }
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(text.to_owned())),
            Some((scheme, _)) if is_scheme(scheme) => Err(format!(
                "there is no store for {scheme}://; write a directory, redis://, rediss:// or postgres://"
            )),
            Some(_) => Err("write a directory, redis://, rediss:// or postgres://".to_owned()),
        }
    }
}

fn is_scheme(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
    !text.is_empty() && text.len() <= 32 && text.chars().all(is_letter)
}

/// Whether the text is the address of a `PostgreSQL` server as `key=value`, which may have a password.
fn has_keywords(text: &str) -> bool {
    let keywords = [
        "host", "hostaddr", "port", "dbname", "user", "password", "passfile", "service", "sslmode",
    ];
    let mut parts = text.split_whitespace();
    parts.any(|part| {
        let key = part.split_once('=').map(|(key, _)| key);
        key.is_some_and(|key| keywords.contains(&key))
    })
}

impl StoreUrl {
    /// Returns the first host on another machine to which a connection would not be encrypted, unless
    /// `allowed` names it.
    pub(crate) fn clear_text_host(&self, allowed: &[String]) -> Option<String> {
        let (Self::Redis(text) | Self::Postgres(text)) = self else {
            return None;
        };
        // An address that cannot be read is an error of the store's crate.
        let address: ServerAddress = text.parse().ok()?;
        let is_encrypted = match self {
            Self::Redis(_) => address.scheme() == "rediss",
            _ => matches!(
                address.parameter("sslmode"),
                Some("require" | "verify-ca" | "verify-full")
            ),
        };
        let mut others = address.other_machines().filter(|_| !is_encrypted);
        let other = others.find(|host| {
            let is_host = |allowed: &String| allowed.eq_ignore_ascii_case(host);
            !allowed.iter().any(is_host)
        });
        other.map(str::to_owned)
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(out),
            Self::Redis(_) => out.write_str("the Redis server"),
            Self::Postgres(_) => out.write_str("the PostgreSQL server"),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "StoreUrl({self})")
    }
}

/// The location of the key that encrypts sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum KeyChoice {
    /// The system's keyring; the key file if there is no keyring.
    #[default]
    Auto,
    /// The system's keyring.
    Keyring,
    /// The Linux kernel's keyring, which is lost at a reboot.
    Keyutils,
    /// This file; the default key file if `None`.
    File(Option<PathBuf>),
    /// This environment variable.
    Variable(String),
    /// No key: sessions are stored unencrypted.
    Plaintext,
}

impl FromStr for KeyChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let choice = match text.split_once(':') {
            None => match text {
                "auto" => Some(Self::Auto),
                "keyring" => Some(Self::Keyring),
                "keyutils" => Some(Self::Keyutils),
                "file" => Some(Self::File(None)),
                "none" => Some(Self::Plaintext),
                _ => None,
            },
            Some(("file", path)) if !path.is_empty() => Some(Self::File(Some(path.into()))),
            Some(("env", name)) if !name.is_empty() => Some(Self::Variable(name.to_owned())),
            Some(_) => None,
        };
        choice.ok_or_else(|| {
            "write one of auto, keyring, keyutils, file, file:PATH, env:NAME, none".to_owned()
        })
    }
}

impl fmt::Display for KeyChoice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.write_str("auto"),
            Self::Keyring => out.write_str("keyring"),
            Self::Keyutils => out.write_str("keyutils"),
            Self::File(None) => out.write_str("file"),
            Self::File(Some(path)) => write!(out, "file:{}", path.display()),
            Self::Variable(name) => write!(out, "env:{name}"),
            Self::Plaintext => out.write_str("none"),
        }
    }
}

text_value!(KeyChoice);
