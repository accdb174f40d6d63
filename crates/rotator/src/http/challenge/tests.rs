use http::HeaderValue;

use super::*;

mod judging;
mod properties;
mod reading;

const SCOPE: Verdict = Verdict::NotAboutToken {
    error: BearerError::InsufficientScope,
};

fn headers(fields: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in fields {
        headers.append(
            WWW_AUTHENTICATE,
            HeaderValue::from_bytes(field.as_bytes()).expect(field),
        );
    }
    headers
}

fn judged(fields: &[&str]) -> Verdict {
    judge(StatusCode::UNAUTHORIZED, &headers(fields))
}

fn challenge(scheme: &str, token68: Option<&str>, params: &[(&str, &str)]) -> Challenge {
    Challenge {
        scheme: scheme.into(),
        token68: token68.map(Into::into),
        params: params
            .iter()
            .map(|&(name, value)| (name.into(), value.into()))
            .collect(),
    }
}
