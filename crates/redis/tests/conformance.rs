//! The conformance suites for stores and for stores on a server, with a real Redis server.

mod support;

use support::Redis;

token_rotator_testkit::conformance!(Redis);
token_rotator_testkit::server_conformance!(Redis);
