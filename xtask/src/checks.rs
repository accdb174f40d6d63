//! The steps that are more than one command.

pub(crate) mod architecture;
pub(crate) mod canary;
pub(crate) mod features;
pub(crate) mod house_rules;
pub(crate) mod licences;
pub(crate) mod packages;
mod spdx;
