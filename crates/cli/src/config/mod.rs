//! The configuration: one TOML file, and beside it what `login` was told about each session.
//!
//! In rising order of force: what `login` has written down, the file, the environment, flags.

mod file;
mod places;
mod problem;
mod proxy;
mod session;
mod store;
mod values;

pub(crate) use self::file::Config;
pub(crate) use self::places::{Places, private_directory};
pub(crate) use self::proxy::{
    LimitSettings, ListenText, ProtocolChoice, ProxySettings, RouteSettings,
};
pub(crate) use self::session::{ClientAuthChoice, GrantChoice, SessionSettings};
pub(crate) use self::store::{KeyChoice, StoreUrl};
pub(crate) use self::values::{Address, OriginText, SessionName};
