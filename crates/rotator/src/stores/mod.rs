//! The stores that come with the library.

mod memory;

pub use memory::MemoryStore;
