//! The conformance suites for stores and for stores on a server, with a real `PostgreSQL` server.

mod support;

use support::Postgres;

token_rotator_testkit::conformance!(Postgres);
token_rotator_testkit::server_conformance!(Postgres);
