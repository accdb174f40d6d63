//! The configuration: one TOML file, and beside it a file per session that `login` writes.
//!
//! A later source overrides an earlier one: the session file, the configuration file, the environment,
//! flags.
//!
//! - `file.rs`: reads and writes the files; `paths.rs`: where they are; `problem.rs`: errors in them
//! - `session.rs`, `store.rs`, `proxy.rs`: the tables `[sessions.NAME]`, `[store]` and `[proxy]`
//! - `answers.rs`, `redirect.rs`: settings for the issuer's answers and for the redirect address
//! - `values.rs`: types of single values, shared by files, environment and flags

mod answers;
mod file;
mod paths;
mod problem;
mod proxy;
mod redirect;
mod session;
mod store;
mod values;

pub(crate) use self::file::ProgramConfig;
pub(crate) use self::paths::{UserPaths, file_of_session, no_home, private_directory};
pub(crate) use self::proxy::{
    CompanyProxy, LimitSettings, ListenText, ProtocolChoice, ProxySettings, RouteSettings,
};
pub(crate) use self::redirect::RedirectAddress;
pub(crate) use self::session::{ClientAuthChoice, GrantChoice, SessionSettings};
pub(crate) use self::store::{KeyChoice, StoreSettings, StoreUrl};
pub(crate) use self::values::{IssuerUrl, OriginText, ProfileChoice, SessionName};
