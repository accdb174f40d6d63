//! Names of issuers with many tenants: Microsoft Entra ID writes the placeholder `{tenantid}` into the
//! issuer of the metadata for `common`, `organizations` and `consumers`.

pub(super) const PLACEHOLDER: &str = "{tenantid}";

/// The authorities of many tenants.
const AUTHORITIES: [&str; 3] = ["common", "organizations", "consumers"];

/// The tenant of all personal accounts.
const PERSONAL: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// Returns whether the name has the placeholder.
pub(crate) fn is_template(name: &str) -> bool {
    name.contains(PLACEHOLDER)
}

/// Returns the tenant or authority that stands in `name` where `template` has the placeholder.
pub(super) fn between<'a>(template: &str, name: &'a str) -> Option<&'a str> {
    let (before, after) = template.split_once(PLACEHOLDER)?;
    let tenant = name.strip_prefix(before)?.strip_suffix(after)?;
    (!tenant.is_empty() && !tenant.contains('/')).then_some(tenant)
}

/// Returns the tenant in this issuer's name: a GUID in place of the placeholder.
pub(crate) fn of<'a>(template: &str, name: &'a str) -> Option<&'a str> {
    between(template, name).filter(|tenant| is_guid(tenant))
}

/// Returns whether the name asks for an authority of many tenants that the template describes.
pub(super) fn is_authority_of(template: &str, name: &str) -> bool {
    between(template, name).is_some_and(|authority| AUTHORITIES.contains(&authority))
}

/// Returns whether users of this tenant may sign in at this authority.
pub(crate) fn admits(authority: &str, tenant: &str) -> bool {
    match authority {
        "consumers" => tenant.eq_ignore_ascii_case(PERSONAL),
        "organizations" => !tenant.eq_ignore_ascii_case(PERSONAL),
        _ => true,
    }
}

fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_a_guid_in_place_of_the_placeholder() {
        let template = "https://login.example/{tenantid}/v2.0";
        let tenant = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let name = |tenant: &str| format!("https://login.example/{tenant}/v2.0");
        assert_eq!(of(template, &name(tenant)), Some(tenant));
        for other in [
            "common",
            "",
            "a/b",
            "0f8fad5b-d9cb-469f-a165-70867728950",
            "{tenantid}",
        ] {
            assert_eq!(of(template, &name(other)), None, "{other}");
        }
        assert_eq!(of(template, &format!("{}x", name(tenant))), None);
        assert_eq!(of("https://login.example/v2.0", &name(tenant)), None);
        for authority in AUTHORITIES {
            assert!(is_authority_of(template, &name(authority)));
        }
        assert!(!is_authority_of(template, &name(tenant)));
        assert!(!is_authority_of(
            template,
            "https://other.example/common/v2.0"
        ));
        assert!(admits("common", tenant) && admits("common", PERSONAL));
        assert!(admits("organizations", tenant) && !admits("organizations", PERSONAL));
        assert!(!admits("consumers", tenant) && admits("consumers", PERSONAL));
    }
}
