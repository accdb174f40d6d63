//! The proxy over real sockets, between a caller and the testkit's upstream.

mod bodies;
mod hostile;
mod life;
mod limits;
mod rotation;
mod routing;
mod secrecy;
mod upgrades;
mod world;
