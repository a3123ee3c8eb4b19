//! What nodes share through PostgreSQL is the same on all of them, and the database alone knows nothing of it.

use std::time::Duration;

use kickout::{
    app::{App, BuildError},
    clock::Clock,
    config::Config,
    database::Database,
    instance::DataFolder,
    keystore::KeysError,
    revocation::ledger::Ledger,
    secret::SecretFiles,
    vault::{Vault, VaultError},
};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::support::{postgres, wait::all};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER: &str = "10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

async fn vault(url: &str, key: &str) -> Vault {
    let database = Database::open_url(url).await.unwrap();
    // It makes the row that the vault's writers wait for.
    Ledger::open(database.clone(), &Clock::System, Duration::from_mins(15)).await.unwrap();
    Vault::new(database, key).unwrap()
}

async fn node(url: &str, key: &str) -> (TempDir, Result<App, BuildError>) {
    let root = tempfile::tempdir().unwrap();
    let mut config = Config { data_dir: root.path().join("data"), ..Config::default() };
    config.database.url = url.to_owned().into();
    config.tokens.key_encryption_key = key.to_owned().into();
    let folder = DataFolder::open(&config.data_dir).unwrap();
    let app = App::build(config, Clock::System, folder).await;
    (root, app)
}

#[tokio::test]
async fn an_entry_is_opened_under_its_own_name_and_key_only_and_is_nowhere_in_clear() {
    let url = postgres::Server::shared().database().await;
    let vault_here = vault(&url, KEY).await;
    vault_here.put("keys/a", b"the secret of a", "keys/", 2).await.unwrap();
    vault_here.put("keys/b", b"the secret of b", "keys/", 2).await.unwrap();
    let full = vault_here.put("keys/c", b"", "keys/", 2).await.unwrap_err();
    assert!(matches!(full, VaultError::Full { most: 2 }), "{full}");
    let there = vault(&url, KEY).await.list("keys/").await.unwrap();
    assert_eq!(there[0], ("keys/a".to_owned(), Zeroizing::new(b"the secret of a".to_vec())));
    assert_eq!(
        postgres::number(&url, "SELECT count(*) FROM vault WHERE position('secret'::bytea in sealed) > 0").await,
        0
    );
    assert_eq!(format!("{vault_here:?}"), "Vault(…)");

    let refused = vault(&url, OTHER).await.list("keys/").await.unwrap_err();
    assert!(matches!(&refused, VaultError::Sealed { name } if name == "keys/a"), "{refused}");
    assert!(refused.to_string().contains("tokens.key_encryption_key is not the key"), "{refused}");

    for change in [
        "UPDATE vault SET sealed = (SELECT sealed FROM vault WHERE name = 'keys/b') WHERE name = 'keys/a'",
        "UPDATE vault SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE name = 'keys/b'",
        "UPDATE vault SET sealed = set_byte(sealed, 0, 2) WHERE name = 'keys/b'",
        "UPDATE vault SET sealed = ''",
    ] {
        postgres::run(&url, change).await;
        assert!(vault_here.list("keys/").await.is_err(), "{change}");
        postgres::run(&url, "DELETE FROM vault").await;
        vault_here.put("keys/a", b"the secret of a", "keys/", 2).await.unwrap();
        vault_here.put("keys/b", b"the secret of b", "keys/", 2).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_the_same_moment_have_the_same_keys_and_the_same_secret() {
    let url = postgres::Server::shared().database().await;
    let nodes = all((0..5).map(|_| node(&url, KEY))).await;
    let files = SecretFiles::under(KEY).unwrap();
    let secret = |root: &TempDir| files.read(&root.path().join("data/server.secret")).unwrap().unwrap();
    let first = secret(&nodes[0].0);
    let keys = |app: &App| app.keys().list(Clock::System.wall()).into_iter().map(|key| key.kid).collect::<Vec<_>>();
    let mut seen = Vec::new();
    for (root, app) in &nodes {
        assert_eq!(secret(root), first);
        seen.push(keys(app.as_ref().unwrap()));
    }
    assert_eq!(seen[0].len(), 1);
    assert!(seen.iter().all(|keys| *keys == seen[0]), "{seen:?}");
    for (_, app) in nodes {
        app.unwrap().close().await;
    }

    let (root, refused) = node(&url, OTHER).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, BuildError::Keys(KeysError::Vault(VaultError::Sealed { .. }))), "{error}");
    assert_eq!(postgres::number(&url, "SELECT count(*) FROM vault").await, 2, "nothing was replaced");
    drop(root);
}
