//! Signing keys: each algorithm signs what others can verify, a rotation refuses nobody, and a key that was taken back is
//! good nowhere, for good.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use http::Method;
use kickout::{
    admin::Command,
    app::App,
    clock::{Clock, ManualClock, Timestamp},
    config::{Algorithm, Config, Span},
    ids::KeyId,
    instance::DataFolder,
    keystore::{self, Keys},
    tokens::keys::{self, KeySettings},
    vault::Vault,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    answer::Receipt,
    app::TestApp,
    client::{Net, User, text},
    cluster::{Cluster, Plan, Watch},
    ledger::ledger_at,
    operator::{Desk, run},
    postgres::{self, Server},
    process::Process,
    wait::{all, eventually},
};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const ALGORITHMS: [Algorithm; 4] = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256, Algorithm::HS256];

/// When the clocks of a test begin, in milliseconds since 1970.
const START_MS: i64 = 1_700_000_000_000;

/// The first part of a token.
fn header(token: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap()
}

fn kid(token: &str) -> String {
    text(&header(token)["kid"])
}

async fn jwks(net: &Net) -> Vec<Value> {
    net.get("/.well-known/jwks.json").await.expect(200).json()["keys"].as_array().unwrap().clone()
}

/// The ids of the keys that are published.
async fn published(net: &Net) -> Vec<String> {
    jwks(net).await.iter().map(|key| text(&key["kid"])).collect()
}

/// Whether somebody else's library takes a token by the published keys.
async fn verifies_elsewhere(net: &Net, token: &str, algorithm: jsonwebtoken::Algorithm) -> bool {
    let set = json!({ "keys": jwks(net).await });
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(set).unwrap();
    let Some(jwk) = set.find(&kid(token)) else { return false };
    let mut rules = jsonwebtoken::Validation::new(algorithm);
    rules.set_issuer(&["kickout"]);
    rules.set_audience(&["kickout"]);
    let key = jsonwebtoken::DecodingKey::from_jwk(jwk).unwrap();
    jsonwebtoken::decode::<Value>(token, &key, &rules).is_ok()
}

async fn listed(app: &TestApp) -> Vec<keys::KeyInfo> {
    match app.admin().run(Command::KeysList {}).await.unwrap() {
        kickout::admin::Answer::Keys(keys) => keys,
        other => panic!("{other:?}"),
    }
}

fn is_retired(receipt: &Receipt, kid: &str, already: bool) {
    assert_eq!((receipt.revoked.kind.as_str(), receipt.revoked.id.as_deref()), ("key", Some(kid)), "{receipt:?}");
    assert!(receipt.complete && receipt.already == already && receipt.seq > 0, "{receipt:?}");
}

/// All that is written in a folder, and below it.
fn contents(folder: &Path) -> Vec<u8> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.extend(if path.is_dir() { contents(&path) } else { fs::read(&path).unwrap() });
    }
    found
}

#[tokio::test]
async fn each_algorithm_signs_tokens_that_are_good_here_and_by_the_published_keys_elsewhere() {
    for algorithm in ALGORITHMS {
        let app = TestApp::start_with(|config| config.tokens.algorithm = algorithm).await;
        let device = app.sign_up("alice").await.log_in().await;
        let token = device.access();
        app.accepts(&token).await;
        assert_eq!(header(&token)["alg"], json!(algorithm));
        assert!(token.len() < 4096 - 100, "it fits into a cookie: {}", token.len());
        let name = match algorithm {
            Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::HS256 => {
                assert_eq!(jwks(&app).await, Vec::<Value>::new(), "a secret is in no list");
                continue;
            }
        };
        assert!(verifies_elsewhere(&app, &token, name).await, "{algorithm:?}");
        let private = ["d", "p", "q", "dp", "dq", "qi", "k"];
        assert!(jwks(&app).await.iter().all(|key| private.iter().all(|member| key[member].is_null())));
        device.log_out().await;
        app.refuses(&token).await;
    }
}

#[tokio::test]
async fn another_algorithm_takes_over_after_its_lead_and_nobody_is_refused() {
    let clock = ManualClock::at(START_MS);
    let mut app = TestApp::start_at(Clock::Manual(Arc::clone(&clock)), |config| {
        config.tokens.key_lead = Span::from_mins(10);
    })
    .await;
    let alice = app.sign_up("alice").await;
    let old = alice.log_in().await.access();
    app.restart_with(|config| config.tokens.algorithm = Algorithm::ES256).await;
    eventually!(published(&app).await.len() == 2);
    app.accepts(&old).await;
    let before = alice.log_in().await.access();
    assert_eq!(header(&before)["alg"], "EdDSA", "it is published, and does not sign yet");
    clock.advance(Duration::from_mins(10));
    let after = alice.log_in().await.access();
    assert_eq!(header(&after)["alg"], "ES256");
    for token in [&old, &before, &after] {
        assert!(app.is_good(token).await);
    }
    // No third one: what is configured signs.
    app.restart_with(|_| {}).await;
    assert_eq!(listed(&app).await.len(), 2);
}

#[tokio::test]
async fn a_key_is_replaced_in_time_by_one_that_was_published_before_and_retires_when_its_last_token_is_dead() {
    let clock = ManualClock::at(START_MS);
    let app = TestApp::start_at(Clock::Manual(Arc::clone(&clock)), |config| {
        config.tokens.key_rotation = Span::from_days(30);
        config.sessions.idle = Span::from_days(90);
    })
    .await;
    let alice = app.sign_up("alice").await;
    let first = published(&app).await;
    let lead = Duration::from_mins(10);
    clock.advance(Duration::from_mins(30 * 24 * 60 - 10));
    eventually!(published(&app).await.len() == 2);
    let last = alice.log_in().await.access();
    assert_eq!([kid(&last)].as_slice(), first, "the old one still signs");
    let metrics = app.manage(Method::GET, "/metrics").await.text();
    for line in
        ["kickout_keys_generated_total 1", r#"kickout_keys{state="published"} 1"#, r#"kickout_keys{state="signing"} 1"#]
    {
        eventually!(app.manage(Method::GET, "/metrics").await.text().contains(line));
    }
    assert!(metrics.contains("kickout_signing_key_age_seconds"), "{metrics}");

    clock.advance(lead);
    let new = alice.log_in().await.access();
    assert!(!first.contains(&kid(&new)));
    assert!(app.is_good(&last).await && app.is_good(&new).await);
    let states = async || listed(&app).await.into_iter().map(|key| key.state).collect::<Vec<_>>();
    assert_eq!(states().await, [keys::KeyState::Verifying, keys::KeyState::Signing]);
    // 15 minutes and the margin for clocks that differ.
    clock.advance(Duration::from_secs(15 * 60 + 2));
    assert_eq!(states().await, [keys::KeyState::Retired, keys::KeyState::Signing]);
    assert_eq!(published(&app).await, [kid(&new)]);
    let again = alice.log_in().await.access();
    assert_eq!(kid(&again), kid(&new), "one for each period");
}

#[tokio::test]
async fn a_retired_key_is_good_nowhere_from_the_receipt_on_and_sessions_go_on_under_another() {
    for algorithm in ALGORITHMS {
        let mut app = TestApp::start_with(|config| config.tokens.algorithm = algorithm).await;
        let alice = app.sign_up("alice").await;
        let device = alice.log_in_for_bearer().await;
        let token = device.access();
        let old = kid(&token);
        let file = app.data().join(format!("keys/{old}.json"));
        let stolen = fs::read(&file).unwrap();

        let retire = || Command::KeysRetire { kid: old.parse().unwrap() };
        let receipt = receipt(&app, retire()).await;
        is_retired(&receipt, &old, false);
        app.takes_back(&token).await;
        assert!(!published(&app).await.contains(&old) && !file.exists(), "{algorithm:?}");
        device.renew().await;
        let new = device.access();
        assert_ne!(kid(&new), old);
        app.accepts(&new).await;

        is_retired(&self::receipt(&app, retire()).await, &old, true);
        // The file comes back, from a backup.
        let mode = fs::Permissions::from_mode(0o600);
        fs::write(&file, &stolen).unwrap();
        fs::set_permissions(&file, mode).unwrap();
        app.restart().await;
        app.takes_back(&token).await;
        app.accepts(&new).await;
        assert!(!file.exists() && listed(&app).await.iter().all(|key| key.kid.to_string() != old));
    }
}

async fn receipt(app: &TestApp, command: Command) -> Receipt {
    serde_json::from_value(serde_json::to_value(app.command(command).await).unwrap()).unwrap()
}

/// Ten years later its row has not been pruned, though all around it has.
#[tokio::test]
async fn a_retired_key_stays_dead_for_good() {
    let clock = ManualClock::at(START_MS);
    let mut app = TestApp::start_at(Clock::Manual(Arc::clone(&clock)), |config| {
        config.tokens.key_rotation = Span::from_secs(0);
    })
    .await;
    let alice = app.sign_up("alice").await;
    let token = alice.log_in().await.access();
    let old: KeyId = kid(&token).parse().unwrap();
    alice.log_in().await.log_out().await;
    app.command(Command::KeysRetire { kid: old }).await;
    alice.log_in().await.log_out().await;
    for _ in 0..2 {
        clock.advance(Duration::from_hours(5 * 365 * 24));
        app.restart().await;
        alice.log_in().await.log_out().await;
        app.takes_back(&token).await;
        is_retired(&receipt(&app, Command::KeysRetire { kid: old }).await, &old.to_string(), true);
    }
}

#[tokio::test]
async fn keys_are_listed_and_retired_beside_a_server_and_without_one() {
    let desk = Desk::new();
    let made = desk.run("keys generate").await.json();
    let listed = desk.run("keys list --json").await.json();
    let first = text(&listed["keys"][0]["kid"]);
    let line = desk.run("keys list").await.expect(0);
    for word in [first.as_str(), "EdDSA", "signing", "published", "made ", "signs from "] {
        assert!(line.stdout.contains(word), "{word}: {line}");
    }
    let receipt = desk.run(&format!("keys retire {first}")).await;
    is_retired(&receipt.receipt(), &first, false);
    assert!(receipt.stderr.contains("Nothing that the key has signed is accepted: every check"), "{receipt}");
    is_retired(&desk.run(&format!("keys retire {first}")).await.receipt(), &first, true);
    let left = desk.run("keys list --json").await.json();
    let states: Vec<String> = left["keys"].as_array().unwrap().iter().map(|key| text(&key["state"])).collect();
    assert_eq!(states, ["signing", "published"], "another one signs, and the one that was made waits: {left}");
    assert!(left["keys"].as_array().unwrap().iter().any(|key| key["kid"] == made["kid"]), "{left}");

    let nobody = KeyId::of([7; 32]);
    desk.run(&format!("keys retire {nobody}")).await.says(1, &["there is no key", "kickout keys list"]);
    assert_eq!(desk.run("keys retire ../server.secret").await.code, Some(2));

    let server = Process::start(&[]).await;
    let alice = server.sign_up("alice").await;
    let token = alice.log_in().await.access();
    is_retired(&run(&server, &format!("keys retire {}", kid(&token))).await.receipt(), &kid(&token), false);
    server.takes_back(&token).await;
    run(&server, &format!("keys retire {nobody}")).await.says(1, &["there is no key"]);
}

/// A key that signs nothing yet is retired without another one.
#[tokio::test]
async fn retiring_a_key_that_does_not_sign_leaves_the_one_that_does() {
    let app = TestApp::start().await;
    let token = app.sign_up("alice").await.log_in().await.access();
    let made = match app.admin().run(Command::KeysGenerate {}).await.unwrap() {
        kickout::admin::Answer::Key(key) => key,
        other => panic!("{other:?}"),
    };
    assert_eq!(published(&app).await.len(), 2);
    app.command(Command::KeysRetire { kid: made.kid }).await;
    assert_eq!(published(&app).await, [kid(&token)]);
    app.accepts(&token).await;
}

#[tokio::test]
async fn the_list_of_keys_has_a_tag_by_which_it_is_not_sent_twice() {
    let app = TestApp::start().await;
    let ask = |tags: &str| app.get("/.well-known/jwks.json").header("if-none-match", tags);
    let first = app.get("/.well-known/jwks.json").await.expect(200);
    let tag = first.header("etag").unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"') && !tag.contains(','), "{tag}");
    assert_eq!(first.header("content-type"), Some("application/json"));
    for tags in [tag.clone(), format!("W/{tag}"), format!("\"a\", {tag}"), format!("W/\"a,b\",{tag}"), "*".to_owned()] {
        let known = ask(&tags).await.expect(304);
        assert_eq!((known.body.len(), known.header("etag")), (0, Some(tag.as_str())), "{tags}");
        assert_eq!(known.header("cache-control"), Some("public, max-age=300"), "{tags}");
    }
    for tags in ["\"a\"", "", &tag[1..], "\"*\""] {
        ask(tags).await.expect(200);
    }
    let head = app.call(Method::HEAD, "/.well-known/jwks.json").await.expect(200);
    assert_eq!((head.header("etag"), head.body.len()), (Some(tag.as_str()), 0));
    app.admin().run(Command::KeysGenerate {}).await.unwrap();
    let second = ask(&tag).await.expect(200);
    assert_ne!(second.header("etag"), Some(tag.as_str()));
}

#[tokio::test]
async fn secrets_in_the_data_folder_are_encrypted_under_a_configured_key() {
    let mut app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let token = alice.log_in().await.access();
    let folder = app.data();
    let file = folder.join(format!("keys/{}.json", kid(&token)));
    let private = text(&serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).unwrap()["private"]);
    let secret = fs::read(folder.join("server.secret")).unwrap();
    let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(holds(&contents(&folder), private.as_bytes()) && holds(&contents(&folder), &secret), "it can be found");

    app.restart_with(|config| config.tokens.key_encryption_key = KEY.to_owned().into()).await;
    app.accepts(&token).await;
    assert!(!holds(&contents(&folder), private.as_bytes()) && !holds(&contents(&folder), &secret));
    app.restart().await;
    app.accepts(&token).await;
    assert_eq!(kid(&alice.log_in().await.access()), kid(&token));

    let folder = app.stop().await;
    let config = Config { data_dir: folder.path().join("data"), ..Config::default() };
    let opened = DataFolder::open(&config.data_dir).unwrap();
    let refused = App::build(config, Clock::System, opened).await.unwrap_err().to_string();
    assert!(refused.contains("tokens.key_encryption_key"), "{refused}");
}

/// A ring over what nodes share, with a folder of its own.
async fn shared_keys(url: &str, algorithm: keys::Algorithm, now: Timestamp) -> (TempDir, Keys) {
    let (database, _) = ledger_at(url).await;
    let folder = tempfile::tempdir().unwrap();
    let vault = Arc::new(Vault::new(database, KEY).unwrap());
    let settings = KeySettings::new(folder.path().join("keys"), algorithm, Duration::from_mins(15), Duration::ZERO);
    let keys = Keys::open(settings, Some(vault), keystore::least_lead(Duration::from_secs(10)), now).await.unwrap();
    (folder, keys)
}

#[tokio::test]
async fn a_rotation_as_short_as_is_accepted_finds_room_for_each_shared_key() {
    let url = Server::shared().database().await;
    let start = Timestamp::from_millis(START_MS);
    let (_folder, keys) = shared_keys(&url, keys::Algorithm::EdDSA, start).await;
    let (lead, every) = (Duration::from_mins(10), Duration::from_mins(25));
    for period in 1..40 {
        let now = start + every * period - lead;
        let made = keys.rotate(now, lead, every, false).await.unwrap();
        assert_eq!(made.map(|key| key.signs_from), Some(now + lead), "period {period}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_nodes_that_find_a_key_due_at_the_same_moment_one_makes_it() {
    let url = Server::shared().database().await;
    let start = Timestamp::from_millis(START_MS);
    let nodes = all((0..4).map(|_| shared_keys(&url, keys::Algorithm::EdDSA, start))).await;
    let (lead, every) = (Duration::from_mins(10), Duration::from_hours(24));
    for period in 1..6 {
        let now = start + every * period - lead;
        let before = now - Duration::from_millis(1);
        let early = all(nodes.iter().map(|(_, keys)| keys.rotate(before, lead, every, true))).await;
        assert!(early.into_iter().all(|made| made.unwrap().is_none()), "not before it is due");
        let made = all(nodes.iter().map(|(_, keys)| keys.rotate(now, lead, every, false))).await;
        let made: Vec<_> = made.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(made.len(), 1, "{made:?}");
        assert_eq!(made[0].signs_from, now + lead);
        for (_, keys) in &nodes {
            keys.sync(now).await.unwrap();
            let list = keys.ring().list(now);
            assert_eq!(list.last().map(|key| key.kid), Some(made[0].kid), "all have it before it signs");
            keys.prune(now, Duration::ZERO).await.unwrap();
        }
        // Whatever one signs with, at any time around the change, all verify.
        let millisecond = Duration::from_millis(1);
        let takes_over = now + lead;
        let mut signers = BTreeSet::new();
        for at in [now, takes_over - millisecond, takes_over, takes_over + Duration::from_mins(15)] {
            for (_, one) in &nodes {
                let signer = one.ring().read().signing(at).verifying().kid();
                let last_token = at + Duration::from_mins(15) - millisecond;
                for (_, other) in &nodes {
                    assert!(other.ring().read().verifying(signer, at).is_some());
                    assert!(other.ring().read().verifying(signer, last_token).is_some(), "as long as its token lives");
                }
                signers.insert(signer);
            }
        }
        assert_eq!(signers.len(), 2, "the old one, then the new one");
    }
    assert_eq!(postgres::number(&url, "SELECT count(*) FROM vault WHERE name LIKE 'keys/%'").await, 2);
    let shortest = nodes[0].1.generate(start, Duration::ZERO).await.unwrap();
    assert_eq!(shortest.signs_from, start + Duration::from_mins(1), "no shared key signs at once");
    assert_eq!(
        keystore::least_lead(Duration::from_mins(5)),
        Duration::from_secs(310),
        "nor before a node must have stopped"
    );
}

#[tokio::test]
async fn nodes_that_are_told_another_algorithm_one_after_the_other_do_not_answer_each_other() {
    let url = Server::shared().database().await;
    let now = Timestamp::from_millis(START_MS);
    let (_one, old) = shared_keys(&url, keys::Algorithm::EdDSA, now).await;
    let (_two, new) = shared_keys(&url, keys::Algorithm::ES256, now).await;
    let (lead, every) = (Duration::from_mins(10), Duration::from_hours(24));
    let made = new.rotate(now, lead, every, true).await.unwrap().unwrap();
    assert_eq!(made.algorithm, keys::Algorithm::ES256);
    for (keys, has_begun) in [(&old, false), (&new, true), (&new, false), (&old, false)] {
        assert_eq!(keys.rotate(now, lead, every, has_begun).await.unwrap(), None);
    }
    old.sync(now).await.unwrap();
    assert_eq!(old.ring().list(now).len(), 2, "and each reads the other's keys");
}

/// Whether tokens that are got at any node now are good at every node, and under which keys they are.
async fn are_good_everywhere(cluster: &Cluster, user: &User) -> Option<BTreeSet<String>> {
    let mut kids = BTreeSet::new();
    for node in &cluster.nodes {
        let token = node.log_in(user).await;
        for other in &cluster.nodes {
            if other.get("/v1/auth/verify").bearer(&token).await.status != 200 {
                return None;
            }
        }
        kids.insert(kid(&token));
    }
    Some(kids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_publishes_the_others_have_at_once_and_tokens_of_each_are_good_at_all() {
    let url = Server::shared().database().await;
    let cluster = Plan::new(&url, 2).start().await;
    let user = cluster.user().await;
    let watched = cluster.node(0).log_in(&user).await;
    let watch = Watch::of(&cluster.nodes, &watched);
    let made = run(cluster.node(0), "keys generate").await.json();
    for node in &cluster.nodes {
        eventually!(published(node).await.contains(&text(&made["kid"])));
    }
    for node in &cluster.nodes {
        cluster.accepts(&node.log_in(&user).await).await;
    }
    watch.was_good().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_retired_at_one_node_is_good_at_none_from_the_receipt_on_and_another_is_good_at_all() {
    let url = Server::shared().database().await;
    let mut cluster = Plan::new(&url, 3).start().await;
    let user = cluster.user().await;
    let token = cluster.node(1).log_in(&user).await;
    let stale = contents_of_keys(&cluster.node(2).data());
    cluster.accepts(&token).await;

    let receipt = run(cluster.node(0), &format!("keys retire {}", kid(&token))).await.receipt();
    is_retired(&receipt, &kid(&token), false);
    assert_eq!((receipt.applied.nodes, receipt.applied.of), (3, 3), "{receipt:?}");
    for node in &cluster.nodes {
        node.takes_back(&token).await;
        assert!(!published(node).await.contains(&kid(&token)), "{}", node.name);
    }
    // Nodes were told of the new key seconds before. One that is very busy may take it up a little later.
    let mut kids = None;
    eventually!({
        kids = are_good_everywhere(&cluster, &user).await;
        kids.is_some()
    });
    let kids = kids.unwrap();
    assert!(kids.len() == 1 && !kids.contains(&kid(&token)), "{kids:?}");
    for node in &cluster.nodes {
        node.takes_back(&token).await;
        let file = node.data().join(format!("keys/{}.json", kid(&token)));
        eventually!(!file.exists());
    }
    is_retired(&run(cluster.node(2), &format!("keys retire {}", kid(&token))).await.receipt(), &kid(&token), true);
    assert_eq!(postgres::number(&url, "SELECT count(*) FROM vault WHERE name LIKE 'keys/%'").await, 1);

    // A node comes back with a folder from before.
    let node = cluster.node_mut(2);
    node.kill_9();
    for (path, bytes) in &stale {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    node.restart().await;
    node.takes_back(&token).await;
    assert_eq!(are_good_everywhere(&cluster, &user).await, Some(kids));
}

/// The key files of a data folder.
fn contents_of_keys(data: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(data.join("keys")).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}
