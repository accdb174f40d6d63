//! The tower layer over real sockets: hyper-util's client and tonic's channel against the testkit.

mod bodies;
mod certified;
mod grpc;
mod refusals;
mod routing;
mod world;
