//! Bodies that are no JSON, or not the JSON that was asked for, or too much of it.

use serde_json::{Value, json};

use super::{SECRET, is_refused};
use crate::support::{
    answer::Answer,
    app::{ADMIN_TOKEN, TestApp},
    client::{Device, NEW_PASSWORD, PASSWORD},
    logs, raw,
};

/// The default of `http.body_limit`.
const LIMIT: usize = 16_384;

/// An endpoint that takes a body, as one who may use it sees it.
struct Endpoint {
    path: &'static str,
    /// A body that it takes, with every member.
    good: Value,
    /// Members that may be left out.
    optional: &'static [&'static str],
    /// Whether the whole body may be left out.
    is_optional: bool,
    is_management: bool,
}

fn endpoints() -> Vec<Endpoint> {
    let required = |path, good, optional| Endpoint { path, good, optional, is_optional: false, is_management: false };
    let free = |path, good, optional| Endpoint { is_optional: true, ..required(path, good, optional) };
    vec![
        required("/v1/auth/signup", json!({"username": "mallory", "password": SECRET}), &[]),
        required(
            "/v1/auth/login",
            json!({"username": "mallory", "password": SECRET, "device": "d", "delivery": "body"}),
            &["device", "delivery"],
        ),
        required("/v1/auth/password", json!({"current": SECRET, "new": SECRET}), &[]),
        free("/v1/auth/logout-all", json!({"keep_current": true}), &["keep_current"]),
        free("/v1/auth/logout", json!({"refresh_token": SECRET}), &["refresh_token"]),
        Endpoint {
            is_management: true,
            ..required(
                "/v1/admin/commands",
                json!({"command": "user_add", "username": "m", "password": SECRET, "roles": ["r"]}),
                &[],
            )
        },
    ]
}

struct Bench {
    app: TestApp,
    device: Device,
}

impl Bench {
    async fn start() -> Self {
        let app = TestApp::start().await;
        let device = app.sign_up("alice").await.log_in_for_bearer().await;
        Self { app, device }
    }

    /// Sends a body as somebody who may, with these headers instead of a content type and a length.
    async fn send_with(&self, endpoint: &Endpoint, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let token = if endpoint.is_management { ADMIN_TOKEN.to_owned() } else { self.device.access() };
        let address = if endpoint.is_management { self.app.management() } else { self.app.public() };
        let bearer = format!("Bearer {token}");
        let mut all: Vec<(&str, &[u8])> = vec![("authorization", bearer.as_bytes())];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        let request = raw::request(&format!("POST {}", endpoint.path), &all, body);
        raw::exchange(address, &request).await.expect("an answer")
    }

    async fn send(&self, endpoint: &Endpoint, body: &[u8]) -> Answer {
        let length = body.len().to_string();
        self.send_with(endpoint, &[("content-type", "application/json"), ("content-length", &length)], body).await
    }

    /// Nothing that was sent has changed anything.
    async fn assert_untouched(&self) {
        self.app.accepts(&self.device.access()).await;
        let signup = json!({"username": "mallory", "password": PASSWORD});
        self.app.post("/v1/auth/signup").json(&signup).await.expect(201);
    }
}

fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().take(100).collect()
}

#[tokio::test]
async fn a_body_that_is_not_json_is_invalid_json() {
    let bench = Bench::start().await;
    for endpoint in endpoints() {
        let good = endpoint.good.to_string();
        let deep = |open: &str, close: &str| {
            format!(
                "{{\"username\":{}\"{SECRET}\"{}}}",
                open.repeat(5000 / open.len()),
                close.repeat(5000 / open.len())
            )
        };
        let mut bodies: Vec<Vec<u8>> = [
            " ",
            "{",
            "}",
            "nul",
            "{\"",
            "{'username': 'x'}",
            "{username: 1}",
            "NaN",
            "\u{feff}{}",
            "/* comment */ {}",
            "username=alice&password=swordfish-that-nobody-should-see",
            "<login/>",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into();
        bodies.extend([
            good.as_bytes()[..good.len() - 1].to_vec(),
            format!("{good}x").into_bytes(),
            format!("{good}{good}").into_bytes(),
            format!("{good},").into_bytes(),
            format!("{good}\0").into_bytes(),
            format!("{good}{}", deep("[", "]")).into_bytes(),
            [good.as_bytes(), b"\xff"].concat(),
            vec![0xff; 100],
            vec![0; 100],
        ]);
        if !endpoint.is_optional {
            bodies.push(Vec::new());
        }
        for body in bodies {
            let answer = bench.send(&endpoint, &body).await;
            is_refused(&answer, 400, "invalid-json", &format!("{} {:?}", endpoint.path, shown(&body)));
        }
        for text in [deep("[", "]"), deep("{\"a\":", "}")] {
            let answer = bench.send(&endpoint, text.as_bytes()).await;
            let problem = answer.problem().unwrap_or_default();
            assert!(["invalid-json", "invalid-request"].contains(&problem.as_str()), "{}: {answer}", endpoint.path);
            is_refused(&answer, 400, &problem, endpoint.path);
        }
        for name in endpoint.good.as_object().unwrap().keys() {
            // A string that is not UTF-8, and half a surrogate pair.
            for bad in [&b"\"\xc3\x28\""[..], b"\"\xed\xa0\x80\"", b"\"\\ud800\"", b"\"\n\""] {
                let body = [b"{\"", name.as_bytes(), b"\":", bad, b"}"].concat();
                let answer = bench.send(&endpoint, &body).await;
                let what = format!("{} {:?}", endpoint.path, shown(&body));
                let problem = answer.problem().unwrap_or_default();
                assert!(["invalid-json", "invalid-request"].contains(&problem.as_str()), "{what}: {answer}");
                is_refused(&answer, 400, &problem, &what);
            }
        }
    }
    bench.assert_untouched().await;
}

#[tokio::test]
async fn json_that_was_not_asked_for_is_an_invalid_request() {
    let bench = Bench::start().await;
    for endpoint in endpoints() {
        let path = endpoint.path;
        let good = endpoint.good.as_object().unwrap().clone();
        let mut bodies: Vec<String> = ["null", "true", "0", "1.5", "\"text\""].into_iter().map(str::to_owned).collect();
        let with = |name: &str, value: Value| {
            let mut body = good.clone();
            body.insert(name.to_owned(), value);
            Value::Object(body).to_string()
        };
        bodies.push(with("unknown", json!(SECRET)));
        bodies.push(with("", json!(1)));
        bodies.push(with("Username", json!("alice")));
        for (name, value) in &good {
            if !endpoint.optional.contains(&name.as_str()) {
                let mut body = good.clone();
                body.remove(name);
                bodies.push(Value::Object(body).to_string());
                bodies.push(with(name, Value::Null));
            }
            let wrong = [json!(17), json!(-1.5e300), json!(true), json!("text"), json!([SECRET]), json!({"a": SECRET})];
            let is_same = |other: &Value| std::mem::discriminant(other) == std::mem::discriminant(value);
            if name != "delivery" {
                bodies.extend(wrong.into_iter().filter(|wrong| !is_same(wrong)).map(|wrong| with(name, wrong)));
            }
            // The same member twice, also when it is spelled in two ways.
            let rest = &endpoint.good.to_string()[1..];
            bodies.push(format!("{{\"{name}\":{value},{rest}"));
            let (first, others) = name.split_at(1);
            bodies.push(format!("{{\"\\u{:04x}{others}\":{value},{rest}", u32::from(first.as_bytes()[0])));
        }
        for body in bodies {
            let answer = bench.send(&endpoint, body.as_bytes()).await;
            is_refused(&answer, 400, "invalid-request", &format!("{path} {}", shown(body.as_bytes())));
        }
    }
    bench.assert_untouched().await;
}

#[tokio::test]
async fn a_choice_of_a_wrong_type_is_an_invalid_request_and_still_json() {
    let bench = Bench::start().await;
    for wrong in [json!(17), json!(true), json!(null), json!([SECRET]), json!([]), json!({"body": SECRET}), json!({})] {
        let body = json!({"username": "mallory", "password": SECRET, "delivery": wrong});
        let answer = bench.app.post("/v1/auth/login").json(&body).await;
        is_refused(&answer, 400, "invalid-request", &wrong.to_string());
    }
}

#[tokio::test]
async fn a_list_is_not_taken_for_an_object() {
    let bench = Bench::start().await;
    for endpoint in endpoints() {
        let values: Vec<&Value> = endpoint.good.as_object().unwrap().values().collect();
        let mut lists = vec!["[]".to_owned(), json!(values).to_string()];
        lists.push(match endpoint.path {
            "/v1/auth/signup" => json!(["mallory", SECRET]).to_string(),
            "/v1/auth/login" => json!(["alice", PASSWORD, null, "body"]).to_string(),
            "/v1/auth/password" => json!([PASSWORD, NEW_PASSWORD]).to_string(),
            _ => json!([[]]).to_string(),
        });
        for list in lists {
            let answer = bench.send(&endpoint, list.as_bytes()).await;
            is_refused(&answer, 400, "invalid-request", &format!("{} {list}", endpoint.path));
        }
    }
    bench.assert_untouched().await;
}

#[tokio::test]
async fn values_out_of_range_are_refused_with_a_reason() {
    let bench = Bench::start().await;
    let app = &bench.app;
    let signup = |username: &str, password: &str| json!({"username": username, "password": password});
    let cases = [
        (signup("", PASSWORD), 422, "username-invalid"),
        (signup(&"a".repeat(65), PASSWORD), 422, "username-invalid"),
        (signup(&"a".repeat(10_000), PASSWORD), 422, "username-invalid"),
        (signup("with space", PASSWORD), 422, "username-invalid"),
        (signup("line\nbreak", PASSWORD), 422, "username-invalid"),
        (signup("nul\0", PASSWORD), 422, "username-invalid"),
        (signup("\u{202e}ecila", PASSWORD), 422, "username-invalid"),
        (signup("mallory", ""), 422, "password-unacceptable"),
        (signup("mallory", "short"), 422, "password-unacceptable"),
        (signup("mallory", &"x y".repeat(100)), 422, "password-unacceptable"),
        (signup("mallory", &"x".repeat(15_000)), 422, "password-unacceptable"),
    ];
    for (body, status, kind) in cases {
        let answer = app.post("/v1/auth/signup").json(&body).await;
        is_refused(&answer, status, kind, &shown(body.to_string().as_bytes()));
    }
    for (username, password) in [("", ""), ("alice", ""), ("alice", &*"x".repeat(10_000)), ("a b", "x"), ("\0", "\0")] {
        let answer = app.post("/v1/auth/login").json(&signup(username, password)).await;
        is_refused(&answer, 401, "credentials-invalid", username);
    }
    for (member, value) in [("device", json!("d".repeat(101))), ("delivery", json!(SECRET)), ("delivery", json!(""))] {
        let mut body = signup("alice", PASSWORD);
        body[member] = value;
        let answer = app.post("/v1/auth/login").json(&body).await;
        is_refused(&answer, 400, "invalid-request", member);
    }
    bench.assert_untouched().await;
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let bench = Bench::start().await;
    for endpoint in endpoints() {
        let body = endpoint.good.to_string();
        let length = body.len().to_string();
        let kinds = [
            None,
            Some(""),
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data; boundary=x"),
            Some("application/jsonp"),
            Some("application/json-seq"),
            Some("application/problem+json"),
            Some("text/plain; application/json"),
            Some("json"),
            Some("*/*"),
        ];
        for kind in kinds {
            let mut headers = vec![("content-length", length.as_str())];
            headers.extend(kind.map(|kind| ("content-type", kind)));
            let answer = bench.send_with(&endpoint, &headers, body.as_bytes()).await;
            is_refused(&answer, 415, "unsupported-media-type", &format!("{} {kind:?}", endpoint.path));
        }
        for kind in ["application/json; charset=utf-8", "Application/JSON", "application/json;x=y"] {
            let headers = [("content-type", kind), ("content-length", "1")];
            let answer = bench.send_with(&endpoint, &headers, b"{").await;
            is_refused(&answer, 400, "invalid-json", &format!("{} {kind}", endpoint.path));
        }
    }
    bench.assert_untouched().await;
}

#[tokio::test]
async fn a_body_has_a_limit_however_it_is_sent() {
    let bench = Bench::start().await;
    for endpoint in endpoints() {
        // An operator's bulk revocation has 100 000 ids.
        let limit = if endpoint.path == "/v1/admin/commands" { 4 << 20 } else { LIMIT };
        for (size, status, kind) in [(limit, 400, "invalid-json"), (limit + 1, 413, "body-too-large")] {
            let what = format!("{} {size}", endpoint.path);
            let mut body = b"{".to_vec();
            body.resize(size, b' ');
            is_refused(&bench.send(&endpoint, &body).await, status, kind, &what);

            let headers = [("content-type", "application/json"), ("transfer-encoding", "chunked")];
            let chunks: Vec<u8> = body.chunks(1000).flat_map(chunk).chain(*b"0\r\n\r\n").collect();
            let answer = bench.send_with(&endpoint, &headers, &chunks).await;
            is_refused(&answer, status, kind, &format!("{what} in chunks"));
        }
        // Said to be large, and never sent.
        let headers = [("content-type", "application/json"), ("content-length", "1000000000000")];
        let answer = bench.send_with(&endpoint, &headers, b"{").await;
        is_refused(&answer, 413, "body-too-large", endpoint.path);
    }
    bench.assert_untouched().await;
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[tokio::test]
async fn a_request_that_breaks_off_or_contradicts_itself_is_not_done() {
    let bench = Bench::start().await;
    let bearer = format!("authorization: Bearer {}\r\n", bench.device.access());
    let host = "host: kickout.test\r\ncontent-type: application/json\r\n";
    for path in ["/v1/auth/logout", "/v1/auth/logout-all", "/v1/auth/signup", "/v1/auth/login", "/v1/auth/password"] {
        let start = format!("POST {path} HTTP/1.1\r\n{host}{bearer}");
        for rest in [
            "content-length: 100\r\n\r\n{}",
            "content-length: -1\r\n\r\n",
            "content-length: two\r\n\r\n{}",
            "content-length: 2\r\ncontent-length: 3\r\n\r\n{}x",
            "transfer-encoding: chunked\r\n\r\n5\r\n{}",
            "transfer-encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
            "transfer-encoding: gzip\r\n\r\n{}",
            "no colon\r\n\r\n",
            "",
        ] {
            if let Some(answer) = raw::cut_off(bench.app.public(), format!("{start}{rest}").as_bytes()).await {
                assert!(answer.status.is_client_error(), "{path} {rest:?}: {answer}");
            }
        }
    }
    for line in ["", "\r\n\r\n", "GET", "GET /v1/auth/me", "GET /v1/auth/me HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\0\x01"]
    {
        if let Some(answer) = raw::cut_off(bench.app.public(), line.as_bytes()).await {
            assert!(answer.status.is_client_error(), "{line:?}: {answer}");
        }
    }
    bench.assert_untouched().await;
}

#[tokio::test]
async fn bad_bodies_leave_nothing_in_the_log_but_that_they_were_answered() {
    let logs = logs::capture();
    let bench = Bench::start().await;
    for endpoint in endpoints() {
        for body in [
            format!("{{\"password\": {SECRET}"),
            format!("{{\"password\": [\"{SECRET}\"]}}"),
            format!("{{\"{SECRET}\": 1}}"),
            format!("\"{SECRET}\""),
        ] {
            let answer = bench.send(&endpoint, body.as_bytes()).await;
            assert_eq!(answer.status, 400, "{answer}");
        }
    }
    bench.assert_untouched().await;
    let text = logs.text();
    assert!(!text.contains(SECRET), "{:#?}", logs.lines_with(SECRET));
    for word in ["panicked", "could not be answered"] {
        assert!(logs.lines_with(word).is_empty(), "{:#?}", logs.lines_with(word));
    }
}
