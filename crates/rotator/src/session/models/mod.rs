//! Models: what threads and tasks do to each other, in every order that there is (loom) or in
//! thousands drawn at random (shuttle). Run by `cargo xtask test`, each in a build of its own.

#[cfg(model_loom)]
mod model_loom;
#[cfg(model_shuttle)]
mod model_shuttle;
