//! The suites for all stores and for stores on a server, on a real server.

mod support;

use support::Redis;

token_rotator_testkit::conformance!(Redis);
token_rotator_testkit::server_conformance!(Redis);
