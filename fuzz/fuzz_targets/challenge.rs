//! `WWW-Authenticate`: no header makes the parser panic, and a second judgement equals the first.
#![no_main]

use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use libfuzzer_sys::fuzz_target;
use token_rotator::challenge::judge;

fuzz_target!(|lines: Vec<Vec<u8>>| {
    let mut headers = HeaderMap::new();
    for line in lines.iter().take(8) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    for status in [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::OK,
    ] {
        let judged = format!("{:?}", judge(status, &headers));
        assert_eq!(judged, format!("{:?}", judge(status, &headers)));
    }
});
