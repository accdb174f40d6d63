//! Invalid arguments, which are reported before the command does anything.

use std::fmt::Write as _;

use insta::assert_snapshot;

use crate::user::User;

const VALUES: [&[&str]; 28] = [
    &["token", "--session", "a b"],
    &["token", "--min-ttl", "3600"],
    &["token", "--min-ttl=-1s"],
    &["token", "--key", "file:"],
    &["token", "--key", "vault"],
    &["token", "--store", ""],
    &["token", "--store", "file:sessions"],
    &["token", "--store", "file://sessions"],
    &["token", "--store", "redis:localhost"],
    &["exec", "--env", "A=B", "--", "true"],
    &["exec", "--env", "", "--", "true"],
    &["exec", "--fd", "2", "--", "true"],
    &["login", "--issuer", ""],
    &["login", "--issuer", "issuer.example"],
    &["login", "--issuer", "http://issuer.example"],
    &["login", "--profile", "lax"],
    &["login", "--profile", "hydra"],
    &["login", "--origin", "api.example.com"],
    &["login", "--redirect-port", "70000"],
    &["proxy", "--upstream", "api.example.com"],
    &["proxy", "--upstream", "https://api.example.com/v1"],
    &["proxy", "--listen", "8080"],
    &["proxy", "--admin", "9090"],
    &["proxy", "--log", "loud"],
    &["issuer", "--fault", "flood"],
    &["issuer", "--fault", "delay"],
    &["issuer", "--fault", "hang*often"],
    &["issuer", "--fault", "status=503,later"],
];

const COMMANDS: [&[&str]; 9] = [
    &["tokn"],
    &["token", "--sesion", "work"],
    &["token", "--format", "yaml"],
    &["exec"],
    &["exec", "--fd", "5", "--env", "TOKEN", "--", "true"],
    &[
        "login",
        "--client-secret-env",
        "A",
        "--client-secret-file",
        "a",
    ],
    &["issuer", "--fault", "status=99"],
    &["issuer", "--profile", "strict", "--leeway", "3s"],
    &["demo", "--port", "9090"],
];

async fn report(cases: &[&[&str]]) -> String {
    let user = User::new().await;
    let mut report = String::new();
    for arguments in cases {
        let output = user.run(arguments);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
        let line = arguments.join(" ");
        write!(report, "$ token-rotator {line}\n{}\n", output.stderr).expect("text");
    }
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_values() {
    assert_snapshot!(report(&VALUES).await, @"
    $ token-rotator token --session a b
    error: invalid value 'a b' for '--session <NAME>': a session's name has 1 to 64 letters, digits, `.`, `_` or `-`, and begins with neither `.` nor `-`

    For more information, try '--help'.

    $ token-rotator token --min-ttl 3600
    error: invalid value '3600' for '--min-ttl <DURATION>': write it as 500ms, 2s or 5m

    For more information, try '--help'.

    $ token-rotator token --min-ttl=-1s
    error: invalid value '-1s' for '--min-ttl <DURATION>': it must not be negative; write it as 500ms, 2s or 5m

    For more information, try '--help'.

    $ token-rotator token --key file:
    error: invalid value 'file:' for '--key <KEY>': write one of auto, keyring, keyutils, file, file:PATH, env:NAME, none

    For more information, try '--help'.

    $ token-rotator token --key vault
    error: invalid value 'vault' for '--key <KEY>': write one of auto, keyring, keyutils, file, file:PATH, env:NAME, none

    For more information, try '--help'.

    $ token-rotator token --store 
    error: invalid value '' for '--store <STORE>': it is empty; name a directory or a server

    For more information, try '--help'.

    $ token-rotator token --store file:sessions
    error: invalid value 'file:sessions' for '--store <STORE>': write a directory as a plain path, or file:///path

    For more information, try '--help'.

    $ token-rotator token --store file://sessions
    error: invalid value 'file://sessions' for '--store <STORE>': write a directory as a plain path, or file:///path

    For more information, try '--help'.

    $ token-rotator token --store redis:localhost
    error: invalid value 'redis:localhost' for '--store <STORE>': a server is written as redis://, a directory of this name as ./redis:

    For more information, try '--help'.

    $ token-rotator exec --env A=B -- true
    error: invalid value 'A=B' for '--env <NAME>': write a name such as ACCESS_TOKEN, without `=`

    For more information, try '--help'.

    $ token-rotator exec --env  -- true
    error: invalid value '' for '--env <NAME>': write a name such as ACCESS_TOKEN, without `=`

    For more information, try '--help'.

    $ token-rotator exec --fd 2 -- true
    error: invalid value '2' for '--fd <NUMBER>': 2 is not in 3..=1023

    For more information, try '--help'.

    $ token-rotator login --issuer 
    error: invalid value '' for '--issuer <URL>': it is not a URL; write it like https://issuer.example

    For more information, try '--help'.

    $ token-rotator login --issuer issuer.example
    error: invalid value 'issuer.example' for '--issuer <URL>': it is not the URL of a server; write it like https://issuer.example

    For more information, try '--help'.

    $ token-rotator login --issuer http://issuer.example
    error: invalid value 'http://issuer.example' for '--issuer <URL>': http would send tokens unencrypted; use https (http is only for this machine: 127.0.0.1, [::1], localhost)

    For more information, try '--help'.

    $ token-rotator login --profile lax
    error: invalid value 'lax' for '--profile <PROFILE>': write one of strict, auth0:TIME, okta, keycloak, hydra:TIME, supabase, fapi2, entra, b2c, google, slack, firebase, glewlwyd, multi-use, leeway:TIME

    For more information, try '--help'.

    $ token-rotator login --profile hydra
    error: invalid value 'hydra' for '--profile <PROFILE>': add for how long the issuer accepts a used refresh token again: hydra:30s

    For more information, try '--help'.

    $ token-rotator login --origin api.example.com
    error: invalid value 'api.example.com' for '--origin <ORIGIN>': the origin has no scheme; write `https://` before the host, as in `https://api.example.com`

    For more information, try '--help'.

    $ token-rotator login --redirect-port 70000
    error: invalid value '70000' for '--redirect-port <PORT>': 70000 is not in 0..=65535

    For more information, try '--help'.

    $ token-rotator proxy --upstream api.example.com
    error: invalid value 'api.example.com' for '--upstream <ORIGIN>': the origin has no scheme; write `https://` before the host, as in `https://api.example.com`

    For more information, try '--help'.

    $ token-rotator proxy --upstream https://api.example.com/v1
    error: invalid value 'https://api.example.com/v1' for '--upstream <ORIGIN>': the origin goes on after its host and port, `https://api.example.com`; give scheme, host and port alone; the token then goes to every path there

    For more information, try '--help'.

    $ token-rotator proxy --listen 8080
    error: invalid value '8080' for '--listen <ADDRESS>': write an address and a port such as 127.0.0.1:8080, or unix:/path

    For more information, try '--help'.

    $ token-rotator proxy --admin 9090
    error: invalid value '9090' for '--admin <ADDRESS>': write an address and a port such as 127.0.0.1:9090

    For more information, try '--help'.

    $ token-rotator proxy --log loud
    error: invalid value 'loud' for '--log <LEVEL>': write one of error, warn, info, debug, trace

    For more information, try '--help'.

    $ token-rotator issuer --fault flood
    error: invalid value 'flood' for '--fault <FAULT>': there is no fault `flood`; see `issuer --help`

    For more information, try '--help'.

    $ token-rotator issuer --fault delay
    error: invalid value 'delay' for '--fault <FAULT>': `delay` needs a value: delay=VALUE

    For more information, try '--help'.

    $ token-rotator issuer --fault hang*often
    error: invalid value 'hang*often' for '--fault <FAULT>': `often` is not a repeat count: write a number or `always`

    For more information, try '--help'.

    $ token-rotator issuer --fault status=503,later
    error: invalid value 'status=503,later' for '--fault <FAULT>': `later` is not an option of a status: write 503,retry-after=5

    For more information, try '--help'.
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_commands() {
    assert_snapshot!(report(&COMMANDS).await, @"
    $ token-rotator tokn
    error: unrecognized subcommand 'tokn'

      tip: a similar subcommand exists: 'token'

    Usage: token-rotator [OPTIONS] <COMMAND>

    For more information, try '--help'.

    $ token-rotator token --sesion work
    error: unexpected argument '--sesion' found

      tip: a similar argument exists: '--session'

    Usage: token-rotator token --session <NAME>

    For more information, try '--help'.

    $ token-rotator token --format yaml
    error: invalid value 'yaml' for '--format <FORMAT>'
      [possible values: raw, json, header, git-credential, exec-credential, dotenv]

    For more information, try '--help'.

    $ token-rotator exec
    error: the following required arguments were not provided:
      <COMMAND>...

    Usage: token-rotator exec <COMMAND>...

    For more information, try '--help'.

    $ token-rotator exec --fd 5 --env TOKEN -- true
    error: the argument '--fd <NUMBER>' cannot be used with '--env <NAME>'

    Usage: token-rotator exec --fd <NUMBER> <COMMAND>...

    For more information, try '--help'.

    $ token-rotator login --client-secret-env A --client-secret-file a
    error: the argument '--client-secret-env <NAME>' cannot be used with '--client-secret-file <FILE>'

    Usage: token-rotator login --client-secret-env <NAME>

    For more information, try '--help'.

    $ token-rotator issuer --fault status=99
    error: invalid value 'status=99' for '--fault <FAULT>': `99` is not a status: write one from 200 to 599

    For more information, try '--help'.

    $ token-rotator issuer --profile strict --leeway 3s
    error: `--leeway` is for `--profile leeway`; leave one of the two out

    Usage: token-rotator [OPTIONS] <COMMAND>

    For more information, try '--help'.

    $ token-rotator demo --port 9090
    error: the following required arguments were not provided:
      --web

    Usage: token-rotator demo --web --port <PORT>

    For more information, try '--help'.
    ");
}

/// An invalid variable is reported like the flag that it replaces.
#[tokio::test(flavor = "multi_thread")]
async fn invalid_variables() {
    let user = User::new().await;
    let mut report = String::new();
    for (name, value) in [
        ("TOKEN_ROTATOR_ISSUER", "issuer.example"),
        ("TOKEN_ROTATOR_GRANT", "password"),
        ("TOKEN_ROTATOR_STORE", "mysql://user:PASSWORD@db"),
    ] {
        let mut command = user.command(&["token"]);
        command.env(name, value);
        let output = user.output_of(command);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(!output.stderr.contains("PASSWORD"), "{output:?}");
        write!(
            report,
            "$ {name}={value} token-rotator token\n{}\n",
            output.stderr
        )
        .expect("text");
    }
    assert_snapshot!(report, @"
    $ TOKEN_ROTATOR_ISSUER=issuer.example token-rotator token
    error: invalid value 'issuer.example' for '--issuer <URL>': it is not the URL of a server; write it like https://issuer.example

    For more information, try '--help'.

    $ TOKEN_ROTATOR_GRANT=password token-rotator token
    error: invalid value 'password' for '--grant <GRANT>'
      [possible values: authorization-code, device, client-credentials, refresh-token]

    For more information, try '--help'.

    $ TOKEN_ROTATOR_STORE=mysql://user:PASSWORD@db token-rotator token
    error: invalid value 'mysql://...@db' for '--store <STORE>': there is no store for mysql://; write a directory, redis://, rediss:// or postgres://

    For more information, try '--help'.
    ");
}
