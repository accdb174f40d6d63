//! Stores the key of a `token-rotator` file store in the operating system's keyring.
//!
//! A file store seals its sessions with one key. [`Keyring`] is a vault for that key alone. The sessions stay in files,
//! because a keyring has no lease, no versions and no atomic write.
//!
//! ```no_run
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use token_rotator::keys::KeyFile;
//! use token_rotator::FileStore;
//! use token_rotator_keyring::Keyring;
//!
//! let store = FileStore::builder("/var/lib/my-program/sessions")
//!     .vault(Keyring::of_system())
//!     .vault(KeyFile::of_user()?) // used if there is no keyring at the first sign-in
//!     .open()?;
//! # Ok(()) }
//! ```
//!
//! # Keyrings
//!
//! | system | keyring | the key is lost |
//! |---|---|---|
//! | Linux, FreeBSD, OpenBSD | the Secret Service on the session's D-Bus: GNOME Keyring, `KWallet`, `KeePassXC` | when the user removes it |
//! | macOS | the login keychain | when the user removes it |
//! | Windows | the Credential Manager, for this machine only | when the user removes it |
//! | Linux, [on request](Keyring::kernel_keyutils) | the kernel's key retention service | after a reboot, or sooner |
//!
//! On other systems every call of [`Keyring::of_system`]'s vault fails with `Unavailable`. The kernel's service is not
//! a default: every session sealed with a lost key is lost.
//!
//! # Protection and its limits
//!
//! A keyring is encrypted with the user's login. A copy of the disk, a backup, or another user who can read the files
//! has neither the key nor the sessions. The same holds for an administrator of a stolen machine that is off.
//!
//! A keyring does not protect against programs that run as the same user while it is unlocked. The Secret Service and
//! the Credential Manager give the key to any such program without a prompt. macOS asks the user before another program
//! gets the key. A keyring does not protect against an administrator of the running machine, or against a reader of
//! this process's memory.
//!
//! In use, the key is in the memory of this process. The keyring libraries make copies that they do not wipe. Between
//! this process and the Secret Service the key is encrypted, so a listener on the bus cannot read it.
//!
//! # Errors
//!
//! Every failure is a [`StoreError`](token_rotator::store::StoreError) whose text contains no key. No failure replaces an old
//! key by a new one.
//!
//! | failure | kind |
//! |---|---|
//! | no keyring is running, it is locked, a prompt is declined or not answered in [time](Keyring::timeout) | `Unavailable` |
//! | the entry contains no key | `Corrupt`; the entry is left unchanged |
//! | another process has stored a key first; several entries match; the entry's name is not allowed | `Refused` |
//! | a keyring library panicked | `Panicked` |

mod failure;
mod keyring;
mod lock;
mod operation;
mod system;

pub use keyring::Keyring;

/// Defines the traits that [`Keyring::of_store`] takes.
pub use keyring_core;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
