//! The integration tests: the service as its users and operators meet it, over HTTP, the crate's API and the program.
//!
//! Each suite has a subject; each test's name, or the first line of its docs, is the sentence it proves. Whatever a
//! test starts has a folder and ports of its own, so all of them run side by side. Nothing sleeps and hopes: what is
//! not there yet is waited for, on a condition and with a bound ([`support::wait`]).
//!
//! | suite | what it proves |
//! |---|---|
//! | [`http_contract`] | what each endpoint takes and answers, to the letter |
//! | [`revocation`] | what has ended stays ended, everywhere, whatever races or restarts |
//! | [`races`] | no login outlives the act that it races |
//! | [`refresh`] | a refresh token is good once, excused for a moment, and ends its family after that |
//! | [`refresh_races`] | whatever a refresh or a login races, on two nodes, no token outlives the act |
//! | [`held_rows`] | what a login or a refresh waited for in the middle of its work does not outlive it |
//! | [`bad_input`] | what clients get for requests that are not as they should be |
//! | [`fuzz`] | any bytes from strangers are refused, or taken for what they are |
//! | [`hardening`] | slow clients, tossed cookies and dead tokens keep nobody from anything |
//! | [`cors`] | which pages of other origins can read answers |
//! | [`browser`] | what a page in a real browser, and a page of somebody else, can and cannot do |
//! | [`cookies`] | what browsers keep: cookies of a size that they take, for the hosts that are meant |
//! | [`tls`] | TLS with a certificate that is replaced while the service runs, and what is only said over it |
//! | [`csrf`] | which requests of a browser count as its user's |
//! | [`leases`] | a receipt is given when no node can say "not revoked" any more |
//! | [`rules`] | each rule of the leases, at the moment where it makes the difference |
//! | [`cluster_http`] | how long answers wait for other nodes, and what routes do when their node is cut off |
//! | [`strategies`] | which strategy promises what, by attempts to break it |
//! | [`one_with_redis`] | one process on SQLite uses a Redis beside it, and misses nothing without |
//! | [`bulk`] | a hundred thousand ids are one call, and what failed part-way says how far it came |
//! | [`limits`] | tries and connections are limited, nobody is locked out, and too much to do is never "not logged in" |
//! | [`lifecycle`] | it stops soon, and not before what was begun is done |
//! | [`start_and_stop`] | the program starts with nothing, says what is wrong if it cannot, and stops in two stages |
//! | [`durability`] | what was acknowledged outlives a restart, a kill -9 and a restored backup |
//! | [`commands`] | what `kickout --help` offers works beside a server and without one |
//! | [`tour`] | the README's tour works as it is printed |
//! | [`log_grep`] | the program writes no secret, in a whole run at the most talkative level |
//! | [`contract_ledger`] | what the ledger promises, over SQLite and PostgreSQL |
//! | [`contract_accounts`] | what the tables of users and sessions promise, over both |
//! | [`two_nodes`] | two ledgers on one PostgreSQL number, race and settle as one |
//! | [`blocklist`] | what Redis promises: a hit means revoked, a miss means nothing, an outage is soon told |
//! | [`postgres_outages`] | a PostgreSQL that stops, or loses an answer, costs nothing acknowledged |
//! | [`vault`] | what nodes share is the same on all, and the database alone knows nothing of it |
//! | [`keys`] | each algorithm is good elsewhere, a rotation refuses nobody, a key taken back is good nowhere for good |
//! | [`fault_nodes`] | nodes that die, stand still or come back hold up the others for one hold, and accept nothing that ended |
//! | [`fault_network`] | a node that is cut off from SQL stops at its hold, and holds up nobody |
//! | [`fault_postgres`] | PostgreSQL stopped or restored costs nothing acknowledged, and nothing that ends from then on |
//! | [`fault_redis`] | Redis gone, empty, evicting, cut off or behind costs no check, no logout and no revocation |
//! | [`fault_stale`] | what checks answer when the lease is over is the policy's to say |
//! | [`token_cache`] | a token whose signature is remembered is checked like any other |
//! | [`secrets`] | what is told to nobody: not in a log, a metric or an error |
//! | [`checklist`] | each line of the security checklist names tests that exist |
//! | [`mutants`] | each rule broken on purpose is a patch that applies, and names what must notice |
//! | [`architecture`] | dependencies between modules point one way |

mod support;

mod architecture;
mod bad_input;
mod blocklist;
mod browser;
mod bulk;
mod checklist;
mod cluster_http;
mod commands;
mod contract_accounts;
mod contract_ledger;
mod cookies;
mod cors;
mod csrf;
mod durability;
mod fault_network;
mod fault_nodes;
mod fault_postgres;
mod fault_redis;
mod fault_stale;
mod fuzz;
mod hardening;
mod held_rows;
mod http_contract;
mod keys;
mod leases;
mod lifecycle;
mod limits;
mod log_grep;
mod mutants;
mod one_with_redis;
mod postgres_outages;
mod races;
mod refresh;
mod refresh_races;
mod revocation;
mod rules;
mod secrets;
mod start_and_stop;
mod strategies;
mod tls;
mod token_cache;
mod tour;
mod two_nodes;
mod vault;
