//! How an issuer is asked for a refresh token at a sign-in.

use crate::config::{SessionName, SessionSettings};

/// How an issuer is asked for a refresh token.
enum Ask {
    /// With this scope.
    Scope(&'static str),
    /// With these flags of `login`.
    Flags(&'static str),
}

/// Hosts of issuers, each with its way. A host with a dot first stands for all its subdomains.
const ISSUERS: [(&str, Ask); 18] = [
    (
        "accounts.google.com",
        Ask::Flags("--param access_type=offline --prompt consent"),
    ),
    (
        "oauth2.googleapis.com",
        Ask::Flags("--param access_type=offline --prompt consent"),
    ),
    (
        ".zoho.com",
        Ask::Flags("--param access_type=offline --prompt consent"),
    ),
    (
        ".dropbox.com",
        Ask::Flags("--param token_access_type=offline"),
    ),
    (
        ".dropboxapi.com",
        Ask::Flags("--param token_access_type=offline"),
    ),
    (".reddit.com", Ask::Flags("--param duration=permanent")),
    (".x.com", Ask::Scope("offline.access")),
    (".twitter.com", Ask::Scope("offline.access")),
    (".salesforce.com", Ask::Scope("refresh_token")),
    (".microsoftonline.com", Ask::Scope("offline_access")),
    (".microsoftonline.us", Ask::Scope("offline_access")),
    (".b2clogin.com", Ask::Scope("openid offline_access")),
    (".auth0.com", Ask::Scope("offline_access")),
    (".atlassian.com", Ask::Scope("offline_access")),
    (".okta.com", Ask::Scope("offline_access")),
    (".xero.com", Ask::Scope("offline_access")),
    (".feishu.cn", Ask::Scope("offline_access")),
    (".larksuite.com", Ask::Scope("offline_access")),
];

impl SessionSettings {
    /// Returns the hint for a session without a refresh token: the parameter for its issuer, if the
    /// program knows it.
    pub(crate) fn offline_hint(&self, name: &SessionName) -> String {
        let login = format!("sign in again with `token-rotator login --session {name}");
        let scope = self.scope.as_deref().unwrap_or_default();
        let has = |wanted: &str| {
            let mut names = wanted.split(' ');
            names.all(|wanted| scope.split(' ').any(|scope| scope == wanted))
        };
        let may_use_grant = "let the issuer allow this client the grant `refresh_token`";
        match self.way_to_ask() {
            Some(Ask::Flags(flags)) => format!("{login} {flags}`"),
            Some(Ask::Scope(wanted)) if has(wanted) => {
                format!("{may_use_grant}, then {login}`")
            }
            Some(Ask::Scope(wanted)) => {
                let scope = format!("{scope} {wanted}");
                format!("{login} --scope \"{}\"`", scope.trim())
            }
            None if has("offline_access") => format!("{may_use_grant}, then {login}`"),
            None => {
                let scope = format!("{scope} offline_access");
                format!(
                    "most issuers give one for the scope `offline_access`: {login} --scope \"{}\"`; \
                     some need another parameter, such as `--param access_type=offline`, or the grant \
                     `refresh_token` for this client",
                    scope.trim()
                )
            }
        }
    }

    fn way_to_ask(&self) -> Option<&'static Ask> {
        let urls = [
            &self.issuer,
            &self.authorization_endpoint,
            &self.device_authorization_endpoint,
            &self.token_endpoint,
        ];
        let hosts = urls.into_iter().flatten().filter_map(|url| {
            let uri: http::Uri = url.as_str().parse().ok()?;
            Some(uri.host()?.to_ascii_lowercase())
        });
        hosts.into_iter().find_map(|host| {
            let is_host = |known: &str| match known.strip_prefix('.') {
                Some(domain) => host == domain || host.ends_with(known),
                None => host == known,
            };
            let issuer = ISSUERS.iter().find(|(known, _)| is_host(known));
            issuer.map(|(_, ask)| ask)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: the hint names the parameter of this issuer, and keeps the scope of the session.
    #[test]
    fn each_issuer_has_its_parameter() {
        let hint = |issuer: &str, scope: Option<&str>| {
            let settings = SessionSettings {
                issuer: Some(issuer.parse().expect("a URL")),
                scope: scope.map(str::to_owned),
                ..SessionSettings::default()
            };
            settings.offline_hint(&"work".parse().expect("a name"))
        };
        let login = "sign in again with `token-rotator login --session work";
        for (issuer, scope, expected) in [
            (
                "https://accounts.google.com",
                Some("openid"),
                format!("{login} --param access_type=offline --prompt consent`"),
            ),
            (
                "https://login.microsoftonline.com/common/v2.0",
                Some("openid"),
                format!("{login} --scope \"openid offline_access\"`"),
            ),
            (
                "https://tenant.eu.auth0.com/",
                None,
                format!("{login} --scope \"offline_access\"`"),
            ),
            (
                "https://tenant.eu.auth0.com/",
                Some("offline_access read"),
                format!(
                    "let the issuer allow this client the grant `refresh_token`, then {login}`"
                ),
            ),
            (
                "https://www.dropbox.com",
                None,
                format!("{login} --param token_access_type=offline`"),
            ),
        ] {
            assert_eq!(hint(issuer, scope), expected);
        }
        let other = hint("https://notauth0.com", Some("read"));
        assert!(
            other.contains("--scope \"read offline_access\"`"),
            "{other}"
        );
    }
}
