//! Properties of the state machine, over random histories of all its events.

#[path = "../common/mod.rs"]
mod common;

mod held_back;
mod model;
mod numbers;
mod past;
mod rules;
mod useful;
mod windows;
