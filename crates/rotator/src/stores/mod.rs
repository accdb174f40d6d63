//! The stores that come with the engine.

pub(crate) mod file;
mod memory;

pub use memory::MemoryStore;
