use super::*;
use crate::secret;

const TTL: Duration = Duration::from_mins(15);
const LEEWAY: Duration = Duration::from_secs(1);
/// TTL + LEEWAY + SKEW.
const OVERLAP: Duration = Duration::from_secs(903);
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

struct Folder {
    /// Dropped last: it holds the folder.
    parent: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self { parent: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.parent.path().join("keys")
    }

    fn open(&self, now: Timestamp) -> Result<KeyRing, KeyError> {
        KeyRing::open(self.settings(), now)
    }

    fn settings(&self) -> KeySettings {
        KeySettings::new(self.path(), Algorithm::EdDSA, TTL, LEEWAY)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// What opening the folder complains about after its only file was changed.
    fn damage(&self, change: impl FnOnce(&str) -> String) -> String {
        let path = path_of(&self.path(), self.open(START).unwrap().list(START)[0].kid);
        let text = fs::read_to_string(&path).unwrap();
        secret::write_private(&path, change(&text).as_bytes()).unwrap();
        let error = self.open(START).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("tokens signed by it"), "{error}");
        fs::remove_file(path).unwrap();
        error
    }
}

fn states(ring: &KeyRing, now: Timestamp) -> Vec<KeyState> {
    ring.list(now).into_iter().map(|info| info.state).collect()
}

fn signer(ring: &KeyRing, now: Timestamp) -> KeyId {
    ring.read().signing(now).verifying().kid()
}

fn is_public(ring: &KeyRing, kid: KeyId, now: Timestamp) -> bool {
    let jwks = ring.jwks(now);
    jwks["keys"].as_array().unwrap().iter().any(|jwk| jwk["kid"] == kid.to_string())
}

fn verifies(ring: &KeyRing, kid: KeyId, now: Timestamp) -> bool {
    let verifies = ring.read().verifying(kid, now).is_some();
    assert_eq!(verifies, is_public(ring, kid, now), "a key is in the JWKS as long as it verifies");
    verifies
}

#[test]
fn drafts_that_crashes_have_left_are_removed_and_nothing_else_is() {
    let folder = Folder::new();
    let kid = folder.open(START).unwrap().list(START)[0].kid;
    let others = Folder::new();
    let draft = format!("{}.json.new", others.open(START).unwrap().list(START)[0].kid);
    for (name, remains) in [(draft.as_str(), false), ("note.json.new", true), ("note", true)] {
        fs::write(folder.path().join(name), "{").unwrap();
        assert_eq!(folder.open(START).unwrap().list(START).len(), 1, "{name}");
        assert_eq!(folder.names().iter().any(|other| other == name), remains, "{name}");
    }
    assert!(folder.names().contains(&format!("{kid}.json")));
}

#[test]
fn the_first_start_makes_one_private_key_and_the_next_one_finds_it() {
    let folder = Folder::new();
    let ring = folder.open(START).unwrap();
    let list = ring.list(START);
    assert_eq!(states(&ring, START), [KeyState::Signing]);
    assert_eq!((list[0].created_at, list[0].signs_from, list[0].verifies_until), (START, START, None));
    assert_eq!(folder.names(), [format!("{}.json", list[0].kid)]);

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path()), 0o700);
    assert_eq!(mode(&path_of(&folder.path(), list[0].kid)), 0o600);

    // A crash left a draft, and an operator a note.
    fs::write(folder.path().join("x.json.new"), "{").unwrap();
    fs::write(folder.path().join("README"), "").unwrap();
    assert_eq!(folder.open(START + TTL).unwrap().list(START), list);
}

#[test]
fn a_key_is_published_then_signs_then_verifies_and_then_is_gone() {
    let folder = Folder::new();
    let ring = folder.open(START).unwrap();
    let first = ring.list(START)[0].kid;
    let lead = Duration::from_hours(1);
    let rotated = START + Duration::from_hours(24);
    let second = ring.generate(rotated, lead).unwrap();
    let takes_over = rotated + lead;
    assert_eq!((second.state, second.created_at, second.signs_from), (KeyState::Published, rotated, takes_over));

    let millisecond = Duration::from_millis(1);
    let before = takes_over - millisecond;
    assert_eq!(states(&ring, before), [KeyState::Signing, KeyState::Published]);
    assert_eq!(signer(&ring, before), first);
    assert!(verifies(&ring, first, before) && verifies(&ring, second.kid, rotated));

    assert_eq!(states(&ring, takes_over), [KeyState::Verifying, KeyState::Signing]);
    assert_eq!(signer(&ring, takes_over), second.kid);
    let end = takes_over + OVERLAP;
    assert_eq!(ring.list(takes_over)[0].verifies_until, Some(end));
    assert!(verifies(&ring, first, end - millisecond));

    assert_eq!(states(&ring, end), [KeyState::Retired, KeyState::Signing]);
    assert!(!verifies(&ring, first, end) && verifies(&ring, second.kid, end));

    let keep = Duration::from_hours(2);
    assert_eq!(ring.prune(end + keep - millisecond, keep).unwrap(), []);
    assert_eq!(folder.names().len(), 2);
    assert_eq!(ring.prune(end + keep, keep).unwrap(), [first]);
    assert_eq!(folder.names(), [format!("{}.json", second.kid)]);
    assert_eq!(ring.list(end), folder.open(end).unwrap().list(end));
    assert_eq!(ring.prune(end + Duration::from_hours(10_000), Duration::ZERO).unwrap(), [], "the last key stays");
}

#[test]
fn prune_goes_on_where_it_was_interrupted() {
    let folder = Folder::new();
    let ring = folder.open(START).unwrap();
    ring.generate(START, Duration::from_secs(1)).unwrap();
    let kid = ring.list(START)[0].kid;
    fs::remove_file(path_of(&folder.path(), kid)).unwrap();
    assert_eq!(ring.prune(START + Duration::from_hours(1), Duration::ZERO).unwrap(), [kid]);
}

#[test]
fn a_longer_ceiling_keeps_superseded_keys_for_longer() {
    let folder = Folder::new();
    let ring = folder.open(START).unwrap();
    ring.generate(START, Duration::from_secs(1)).unwrap();
    let end = START + Duration::from_secs(1) + OVERLAP;
    assert_eq!(ring.list(end)[0].state, KeyState::Retired);
    ring.set_max_access_ttl(TTL * 2);
    assert_eq!(ring.list(end)[0].verifies_until, Some(end + TTL));
    assert_eq!(ring.list(end)[0].state, KeyState::Verifying);
}

#[test]
fn a_ring_has_a_most_of_keys_and_always_one_that_signs() {
    let folder = Folder::new();
    let ring = folder.open(START).unwrap();
    for step in 1..MAX_KEYS {
        ring.generate(START, Duration::from_secs(step as u64)).unwrap();
    }
    let error = ring.generate(START, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("16 keys") && error.contains("Prune"), "{error}");
    assert_eq!(folder.names().len(), MAX_KEYS);
    assert!(ring.jwks(START).to_string().len() < 4096, "of EdDSA");

    for at in
        [Timestamp::from_millis(i64::MIN), START, START + Duration::from_secs(7), Timestamp::from_millis(i64::MAX)]
    {
        let signing: Vec<_> = ring.list(at).into_iter().filter(|info| info.state == KeyState::Signing).collect();
        assert_eq!(signing.len(), 1, "at {at}");
        assert_eq!(signing[0].kid, signer(&ring, at));
    }
}

#[test]
fn reload_takes_up_what_was_added_and_drops_what_was_removed() {
    let folder = Folder::new();
    let ring = folder.open(START).unwrap();
    let first = ring.list(START)[0].kid;
    let second = folder.open(START).unwrap().generate(START, Duration::from_hours(1)).unwrap().kid;
    assert!(ring.read().verifying(second, START).is_none());
    ring.reload(START).unwrap();
    assert!(ring.read().verifying(second, START).is_some());

    fs::remove_file(path_of(&folder.path(), first)).unwrap();
    ring.reload(START).unwrap();
    assert!(ring.read().verifying(first, START).is_none());
    assert_eq!(signer(&ring, START), second, "the published key stands in for the one that was removed");

    fs::remove_file(path_of(&folder.path(), second)).unwrap();
    ring.reload(START).unwrap();
    assert_eq!(states(&ring, START), [KeyState::Signing], "a folder without keys gets a new one");
}

#[test]
fn a_damaged_key_file_is_named_and_says_what_is_wrong() {
    let folder = Folder::new();
    let other = folder.open(START).unwrap().list(START)[0].kid.to_string();
    fs::remove_dir_all(folder.path()).unwrap();
    let swap = |text: &str| {
        let kid = text.split('"').nth(3).unwrap().to_owned();
        text.replace(&kid, &other)
    };
    let flip = |text: &str| {
        let at = text.len() - 10;
        let flipped = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{flipped}{}", &text[..at], &text[at + 1..])
    };
    assert!(folder.damage(|text| text[..text.len() / 2].to_owned()).contains("is damaged: it is not JSON"));
    assert!(folder.damage(|_| String::new()).contains("it is not JSON"));
    assert!(folder.damage(|text| text.replace("\"private\"", "\"public\"")).contains("it is not JSON"));
    assert!(folder.damage(|text| text.replace("EdDSA", "HS512")).contains("its alg is not known"));
    assert!(folder.damage(|text| text.replace("EdDSA", "ES256")).contains("not a key on the curve P-256"));
    assert!(folder.damage(|text| text.replace("EdDSA", "RS256")).contains("not an RSA key of 2048"));
    assert!(folder.damage(|text| text.replace("EdDSA", "HS256")).contains("its kid is not the thumbprint"));
    assert!(folder.damage(|text| text.replace("\"private\":\"", "\"private\":\"=")).contains("not base64url"));
    assert!(folder.damage(|text| text.replace("\"private\":\"", "\"private\":\"AAAA")).contains("not an Ed25519 key"));
    assert!(folder.damage(swap).contains("its kid is not the thumbprint"));
    assert!(folder.damage(flip).contains("its kid is not the thumbprint"));
}

#[test]
fn a_key_file_under_another_name_is_refused() {
    let folder = Folder::new();
    let kid = folder.open(START).unwrap().list(START)[0].kid;
    fs::rename(path_of(&folder.path(), kid), folder.path().join("copy.json")).unwrap();
    let error = folder.open(START).unwrap_err().to_string();
    assert!(error.contains("copy.json") && error.contains("its name is not its kid"), "{error}");
}

#[test]
fn files_and_folders_that_others_can_reach_are_refused() {
    let folder = Folder::new();
    let kid = folder.open(START).unwrap().list(START)[0].kid;
    let path = path_of(&folder.path(), kid);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = folder.open(START).unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o770)).unwrap();
    let error = folder.open(START).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn what_is_told_about_keys_holds_nothing_private() {
    let folder = Folder::new();
    let ring = folder.open(START).unwrap();
    let kid = ring.list(START)[0].kid;
    let file = fs::read_to_string(path_of(&folder.path(), kid)).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    let pkcs8 = URL_SAFE_NO_PAD.decode(file["private"].as_str().unwrap()).unwrap();
    // Of the 48 bytes, the last 32 are the seed.
    let seed = &pkcs8[16..];
    for shown in [
        ring.jwks(START).to_string(),
        serde_json::to_string(&ring.list(START)).unwrap(),
        format!("{ring:?} {:?}", ring.list(START)),
    ] {
        assert!(shown.contains(&kid.to_string()), "{shown}");
        assert!(!shown.contains(&URL_SAFE_NO_PAD.encode(seed)) && !shown.contains(&format!("{seed:?}")), "{shown}");
        assert!(!shown.contains(file["private"].as_str().unwrap()), "{shown}");
    }
    let info = serde_json::to_value(&ring.list(START)[0]).unwrap();
    let expected = serde_json::json!({
        "kid": kid, "algorithm": "EdDSA", "created_at": START, "signs_from": START,
        "state": "signing", "verifies_until": null
    });
    assert_eq!(info, expected);
}

#[test]
fn readers_see_a_whole_ring_while_keys_come_and_go() {
    let folder = Folder::new();
    let ring = folder.open(START).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for step in 1..12_u64 {
                let now = START + Duration::from_hours(step);
                ring.generate(now, Duration::ZERO).unwrap();
                ring.prune(now, Duration::ZERO).unwrap();
            }
        });
        while !writer.is_finished() {
            let keys = ring.read();
            let kid = keys.signing(START).verifying().kid();
            assert!(keys.verifying(kid, START).is_some());
        }
        writer.join().unwrap();
    });
    assert_eq!(ring.list(START).len(), 2, "the signing key and the one before it");
}

#[test]
fn each_algorithm_has_keys_that_are_found_again_and_published_but_for_secrets() {
    for algorithm in Algorithm::ALL {
        let folder = Folder::new();
        let settings = || KeySettings { algorithm, ..folder.settings() };
        let ring = KeyRing::open(settings(), START).unwrap();
        let list = ring.list(START);
        assert_eq!((list.len(), list[0].algorithm), (1, algorithm));
        assert_eq!(KeyRing::open(settings(), START).unwrap().list(START), list);
        assert!(ring.read().has(algorithm) && ring.read().verifying(list[0].kid, START).is_some());
        let is_public = algorithm != Algorithm::HS256;
        assert_eq!(is_public_key(&ring, list[0].kid), is_public, "{algorithm}");
        assert_eq!(ring.files().unwrap().len(), usize::from(is_public), "a secret goes to no other node");
        let shown = format!("{} {:?} {ring:?}", ring.jwks(START), list);
        let file = fs::read_to_string(path_of(&folder.path(), list[0].kid)).unwrap();
        let file: serde_json::Value = serde_json::from_str(&file).unwrap();
        assert!(!shown.contains(file["private"].as_str().unwrap()), "{shown}");
    }
}

fn is_public_key(ring: &KeyRing, kid: KeyId) -> bool {
    is_public(ring, kid, START)
}

#[test]
fn another_algorithm_takes_over_after_its_lead_and_the_old_key_verifies_until_its_last_token_is_dead() {
    let folder = Folder::new();
    let old = folder.open(START).unwrap().list(START)[0].kid;
    let ring = KeyRing::open(KeySettings { algorithm: Algorithm::ES256, ..folder.settings() }, START).unwrap();
    assert_eq!(states(&ring, START), [KeyState::Signing], "the file of the other algorithm is read");
    let lead = Duration::from_mins(10);
    let new = ring.generate(START, lead).unwrap();
    assert_eq!((new.algorithm, new.state), (Algorithm::ES256, KeyState::Published));
    let takes_over = START + lead;
    assert_eq!(signer(&ring, takes_over - Duration::from_millis(1)), old);
    assert_eq!(signer(&ring, takes_over), new.kid);
    assert!(verifies(&ring, old, takes_over + OVERLAP - Duration::from_millis(1)));
    assert!(!verifies(&ring, old, takes_over + OVERLAP));
}

#[test]
fn a_successor_is_due_so_that_it_signs_when_the_newest_key_has_signed_for_long_enough() {
    let folder = Folder::new();
    let ring = folder.open(START).unwrap();
    let (every, lead) = (Duration::from_hours(90 * 24), Duration::from_mins(10));
    let millisecond = Duration::from_millis(1);
    let due = START + every - lead;
    assert!(!ring.is_due(due - millisecond, lead, every) && ring.is_due(due, lead, every));
    ring.generate(due, lead).unwrap();
    assert!(!ring.is_due(due, lead, every), "once");
    assert!(!ring.is_due(due + every - millisecond, lead, every) && ring.is_due(due + every, lead, every));
}

#[test]
fn a_revoked_key_is_in_no_use_at_once_and_its_file_is_never_taken_up_again() {
    let folder = Folder::new();
    let revoked = RevokedKeys::default();
    let settings = || KeySettings { revoked: revoked.clone(), ..folder.settings() };
    let ring = KeyRing::open(settings(), START).unwrap();
    let first = ring.list(START)[0].kid;
    let path = path_of(&folder.path(), first);
    let file = fs::read(&path).unwrap();
    let second = ring.generate(START, Duration::from_mins(10)).unwrap().kid;
    assert_eq!(signer(&ring, START), first);

    revoked.insert([first]);
    assert_eq!(states(&ring, START), [KeyState::Retired, KeyState::Signing], "the published one stands in");
    assert!(!verifies(&ring, first, START) && verifies(&ring, second, START));
    assert_eq!(ring.newest(START).unwrap().kid, second);
    assert_eq!(ring.remove_revoked(START).unwrap(), [first]);
    assert_eq!(ring.remove_revoked(START).unwrap(), []);
    assert!(!path.exists() && ring.list(START).len() == 1);

    // From a backup, or from another node that does not know yet.
    secret::write_private(&path, &file).unwrap();
    ring.reload(START).unwrap();
    assert!(!path.exists() && ring.read().verifying(first, START).is_none());
    secret::write_private(&path, &file).unwrap();
    assert_eq!(KeyRing::open(settings(), START).unwrap().list(START).len(), 1);

    revoked.insert([second]);
    assert_eq!(signer(&ring, START), second, "a ring signs always, also if nobody will take it");
    ring.remove_revoked(START).unwrap();
    assert_eq!(states(&ring, START), [KeyState::Signing], "a new one");
    assert!(![first, second].contains(&signer(&ring, START)));
}

#[test]
fn key_files_are_encrypted_under_a_configured_key_and_plain_ones_become_so() {
    let folder = Folder::new();
    let list = folder.open(START).unwrap().list(START);
    let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let settings = || KeySettings { files: SecretFiles::under(key).unwrap(), ..folder.settings() };
    let ring = KeyRing::open(settings(), START).unwrap();
    assert_eq!(ring.list(START), list);
    let new = ring.generate(START, Duration::ZERO).unwrap();
    for kid in [list[0].kid, new.kid] {
        let bytes = fs::read(path_of(&folder.path(), kid)).unwrap();
        assert!(!bytes.windows(7).any(|part| part == b"private"), "{kid}");
        assert_eq!(fs::metadata(path_of(&folder.path(), kid)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(ring.files().unwrap().iter().all(|(_, bytes)| bytes.starts_with(b"{")), "others seal it themselves");
    assert_eq!(KeyRing::open(settings(), START).unwrap().list(START), ring.list(START));
    let error = folder.open(START).unwrap_err().to_string();
    assert!(error.contains("tokens.key_encryption_key"), "{error}");
}
