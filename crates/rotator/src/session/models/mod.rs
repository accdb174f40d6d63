//! Models of threads and tasks, in every order (loom) or in thousands of random orders (shuttle).
//! `cargo xtask test` runs each checker in its own build.

#[cfg(model_loom)]
mod model_loom;
#[cfg(model_shuttle)]
mod model_shuttle;
