//! Paths that name nothing, or nothing of the caller's, or are junk.

use http::Method;
use serde_json::json;

use super::is_refused;
use crate::support::{
    app::{ADMIN_TOKEN, TestApp},
    client::PASSWORD,
    raw,
};

#[tokio::test]
async fn a_session_that_is_not_ones_own_is_not_there() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.sign_up("alice").await, app.sign_up("bob").await);
    let (mine, theirs) = (alice.log_in_for_bearer().await, bob.log_in_for_bearer().await);
    let other = mine.end(&theirs.session()).await;
    let unknown = mine.end("3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88").await;
    for answer in [&other, &unknown] {
        is_refused(answer, 404, "not-found", "another's session, or nobody's");
    }
    assert_eq!(other.body, unknown.body, "whether there is such a session is not said");
    app.accepts(&theirs.access()).await;
}

#[tokio::test]
async fn junk_in_a_path_is_a_request_that_is_not_valid() {
    let app = TestApp::start().await;
    let device = app.sign_up("alice").await.log_in_for_bearer().await;
    let own = device.session();
    let bearer = format!("Bearer {}", device.access());
    let headers: [(&str, &[u8]); 1] = [("authorization", bearer.as_bytes())];
    let mut junk: Vec<String> =
        ["x", "0", "-1", "null", "*", "%00", "%ff", "%FF%FE", "%", "%2", "%zz", "%2e%2e%2f", ";"]
            .map(str::to_owned)
            .into();
    junk.extend([
        own.to_uppercase(),
        own.replace('-', ""),
        format!("%7B{own}%7D"),
        format!("{own}%20"),
        format!("{own}%00"),
        own[1..].to_owned(),
        "a".repeat(10_000),
        "%41".repeat(3000),
    ]);
    for id in junk {
        let request = raw::request(&format!("DELETE /v1/auth/sessions/{id}"), &headers, b"");
        let answer = raw::exchange(app.public(), &request).await.expect("an answer");
        is_refused(&answer, 400, "invalid-request", &id[..id.len().min(80)]);
    }
    for path in [
        "/v1/auth/sessions/a/b",
        "/v1/auth/sessions//",
        "/v1/auth/sessions/..",
        "//v1/auth/me",
        "/v1/auth/me%2f",
        "/v1/auth/%6d%65%00",
        "/V1/AUTH/ME",
        "/%ff",
        "/../../etc/passwd",
        "/v1/auth/sessions/%2e%2e/me",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let request = raw::request(&format!("{method} {path}"), &headers, b"");
            let answer = raw::exchange(app.public(), &request).await.expect("an answer");
            assert!([400, 404, 405].contains(&answer.status.as_u16()), "{method} {path}: {answer}");
            let kind = answer.problem().unwrap_or_else(|| panic!("{method} {path}: {answer}"));
            is_refused(&answer, answer.status.as_u16(), &kind, path);
        }
    }
    app.accepts(&device.access()).await;
}

#[tokio::test]
async fn a_path_that_no_server_should_read_is_cut_short() {
    let app = TestApp::start().await;
    for path in ["a".repeat(40_000), "a/".repeat(20_000), "%61".repeat(20_000), format!("?{}", "q=1&".repeat(20_000))] {
        let request = raw::request(&format!("GET /{path}"), &[], b"");
        let answer = raw::exchange(app.public(), &request).await;
        assert!(answer.is_none_or(|answer| [400, 404, 414, 431].contains(&answer.status.as_u16())));
    }
    for target in ["*", "http://elsewhere.example/v1/auth/me", "elsewhere.example:443", "", "v1/auth/me", "/ x"] {
        for method in ["GET", "OPTIONS", "CONNECT"] {
            let request = raw::request(&format!("{method} {target}"), &[], b"");
            let answer = raw::exchange(app.public(), &request).await;
            let is_refused = answer.as_ref().is_none_or(|answer| answer.status.is_client_error());
            assert!(is_refused, "{method} {target}: {}", answer.unwrap());
        }
    }
    app.get("/.well-known/jwks.json").await.expect(200);
}

#[tokio::test]
async fn a_command_that_cannot_be_done_says_why() {
    let app = TestApp::start().await;
    let add = |name: &str, password: &str, roles: &[&str]| json!({"command": "user_add", "username": name, "password": password, "roles": roles});
    let nobody = "3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88";
    let long = "x".repeat(10_000);
    let many: Vec<String> = (0..17).map(|n| format!("role-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let cases = [
        (json!({"command": "user_ban", "user": "nobody"}), 404, "no user"),
        (json!({"command": "user_ban", "user": nobody}), 404, "no user"),
        (json!({"command": "user_ban", "user": ""}), 404, "no user"),
        (json!({"command": "user_ban", "user": long}), 404, "no user"),
        (json!({"command": "user_unban", "user": nobody}), 404, "no user"),
        (json!({"command": "revoke_session", "session": nobody}), 404, "no session"),
        (json!({"command": "revoke_user", "user": "nobody"}), 404, "no user"),
        (json!({"command": "user_list", "after": "not a name"}), 422, "user name"),
        (add("bob", "short", &[]), 422, "at least 15 characters"),
        (add("", PASSWORD, &[]), 422, "user name"),
        (add("bob", PASSWORD, &["no role"]), 422, "cannot be a role"),
        (add("bob", PASSWORD, &many), 422, "at most 16 roles"),
        (add("alice", PASSWORD, &[]), 409, "taken"),
    ];
    app.sign_up("alice").await;
    for (command, status, why) in cases {
        let call = app.manage(Method::POST, "/v1/admin/commands").bearer(ADMIN_TOKEN).json(&command);
        let answer = call.await;
        assert_eq!(answer.status.as_u16(), status, "{command}: {answer}");
        assert!(answer.text().contains(why), "{command} is not answered with {why:?}: {answer}");
        assert!(!answer.text().contains(PASSWORD), "{answer}");
    }
}

#[tokio::test]
async fn a_command_that_nobody_knows_is_an_invalid_request() {
    let app = TestApp::start().await;
    let nobody = "3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88";
    let unknown = [
        json!({"command": "drop_tables"}),
        json!({"command": "revoke_everything", "really": true}),
        json!({"command": "revoke_token", "token": "not-an-id"}),
        json!({"command": "revoke_session", "session": nobody.to_uppercase()}),
        json!({}),
    ];
    for command in unknown {
        let call = app.manage(Method::POST, "/v1/admin/commands").bearer(ADMIN_TOKEN).json(&command);
        is_refused(&call.await, 400, "invalid-request", &command.to_string());
    }
}
