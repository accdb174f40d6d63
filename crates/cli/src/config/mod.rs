//! The configuration: one TOML file, and beside it a file per session that `login` writes.
//!
//! A later source overrides an earlier one: the session file, the configuration file, the environment,
//! flags.
//!
//! - `file.rs`: reads and writes the files; `paths.rs`: where they are; `problem.rs`: errors in them
//! - `session.rs`, `store.rs`, `proxy.rs`: the tables `[sessions.NAME]`, `[store]` and `[proxy]`
//! - `values.rs`: types of single values, shared by files, environment and flags

mod file;
mod paths;
mod problem;
mod proxy;
mod session;
mod store;
mod values;

pub(crate) use self::file::ProgramConfig;
pub(crate) use self::paths::{UserPaths, file_of_session, private_directory};
pub(crate) use self::proxy::{
    LimitSettings, ListenText, ProtocolChoice, ProxySettings, RouteSettings,
};
pub(crate) use self::session::{ClientAuthChoice, GrantChoice, SessionSettings};
pub(crate) use self::store::{KeyChoice, StoreSettings, StoreUrl};
pub(crate) use self::values::{IssuerUrl, OriginText, SessionName};
