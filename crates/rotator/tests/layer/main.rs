//! Tests the tower layer over real sockets: hyper-util's client and tonic's channel against the
//! testkit.
#![cfg(feature = "tower")]

mod bodies;
mod certified;
mod drain;
mod first_token;
mod fixture;
mod grpc;
mod judged;
mod refusals;
mod routing;
mod useful;
mod widened;
