//! The suites for all stores and for stores on a server, on a real server.

mod support;

use support::Postgres;

token_rotator_testkit::conformance!(Postgres);
token_rotator_testkit::server_conformance!(Postgres);
