//! What the tables of users and sessions do, whichever database they are in.

use std::time::Duration;

use kickout::{
    clock::Timestamp,
    database::{Database, sql},
    ids::{Generation, LedgerId, SessionId, Subject},
    passwords::StoredHash,
    sessions::{
        Settings,
        devices::{Client, Devices, NewSession},
    },
    users::{Created, Username, Users},
};

use super::support::ledger::{Node, Store};

super::support::ledger::on_both!(
    a_name_is_taken_once_and_found_in_any_spelling,
    a_hash_is_replaced_only_if_the_row_is_the_one_that_was_read,
    users_are_listed_in_one_order,
    a_login_needs_the_row_that_was_read_and_this_life_of_the_ledger,
    devices_are_listed_from_the_last_used_and_without_the_dead,
    sessions_are_pruned_a_day_after_they_are_over,
);

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

fn hash(salt: &str) -> StoredHash {
    let rest = "wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA";
    StoredHash::from_phc(&format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${rest}")).unwrap()
}

async fn create(users: &Users, text: &str) -> Subject {
    match users.create(&name(text), &hash("c29tZXNhbHRzb21lc2FsdA"), &["a".into(), "b".into()], NOW).await.unwrap() {
        Created::User(user) => user.id,
        Created::Taken => panic!("{text} is taken"),
    }
}

async fn a_name_is_taken_once_and_found_in_any_spelling(store: Store) {
    let users = Users::new(store.open().await);
    let id = create(&users, "Zoé").await;
    let taken = users.create(&name("ZOÉ"), &hash("c29tZXNhbHRzb21lc2FsdA"), &[], NOW).await.unwrap();
    assert_eq!(taken, Created::Taken);
    let account = users.by_name(&name("zoé")).await.unwrap().unwrap();
    assert_eq!((account.user.id, account.user.username.as_str(), account.version), (id, "Zoé", 0));
    assert_eq!((account.user.roles.as_slice(), account.user.banned_at), (["a".into(), "b".into()].as_slice(), None));
    assert_eq!(account.user.created_at, NOW);
    assert!(users.by_name(&name("zoe")).await.unwrap().is_none());
    assert!(users.by_id(Subject::random()).await.unwrap().is_none());
}

async fn a_hash_is_replaced_only_if_the_row_is_the_one_that_was_read(store: Store) {
    let users = Users::new(store.open().await);
    let id = create(&users, "ada").await;
    let (first, second) = (hash("YW5vdGhlcnNhbHRhbm90aA"), hash("dGhlX3RoaXJkX3NhbHRfXw"));
    users.rehash(id, 0, &first).await.unwrap();
    users.rehash(id, 1, &second).await.unwrap();
    assert!(users.by_id(id).await.unwrap().unwrap().password == first);
    assert_eq!(users.unban(id).await.unwrap(), Some(false));
    assert_eq!(users.unban(Subject::random()).await.unwrap(), None);
    let node = Node::start(store.another().await).await;
    let users = Users::new(node.database.clone());
    let id = create(&users, "ada").await;
    node.done(kickout::revocation::Act::Ban(id)).await;
    assert!(users.by_id(id).await.unwrap().unwrap().user.banned_at.is_some());
    assert_eq!(users.unban(id).await.unwrap(), Some(true));
    assert_eq!(users.by_id(id).await.unwrap().unwrap().version, 2);
}

async fn users_are_listed_in_one_order(store: Store) {
    let users = Users::new(store.open().await);
    for text in ["bob", "Émile", "ada", "_x", "zoe", "B-2", "b_1"] {
        create(&users, text).await;
    }
    let names = |listed: Vec<kickout::users::User>| listed.into_iter().map(|user| user.username).collect::<Vec<_>>();
    let all = names(users.list(None).await.unwrap());
    assert_eq!(all, ["_x", "ada", "B-2", "b_1", "bob", "zoe", "Émile"], "byte by byte, as compared");
    assert_eq!(names(users.list(Some(&name("b_1"))).await.unwrap()), ["bob", "zoe", "Émile"]);
}

fn draw(epoch: LedgerId, subject: Subject, version: i64, now: Timestamp) -> NewSession {
    let hour = Duration::from_hours(1);
    let settings = Settings { grace: Duration::ZERO, idle: hour, absolute: 2 * hour, max_per_user: 100, signup: true };
    let client =
        Client { device: Some("a\0 phone".into()), address: Some("10.0.0.7".parse().unwrap()), ..Client::default() };
    NewSession::draw(epoch, subject, version, now, settings, &client)
}

async fn open(node: &Node, subject: Subject, now: Timestamp) -> SessionId {
    let new = draw(node.ledger.id(), subject, 0, now);
    Devices::new(node.database.clone()).open(&new).await.unwrap().unwrap();
    new.id()
}

async fn a_login_needs_the_row_that_was_read_and_this_life_of_the_ledger(store: Store) {
    let node = Node::start(store).await;
    let devices = Devices::new(node.database.clone());
    let (alice, epoch) = (node.user().await, node.ledger.id());
    assert_eq!(devices.open(&draw(epoch, alice, 0, NOW)).await.unwrap(), Some(Generation(0)));
    node.done(kickout::revocation::Act::Everything).await;
    assert_eq!(devices.open(&draw(epoch, alice, 0, NOW)).await.unwrap(), Some(Generation(1)));
    node.done(kickout::revocation::Act::Subject { subject: alice, keep: None }).await;
    assert_eq!(devices.open(&draw(epoch, alice, 0, NOW)).await.unwrap(), Some(Generation(2)));
    assert_eq!(devices.open(&draw(epoch, alice, 1, NOW)).await.unwrap(), None);
    assert_eq!(devices.open(&draw(LedgerId::random(), alice, 0, NOW)).await.unwrap(), None);
    assert_eq!(devices.open(&draw(epoch, Subject::random(), 0, NOW)).await.unwrap(), None);
    node.done(kickout::revocation::Act::Ban(alice)).await;
    assert_eq!(devices.open(&draw(epoch, alice, 1, NOW)).await.unwrap(), None);
}

async fn devices_are_listed_from_the_last_used_and_without_the_dead(store: Store) {
    let node = Node::start(store).await;
    let devices = Devices::new(node.database.clone());
    let alice = node.user().await;
    let second = Duration::from_secs(1);
    let first = open(&node, alice, NOW).await;
    let last = open(&node, alice, NOW + second).await;
    let ended = open(&node, alice, NOW + 2 * second).await;
    node.done(kickout::revocation::Act::Session { session: ended, of: None }).await;
    let listed = devices.list(alice, NOW + second).await.unwrap();
    assert_eq!(listed.iter().map(|device| device.id).collect::<Vec<_>>(), [last, first]);
    assert_eq!((listed[0].device.as_deref(), listed[0].address.as_deref()), (Some("a phone"), Some("10.0.0.7")));
    assert_eq!((listed[0].user_agent.as_deref(), listed[0].created_at), (None, NOW + second));
    assert_eq!(devices.beyond(alice, last, 1, NOW + second).await.unwrap(), [first]);
    assert_eq!(devices.beyond(alice, last, 2, NOW + second).await.unwrap(), []);
    assert_eq!(devices.list(alice, NOW + Duration::from_hours(1)).await.unwrap().len(), 1, "the first is over");
    // As if a login had read the floor before another node has raised it.
    set_floor(&node.database, 1).await;
    assert!(devices.list(alice, NOW + second).await.unwrap().is_empty());
    assert!(devices.beyond(alice, last, 1, NOW + second).await.unwrap().is_empty());
}

async fn set_floor(database: &Database, floor: i64) {
    let mut writing = database.write().await.unwrap();
    sql("UPDATE head SET floor = $1, highest_generation = $1").bind(floor).execute(&mut writing).await.unwrap();
}

async fn sessions_are_pruned_a_day_after_they_are_over(store: Store) {
    let node = Node::start(store).await;
    let devices = Devices::new(node.database.clone());
    let alice = node.user().await;
    for _ in 0..3 {
        open(&node, alice, NOW).await;
    }
    let over = NOW + Duration::from_hours(25);
    assert_eq!((devices.prune_backlog(over).await.unwrap(), devices.prune(over, 10).await.unwrap()), (0, 0));
    let later = over + Duration::from_millis(1);
    assert_eq!(devices.prune_backlog(later).await.unwrap(), 3);
    assert_eq!(devices.prune(later, 2).await.unwrap(), 2);
    assert_eq!(devices.prune(later, 2).await.unwrap(), 1);
}
