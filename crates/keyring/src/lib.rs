//! The key of a `token-rotator` store in the operating system's keyring.
//!
//! A file store seals the sessions it keeps with one key. [`Keyring`] is a vault for that key, and
//! for nothing else: the sessions stay in their files, where a lease, a version and an atomic write
//! protect them, none of which a keyring has.
//!
//! ```no_run
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use token_rotator::keys::KeyFile;
//! use token_rotator::FileStore;
//! use token_rotator_keyring::Keyring;
//!
//! let store = FileStore::builder("/var/lib/my-program/sessions")
//!     .vault(Keyring::of_system())
//!     .vault(KeyFile::of_user()?) // where there is no keyring at the first sign-in
//!     .open()?;
//! # Ok(()) }
//! ```
//!
//! # What is asked
//!
//! | system | keyring | the key is gone |
//! |---|---|---|
//! | Linux, FreeBSD, OpenBSD | the Secret Service on the session's D-Bus: GNOME Keyring, `KWallet`, `KeePassXC` | when somebody removes it |
//! | macOS | the login keychain | when somebody removes it |
//! | Windows | the Credential Manager, for this machine only | when somebody removes it |
//! | Linux, [by name](Keyring::kernel_keyutils) | the kernel's key retention service | after a reboot, and sooner |
//!
//! Elsewhere [`Keyring::of_system`] gives a vault that cannot be reached, and says so. Nothing that
//! forgets is taken by default: every session sealed with a forgotten key is lost.
//!
//! # What it protects against, and what not
//!
//! A keyring is encrypted with the user's login, so a copy of the disk, a backup, or another user
//! who can read the files (on a stolen machine that is off, the administrator too) has neither the
//! key nor the sessions.
//!
//! It does not protect against programs that run as the same user while it is unlocked. The Secret
//! Service and the Credential Manager give the key to any of them without a question; macOS asks
//! before another program may have it. Nor does it protect against an administrator of the running
//! machine, or against who reads this process's memory.
//!
//! On the way the key is in the memory of this process, and in copies that the libraries beneath
//! make and do not wipe. Between this process and the Secret Service it is encrypted against
//! somebody who listens on the bus.
//!
//! # What goes wrong
//!
//! Every failure is a [`StoreError`](token_rotator::store::StoreError), and none leads to a new key in
//! place of an old one. Its texts carry no key.
//!
//! | what | kind |
//! |---|---|
//! | no keyring is running, it is locked, a prompt is declined or not answered in [time](Keyring::timeout) | `Unavailable` |
//! | what it holds is no key | `Corrupt`; it is left as it is |
//! | a key is there by the time a new one is to be kept; several entries match; the entry's name cannot be used | `Refused` |
//! | a library beneath panicked | `Panicked` |

mod failure;
mod keyring;
mod lock;
mod question;
mod system;

pub use keyring::Keyring;

/// The traits that [`Keyring::of_store`] takes.
pub use keyring_core;

/// The README of this crate: its example must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
