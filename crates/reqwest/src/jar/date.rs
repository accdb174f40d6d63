//! The date of a cookie (RFC 6265 section 5.1.1), which has more formats than an HTTP date.

use std::time::{Duration, SystemTime};

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// Parses a date. Returns `None` if the text is no date.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in text.split(is_delimiter).filter(|token| !token.is_empty()) {
        if time.is_none()
            && let Some(found) = clock(token)
        {
            time = Some(found);
        } else if day.is_none()
            && let Some(found) = number(token, 1, 2)
        {
            day = Some(found);
        } else if month.is_none()
            && let Some(found) = month_of(token)
        {
            month = Some(found);
        } else if year.is_none()
            && let Some(found) = number(token, 2, 4)
        {
            year = Some(found);
        }
    }
    let ((hour, minute, second), day, month) = (time?, day?, month?);
    let year = match year? {
        year @ 70..=99 => year + 1900,
        year @ 0..=69 => year + 2000,
        year => year,
    };
    if !(1..=days_of(month, year)).contains(&day)
        || year < 1601
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let days = days_since_1970(year, month, day);
    let seconds = days * 86_400 + i64::from(hour * 3600 + minute * 60 + second);
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

fn is_delimiter(c: char) -> bool {
    matches!(c, '\t' | ' '..='/' | ';'..='@' | '['..='`' | '{'..='~')
}

/// Parses a number of `least` to `most` digits at the start of the text.
fn number(token: &str, least: usize, most: usize) -> Option<u32> {
    let end = token.find(|c: char| !c.is_ascii_digit());
    let digits = &token[..end.unwrap_or(token.len())];
    if !(least..=most).contains(&digits.len()) {
        return None;
    }
    digits.parse().ok()
}

/// Parses `hours:minutes:seconds`.
fn clock(token: &str) -> Option<(u32, u32, u32)> {
    let mut parts = token.splitn(3, ':');
    let mut exact = || {
        let part = parts.next()?;
        part.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(part)
    };
    let (hour, minute) = (exact()?, exact()?);
    let second = parts.next()?;
    Some((
        number(hour, 1, 2)?,
        number(minute, 1, 2)?,
        number(second, 1, 2)?,
    ))
}

/// Returns the number of the month, from 1 to 12.
fn month_of(token: &str) -> Option<u32> {
    let start = token.get(..3)?;
    let at = MONTHS
        .iter()
        .position(|month| start.eq_ignore_ascii_case(month))?;
    u32::try_from(at + 1).ok()
}

fn days_of(month: u32, year: u32) -> u32 {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the days since 1970-01-01 in the Gregorian calendar, negative before 1970.
fn days_since_1970(year: u32, month: u32, day: u32) -> i64 {
    // The year is counted from March, so that the leap day is its last day.
    let year = i64::from(year) - i64::from(month <= 2);
    let month = i64::from((month + 9) % 12);
    let in_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + in_year - 719_468
}
