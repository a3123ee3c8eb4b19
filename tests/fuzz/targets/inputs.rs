//! Bodies, names, passwords, preferences.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts},
};
use http::{HeaderValue, Request, header};
use kickout::{
    http::{error::Kind, extract::Json, prefer::Prefer, state::Trust},
    passwords::{Input, MAX_CHARS, Password},
    revocation::Patience,
    users::Username,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::ready;

/// What requests carry, with any bytes.
///
/// A body is refused for its form before its members, and what is said about it does not depend on a value. A name that
/// is taken reads the same again, and holds nothing that could forge a line. A password is taken whole or not at all.
/// A preference never waits longer than the service lets anybody wait.
///
/// # Panics
/// If that does not hold.
pub fn check(data: &[u8]) -> bool {
    let is_body = body(data);
    preference(data);
    let Ok(text) = std::str::from_utf8(data) else { return false };
    password(text);
    name(text) || is_body
}

/// The shape of a login.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    username: String,
    password: Input,
    device: Option<String>,
}

fn read(data: &[u8]) -> Result<Login, (Kind, String)> {
    let request = Request::post("/").header(header::CONTENT_TYPE, "application/json").body(Body::from(data.to_vec()));
    let request = request.expect("a request");
    match ready(Json::<Login>::from_request(request, &())) {
        Ok(Json(login)) => Ok(login),
        Err(problem) => Err((problem.kind(), format!("{problem:?}"))),
    }
}

fn body(data: &[u8]) -> bool {
    let answer = read(data);
    let is_json = serde_json::from_slice::<IgnoredAny>(data).is_ok();
    assert_eq!(is_json, !matches!(answer, Err((Kind::InvalidJson, _))), "{answer:?}");
    let Ok(Value::Object(members)) = serde_json::from_slice(data) else {
        return answer.is_ok();
    };
    match &answer {
        Ok(login) => {
            assert_eq!(members["username"], login.username.as_str());
            assert_eq!(members.get("device").and_then(Value::as_str), login.device.as_deref());
            assert!(members["password"].is_string());
            assert_eq!(format!("{:?}", login.password), "Input(…)");
            assert!(members.keys().all(|name| ["username", "password", "device"].contains(&name.as_str())));
        }
        Err((kind, _)) => assert!(matches!(kind, Kind::InvalidRequest), "{answer:?}"),
    }
    // The same with other values of the same types. What `read` has refused for a repeated member is not said again.
    let again = |members: &serde_json::Map<String, Value>| read(Value::from(members.clone()).to_string().as_bytes());
    let mut others = members.clone();
    for value in others.values_mut() {
        match value {
            Value::String(text) => *text = format!("{text}, and more"),
            Value::Number(number) => {
                *number = if number.is_f64() { serde_json::Number::from_f64(0.5).expect("a number") } else { 77.into() }
            }
            Value::Bool(is_true) => *is_true = !*is_true,
            _ => {}
        }
    }
    assert_eq!(again(&members).err(), again(&others).err());
    answer.is_ok()
}

fn name(text: &str) -> bool {
    let Ok(name) = Username::parse(text) else { return false };
    assert_eq!((name.as_str(), name.to_string().as_str()), (text, text));
    assert!((1..=64).contains(&text.chars().count()));
    assert!(!text.chars().any(|char| char.is_control() || char.is_whitespace()), "{text:?}");
    assert_eq!(Username::parse(name.as_str()), Ok(name));
    true
}

fn password(text: &str) {
    let is_short = Password::from_input(text.to_owned()).is_ok();
    if text.is_ascii() {
        assert_eq!(is_short, text.len() <= MAX_CHARS);
    }
    assert!(!is_short || text.len() <= 8 * MAX_CHARS);
}

fn preference(data: &[u8]) {
    const LONGEST: Duration = Duration::from_secs(29);
    let trust = Trust { patience: LONGEST, ..Trust::default() };
    let (mut parts, ()) = Request::new(()).into_parts();
    for line in data.split(|&byte| byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            parts.headers.append("prefer", value);
        }
    }
    let Ok(prefer) = ready(Prefer::from_request_parts(&mut parts, &Arc::new(trust)));
    let Patience::AtMost(patience) = prefer.patience else { panic!("somebody may wait for ever") };
    assert!(patience <= LONGEST);
    // What was followed is said, in words of ours.
    let Some(applied) = prefer.applied else { return assert_eq!(patience, LONGEST) };
    let applied = applied.to_str().expect("plain text");
    let wait = applied.strip_prefix("respond-async").unwrap_or(applied).trim_start_matches(", ");
    let seconds = match wait.strip_prefix("wait=") {
        Some(seconds) => seconds.parse::<u32>().expect("seconds"),
        None => 0,
    };
    assert!(wait.is_empty() && applied == "respond-async" || wait == format!("wait={seconds}"), "{applied}");
    assert_eq!(patience, LONGEST.min(Duration::from_secs(seconds.into())));
}
