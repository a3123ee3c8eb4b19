//! The README's tour works as it is printed.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::support::{
    answer::Receipt,
    client::text,
    operator::{KICKOUT, outcome},
    process::Process,
};

/// All shell blocks of one section of the README, in order.
fn blocks(section: &str) -> Vec<String> {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("\n## {section}\n")).expect("the section is there");
    let text = rest.split("\n## ").next().unwrap_or_default();
    let blocks = text.split("```sh\n").skip(1);
    blocks.map(|block| block.split_once("\n```").expect("a block ends").0.to_owned()).collect()
}

/// Where the tour says that something is, and where it is in this test.
fn moved(script: &str, process: &Process) -> String {
    let places = [
        ("http://localhost:8080", format!("http://localhost:{}", process.public().port())),
        ("http://localhost:9100", format!("http://localhost:{}", process.management().port())),
        ("cargo run --release --", KICKOUT.to_owned()),
    ];
    places.into_iter().fold(script.to_owned(), |script, (printed, here)| {
        assert!(script.contains(printed), "the tour has no {printed} any more");
        script.replace(printed, &here)
    })
}

fn is_ended(line: &str) {
    let problem: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(problem["type"], "urn:kickout:problem:session-ended", "{line}");
    assert_eq!(problem["status"], 401, "{line}");
}

#[tokio::test]
async fn the_tour_of_the_readme_works_as_it_is_printed() {
    let mut process = Process::start(&[]).await;
    let script = moved(&blocks("A tour").join("\n"), &process);
    let desk = tempfile::tempdir().unwrap();
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &script]).current_dir(desk.path()).env_clear();
    shell.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("KICKOUT__DATA_DIR", process.data());
    let toured = outcome(shell).await.expect(0);

    let mut lines = toured.stdout.lines();
    let mut next = || lines.next().unwrap_or_else(|| panic!("there is no more: {toured}"));
    let mut read = || serde_json::from_str::<Value>(next()).unwrap_or_else(|error| panic!("{error}: {toured}"));
    let account = read();
    let subject = text(&account["subject"]);
    assert_eq!(account, json!({"subject": subject, "username": "ada", "roles": []}), "signup");
    let login = read();
    assert_eq!(login["subject"], *subject, "login");
    assert!(login["csrf_token"].is_string() && login["access_token"].is_null(), "the tokens are in cookies: {login}");
    let me = read();
    assert_eq!((&me["username"], &me["session"]), (&json!("ada"), &login["session"]), "me");
    let renewed = read();
    assert_eq!((&renewed["session"], &renewed["expires_in"]), (&login["session"], &json!(900)), "refresh");
    let devices = read();
    let devices = devices["sessions"].as_array().expect("a list").clone();
    let is_named = |device: &&Value| device["device"] == "laptop" && device["current"] == true;
    assert_eq!((devices.len(), devices.iter().filter(is_named).count()), (2, 1), "two devices: {devices:?}");
    let receipt: Receipt = serde_json::from_value(read()).expect("a receipt");
    assert!(receipt.complete && !receipt.already, "{receipt:?}");
    assert_eq!((receipt.revoked.kind.as_str(), receipt.revoked.id.as_deref()), ("subject", Some(&*subject)));
    is_ended(next());
    is_ended(next());
    let ban: Receipt = serde_json::from_str(next()).expect("a receipt");
    assert!(ban.complete && ban.seq > receipt.seq, "{ban:?}");
    assert_eq!(ban.revoked.id.as_deref(), Some(&*subject));
    let user = next();
    assert!(user.starts_with(&subject) && user.contains("banned since ") && user.ends_with("  ada"), "{user}");
    let metrics: Vec<_> = lines.collect();
    assert!(metrics.iter().all(|line| line.starts_with("kickout_checks_total{")), "{metrics:?}");
    let revoked = |line: &&&str| line.contains(r#"verdict="revoked""#) && line.contains(r#"cause="subject""#);
    assert!(metrics.iter().any(|line| revoked(&line)), "{metrics:?}");

    // "also after a restart": the last two requests once more.
    process.interrupt();
    process.ended().await;
    let process = process.restart().await;
    let jar = fs::read_to_string(desk.path().join("ada.cookies")).unwrap();
    let cookie = jar.lines().find_map(|line| line.split_once("__Host-kickout-access\t")).expect("a cookie").1;
    process.refuses(cookie).await;
}

/// What the README says before the tour: one command, no configuration, and where things are then.
#[tokio::test]
async fn the_readme_names_the_ports_and_the_folder_that_the_defaults_have() {
    let run_it = blocks("Run it");
    assert_eq!(run_it, ["cargo run --release"]);
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let default = kickout::config::Config::default();
    assert_eq!(default.data_dir, std::path::Path::new("./data"));
    let ports = [default.http.listen, default.management.listen].map(|address| address.port());
    for said in ["`./data`".to_owned(), format!("`http://localhost:{}`", ports[0]), format!("localhost:{}`", ports[1])]
    {
        assert!(readme.contains(&said), "{said}");
    }
}
