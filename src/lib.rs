//! **Kickout: JWTs you can take back.**
//!
//! Kickout logs people in, hands their browser a JWT in an `HttpOnly` cookie, and can take that token back at once,
//! without asking a database on each request. A server session is remembered by the server, so revoking it is one
//! delete and every request pays a look-up; a JWT is remembered by nobody, so it is fast and cannot be taken back.
//! Kickout keeps a small, exact-when-it-matters memory of what was taken back, in front of a durable ledger.
//!
//! # The promise
//!
//! After an answer with `complete: true` to a logout, logout-all, ban, role change, password change or operator's
//! revocation, and after the refusal of a refresh token that was used before, every check that begins after that answer
//! denies. An acknowledged revocation survives a restart and a `kill -9`. A check of a valid token reads memory only.
//! [`revocation`] states the invariants behind that, and where each is kept; [`sessions::renewal`] those of refreshes.
//!
//! # Follow one request
//!
//! `GET /v1/auth/me` with a cookie: [`app`] has built the router of [`http`], whose layers give the request an id and
//! its limits. The extractor [`http::extract::Authenticated`] finds the token, applies the CSRF rule of [`csrf`] if the
//! method is unsafe, and calls [`sessions::Sessions::authenticate`]. That verifies the signature and the claims
//! ([`tokens::Verifier`], pure CPU; the signature of a token that comes again is remembered, and nothing else of it) and
//! then asks [`revocation::Checker::check`]: three probes of the [`revocation::filter`] say "surely not revoked", and the
//! handler answers. Only a "maybe" goes to the answers known already ([`revocation::known`]) and then to the
//! [`revocation::ledger`].
//!
//! `POST /v1/auth/logout-all` with the same cookie: the same extractor, then
//! [`sessions::Sessions::log_out_everywhere`] hands an act to the [`revocation::Revoker`]. Its one recording task
//! commits it to the ledger together with whatever else waits, applies the batch to this node's
//! [`revocation::sync::Replica`], and only then answers with a receipt.
//!
//! That is the strategy `hybrid`. [`revocation::strategy`] tells of the others: what a check asks instead, when a
//! revocation bites, and what is lost with it.
//!
//! # The modules
//!
//! From the outside in; an arrow of dependency never points up, and a test keeps it so.
//!
//! | module | what it knows |
//! |---|---|
//! | [`cli`] | the commands; serving is the default one |
//! | [`app`] | everything: the composition root that the program and every test share |
//! | [`instance`] | the data folder, its lock, and how commands find the process that holds it |
//! | [`admin`], [`status`] | what operators ask for, and what they read |
//! | [`http`] | routes, extractors, problems, layers |
//! | [`sessions`] | the use cases: login, refresh, logout, logout-all, password; sessions' rows; refresh tokens |
//! | [`tokens`] | issuing and verifying JWTs, signing keys: pure CPU |
//! | [`passwords`] | Argon2id in a bounded pool; what a password may be |
//! | [`users`] | accounts |
//! | [`limits`] | how many tries an account and an address have |
//! | [`revocation`] | the heart: ledger, filter, checker, revoker |
//! | [`csrf`], [`cookies`] | the two rules of browsers |
//! | [`database`] | the SQL database, SQLite or PostgreSQL: opening, migrating, asking, telling its troubles apart |
//! | [`keystore`], [`vault`] | where keys are kept; secrets that nodes share through PostgreSQL, encrypted |
//! | [`lifecycle`], [`telemetry`] | tasks and shutdown; logs and metrics |
//! | [`config`] | plain values and where they come from |
//! | [`revoked_keys`] | the signing keys that were taken back: what the ledger says of them, for whoever signs or verifies |
//! | [`clock`], [`ids`], [`secret`] | time, identifiers, randomness, encryption and secret files |

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod cookies;
pub mod csrf;
pub mod database;
pub mod http;
pub mod ids;
pub mod instance;
pub mod keystore;
pub mod lifecycle;
pub mod limits;
pub mod passwords;
pub mod revocation;
pub mod revoked_keys;
pub mod secret;
pub mod sessions;
pub mod status;
pub mod telemetry;
pub mod tokens;
pub mod users;
pub mod vault;
