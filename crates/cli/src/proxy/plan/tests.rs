//! The configuration in docs/program.md: it can be read, it has every key, and the defaults that it
//! shows are the defaults.

use clap::Parser as _;

use super::*;
use crate::arguments::{Arguments, CliCommand};
use crate::config::UserPaths;

/// The TOML of docs/program.md. `tests/proxy/documented.rs` compares these files with that page, which is not packed with
/// the crate.
const PROXY: &str = include_str!("proxy.toml");
const SESSIONS: &str = include_str!("sessions.toml");

/// Uncomments the lines that are commented out.
fn uncommented(toml: &str) -> String {
    let line = |line: &str| line.strip_prefix('#').unwrap_or(line).to_owned() + "\n";
    toml.lines().map(line).collect()
}

fn load(toml: &str) -> Result<ProgramConfig, CommandError> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    std::fs::write(&file, toml).expect("written");
    ProgramConfig::load(UserPaths {
        config_file: file,
        config_is_named: true,
        state: directory.path().join("state"),
        is_homeless: false,
    })
}

fn plan(toml: &str) -> ProxyPlan {
    let config = load(toml).unwrap_or_else(|error| panic!("{error}: {toml}"));
    let arguments = Arguments::try_parse_from(["token-rotator", "proxy"]).expect("no flags");
    let CliCommand::Proxy(options) = arguments.command else {
        panic!("another command");
    };
    ProxyPlan::of(&config, &options).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the keys of a table, taken from the error about an unknown key.
fn known_keys(table: &str) -> Vec<String> {
    let more = if table == "[[proxy.routes]]" {
        "upstream = \"https://api.example.com\"\n"
    } else {
        ""
    };
    let error = load(&format!("{table}\n{more}no-such-key = 1\n")).expect_err("an unknown key");
    let error = error.to_string();
    let (_, expected) = error.split_once("expected ").expect("what is expected");
    let keys: Vec<_> = expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert!(keys.len() > 1, "{error}");
    keys
}

/// Returns the part of the TOML that belongs to this table.
fn table_of<'a>(toml: &'a str, table: &str) -> &'a str {
    let (_, rest) = toml.split_once(table).unwrap_or_else(|| panic!("{table}"));
    rest.split("\n[").next().unwrap_or(rest)
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_read() {
    let proxy = uncommented(PROXY);
    // All of it can be read, including the commented lines.
    load(&proxy).unwrap_or_else(|error| panic!("{error}"));
    load(SESSIONS).unwrap_or_else(|error| panic!("{error}"));
    for (toml, shown, table) in [
        (proxy.as_str(), "[proxy]", "[proxy]"),
        (proxy.as_str(), "[proxy.limits]", "[proxy.limits]"),
        (proxy.as_str(), "[[proxy.routes]]", "[[proxy.routes]]"),
        (SESSIONS, "[store]", "[store]"),
        (SESSIONS, "[sessions.work]", "[sessions.work]"),
    ] {
        let text = table_of(toml, shown);
        for key in known_keys(table) {
            let documented = text
                .lines()
                .any(|line| line.split(" = ").next() == Some(key.as_str()))
                // An alternative key is named in the comment of the other key.
                || text.contains(&format!(" {key} = "))
                // The key is a table.
                || toml.contains(&format!("[proxy.{key}]"));
            assert!(
                documented,
                "{table} has the key `{key}`, but docs/program.md does not"
            );
        }
    }
}

#[test]
fn documented_defaults_are_the_defaults() {
    let documented = plan(PROXY);
    let bare = plan("[[proxy.routes]]\nupstream = \"https://api.example.com\"\n");
    assert_eq!(
        format!("{:?}", limits(&documented.settings.limits)),
        format!("{:?}", limits(&bare.settings.limits))
    );
    let of = |plan: &ProxyPlan| {
        let route = &plan.routes[0];
        let text = format!(
            "{:?}",
            (
                (&plan.listen, plan.public, &plan.settings.allowed_hosts),
                plan.local_bearer.is_some(),
                (&plan.settings.socket_uids, &plan.settings.socket_gids),
                (plan.admin, plan.workers),
                plan.drain_timeout,
                (route.0.name(), &route.0.host, &route.0.upstream),
                (&route.0.upstream_socket, &route.1, route.0.protocol),
                (&route.0.ca_file, route.0.pass_authorization),
                (route.0.strip_prefix, route.0.replay_bytes),
            )
        );
        (plan.routes.len(), text)
    };
    assert_eq!(of(&documented), of(&bare));
    assert_eq!(
        documented.listen,
        [ListenText::Tcp(([127, 0, 0, 1], 8080).into())]
    );
}

#[test]
fn a_tunnel_can_have_an_idle_limit() {
    let idle = |line: &str| {
        let route = "[[proxy.routes]]\nupstream = \"https://api.example.com\"\n";
        let plan = plan(&format!("[proxy.limits]\n{line}\n{route}"));
        limits(&plan.settings.limits).tunnel_idle
    };
    let hour = std::time::Duration::from_secs(60 * 60);
    assert_eq!(idle("tunnel_idle = \"1h\""), Some(hour));
    assert_eq!(idle("tunnel_idle = \"none\""), None);
}

#[test]
fn a_body_is_matched_by_its_text_or_by_its_fields() {
    let matches = |setting: &str, body: &str| {
        let route = "[[proxy.routes]]\nupstream = \"https://api.example.com\"\n";
        let plan = plan(&format!("{route}refused_when_body = {{ {setting} }}\n"));
        let rule = plan.routes[0].0.refused_when_body.as_ref();
        rule.expect("a rule").wanted.matches(body.as_bytes())
    };
    let empty = "json = { total = 0 }";
    assert!(matches(empty, r#"{"objects":[],"total":0}"#));
    assert!(!matches(empty, r#"{"objects":[1],"total":1}"#));
    assert!(!matches(empty, "[]"));
    assert!(matches("contains = \"[]\"", "[]"));
    assert!(!matches("contains = \"[]\"", "["));
}

#[test]
fn an_invalid_refusal_setting_is_an_error() {
    for (setting, why) in [
        ("status_codes = [42]", "42 is not a status"),
        ("probe = \"whoami\"", "write it like /-/whoami"),
        (
            "probe = \"//other.example/whoami\"",
            "write it like /-/whoami",
        ),
        ("refused_when_body = {}", "write either `contains"),
        (
            "refused_when_body = { contains = \"a\", json = { a = 1 } }",
            "write either `contains",
        ),
        (
            "refused_when_body = { contains = \"a\", methods = [\"P T\"] }",
            "`P T` is not a method",
        ),
    ] {
        let route = "[[proxy.routes]]\nupstream = \"https://api.example.com\"\n";
        let error = load(&format!("{route}{setting}\n")).expect_err("a mistake");
        assert!(format!("{error:?}").contains(why), "{setting}: {error:?}");
    }
}
