//! `Cookie` and `Authorization` headers.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use kickout::{
    cookies::{Cookies, Found, find, values},
    http::extract::{Credential, find_cookie, refresh_cookies},
};

/// Cookies, with any headers (a line each). What is found is there, once, as another reader finds it; what can be set
/// comes back as it was.
///
/// # Panics
/// If that does not hold.
pub fn check(data: &[u8]) -> bool {
    let lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    let cookies = Cookies::new(cookie::SameSite::Lax, None);
    let mut is_one = false;
    for name in [cookies.access_name(), cookies.refresh_name(), "a"] {
        let expected = occurrences(&lines, name);
        let found = find(lines.iter().copied(), name);
        assert_eq!(found, as_found(&expected), "{name} {}", String::from_utf8_lossy(data));
        assert_eq!(values(lines.iter().copied(), name).collect::<Vec<_>>(), expected);
        is_one |= matches!(found, Found::One(_));
    }
    credentials(&lines, &cookies);
    comes_back(data, &cookies);
    is_one
}

/// The same through a request's headers, and with an `Authorization` header beside them: the last line.
fn credentials(lines: &[&[u8]], cookies: &Cookies) {
    let mut headers = HeaderMap::new();
    let mut kept = Vec::new();
    for line in lines {
        let Ok(value) = HeaderValue::from_bytes(line) else { continue };
        headers.append(header::COOKIE, value);
        kept.push(*line);
    }
    let access = occurrences(&kept, cookies.access_name());
    assert_eq!(find_cookie(&headers, cookies.access_name()), as_found(&access));
    assert_eq!(refresh_cookies(&headers, cookies), occurrences(&kept, cookies.refresh_name()));
    assert_eq!(Credential::find(&headers, cookies).is_err(), access.len() > 1);

    if let Some(Ok(value)) = lines.last().map(|line| HeaderValue::from_bytes(line)) {
        headers.append(header::AUTHORIZATION, value);
    }
    let bearer = Credential::bearer(&headers);
    if let Ok(Credential::Bearer(token)) = &bearer {
        let text = headers[header::AUTHORIZATION].to_str().expect("a token is text");
        assert!(text.len() > token.len() && text[..7].eq_ignore_ascii_case("bearer "), "{text}");
        assert!(!token.is_empty() && !token.contains(' ') && text[6..].trim() == *token, "{text}");
    }
    match Credential::find(&headers, cookies) {
        Ok(Credential::Cookie(token)) => assert!(access == [token] && matches!(bearer, Ok(Credential::Absent))),
        Ok(Credential::Bearer(_)) => assert!(access.is_empty() && matches!(bearer, Ok(Credential::Bearer(_)))),
        Ok(Credential::Absent) => assert!(access.is_empty() && matches!(bearer, Ok(Credential::Absent))),
        Err(_) => assert!(access.len() > 1 || !matches!(bearer, Ok(Credential::Absent))),
    }
    headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer another"));
    assert!(headers.get_all(header::AUTHORIZATION).iter().count() == 1 || Credential::bearer(&headers).is_err());
}

/// What `Set-Cookie` gives a browser, the browser gives back: with others around it, and also twice.
fn comes_back(data: &[u8], cookies: &Cookies) {
    // RFC 6265 §4.1.1: what the value of a cookie is made of.
    let is_octet = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    let Ok(value) = std::str::from_utf8(data) else { return };
    if !data.iter().all(is_octet) {
        return;
    }
    let life = Duration::from_mins(15);
    let (access, refresh) = (cookies.access(value, life), cookies.refresh(value, life));
    let pair = |cookie: &str| cookie.split("; ").next().unwrap_or_default().to_owned();
    let both = format!("theme=dark; {}; {}; lang=en", pair(&access), pair(&refresh));
    for name in [cookies.access_name(), cookies.refresh_name()] {
        assert_eq!(find([both.as_bytes()].into_iter(), name), Found::One(value));
        assert_eq!(find([both.as_bytes(), both.as_bytes()].into_iter(), name), Found::Several);
    }
}

fn as_found<'a>(values: &[&'a str]) -> Found<'a> {
    match values {
        [] => Found::Absent,
        [value] => Found::One(value),
        _ => Found::Several,
    }
}

/// All values of a cookie, read byte by byte.
fn occurrences<'a>(headers: &[&'a [u8]], name: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for header in headers {
        let mut at = 0;
        while at <= header.len() {
            let end = (at..header.len()).find(|&i| header[i] == b';').unwrap_or(header.len());
            let (mut first, mut last) = (at, end);
            while first < last && header[first].is_ascii_whitespace() {
                first += 1;
            }
            while last > first && header[last - 1].is_ascii_whitespace() {
                last -= 1;
            }
            let pair = &header[first..last];
            if pair.len() > name.len() && pair[..name.len()] == *name.as_bytes() && pair[name.len()] == b'=' {
                // A value that is not text is there, and is none of ours.
                found.push(std::str::from_utf8(&pair[name.len() + 1..]).unwrap_or(""));
            }
            at = end + 1;
        }
    }
    found
}
