//! Where a command is run: by the server that works in the data folder, or in the folder itself if none does.

use std::{net::SocketAddr, time::Duration};

use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

use crate::{
    admin::{Answer, Command, Problem, ProblemKind},
    app::App,
    clock::Clock,
    config::Config,
    instance::{self, Announcement, DataFolder, FolderError},
    keystore,
    lifecycle::{Shutdown, Tasks},
};

use super::{Failure, output};

/// Where a server takes commands, on its management listener.
const PATH: &str = "/v1/admin/commands";

/// How long a server may take for a command: beyond a group commit behind a full queue, or one password hash.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long a connection on this machine may take; a server that has stopped refuses at once.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// The largest answer: 1000 users × (256 bytes of name + 16 roles × 35 bytes + 200) ≈ 1 MB.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// How long a process that holds the folder may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at such a process.
const PAUSE: Duration = Duration::from_millis(100);

/// How long what a command has started may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Runs a command on the data folder of a configuration, wherever it can be run.
///
/// # Errors
/// [`Failure`].
pub async fn run_admin(config: Config, command: Command) -> Result<Answer, Failure> {
    // A mistaken folder must not look like an empty service: a revocation there would come with a good receipt.
    if !command.begins() && !was_used(&config) && !config.data_dir.exists() {
        return Err(never_used(&config));
    }
    let clock = Clock::System;
    let begun = clock.boottime();
    let client = client()?;
    loop {
        let path = match DataFolder::open(&config.data_dir) {
            // One that is in use may belong to a server which is only just starting.
            Ok(_) if !command.begins() && !was_used(&config) => return Err(never_used(&config)),
            Ok(folder) => return offline(config, folder, command).await,
            Err(FolderError::InUse { path }) => path,
            Err(error) => return Err(error.into()),
        };
        let why = match instance::announced(&path)? {
            None => "it has not said where".to_owned(),
            Some(server) => match ask(&client, &server, &command).await? {
                Asked::Answered(answer) => return Ok(answer),
                Asked::NotHeard(why) => why,
            },
        };
        if clock.boottime().since(begun) >= PATIENCE {
            return Err(Failure::Unanswered { path, why });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a data folder has ever been used: any folder may have a common name. What nodes share is in no folder.
pub(super) fn was_used(config: &Config) -> bool {
    config.database.is_shared() || config.data_dir.join(keystore::SECRET_FILE).exists()
}

pub(super) fn never_used(config: &Config) -> Failure {
    Failure::NoFolder { path: std::path::absolute(&config.data_dir).unwrap_or(config.data_dir.clone()) }
}

fn client() -> Result<Client, Failure> {
    // A proxy is for other machines; a redirect would carry the token to somebody else.
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_LIMIT)
        .timeout(ANSWER_LIMIT)
        .build()
        .map_err(|error| Failure::Client(chain(&error)))
}

/// Runs a command in this process, which works in the folder alone.
async fn offline(config: Config, folder: DataFolder, command: Command) -> Result<Answer, Failure> {
    let place = folder.path().display().to_string();
    let tasks = Tasks::new(Shutdown::new());
    let app = App::build(config, Clock::System, folder).await?;
    let result = match app.start(&tasks).await {
        Ok(()) => app.admin().run(command).await.map_err(Failure::from),
        Err(error) => Err(error.into()),
    };
    app.end(&tasks, END_LIMIT).await;
    if result.is_ok() {
        output::hint(&format!("No server runs on {place}: this was done in the folder itself."));
    }
    result
}

/// The problem of a request that was turned away at the door.
const OVERLOADED: &str = "urn:kickout:problem:overloaded";

/// A problem of the HTTP layer (RFC 9457), as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct General {
    #[serde(rename = "type")]
    kind: String,
    title: Option<String>,
    detail: Option<String>,
}

/// What came of asking a server.
#[derive(Debug)]
enum Asked {
    /// It has done it.
    Answered(Answer),
    /// The command has certainly not reached it, and why: it can be asked again.
    NotHeard(String),
}

async fn ask(client: &Client, server: &Announcement, command: &Command) -> Result<Asked, Failure> {
    let url = format!("http://{}{PATH}", server.management);
    let address = server.management;
    let unknown = |why| Failure::Unknown { address, why };
    let response = match client.post(url).bearer_auth(&server.token).json(command).send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => {
            return Ok(Asked::NotHeard(format!("it cannot be reached at {address}: {}", chain(&error))));
        }
        Err(error) => return Err(unknown(chain(&error))),
    };
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED {
        // Another server has taken the folder between our two looks, at the same address.
        return Ok(Asked::NotHeard(format!("it refuses the token in run.json at {address}")));
    }
    let body = read(response).await.map_err(unknown)?;
    if status.is_success() {
        // Done, but in words that this version does not know.
        return serde_json::from_slice(&body)
            .map(Asked::Answered)
            .map_err(|_| unknown(format!("it answered {status}")));
    }
    Err(serde_json::from_slice::<Problem>(&body).map_or_else(|_| general(status, &body, address), Failure::Problem))
}

/// What to make of an answer that the HTTP layer gave and not the command itself.
fn general(status: StatusCode, body: &[u8], address: SocketAddr) -> Failure {
    let general: General = serde_json::from_slice(body).unwrap_or_default();
    if general.kind == OVERLOADED {
        let message = "the server has too much to do at the moment. Nothing was done: try again";
        return Failure::Problem(Problem::new(ProblemKind::Unavailable, message));
    }
    let words = general.detail.or(general.title).map(|words| format!(": {words}")).unwrap_or_default();
    let why = format!("it answered {status}{words}");
    // Whatever refuses the request itself has done nothing; a limit on its time comes too late to say that.
    if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT {
        Failure::Foreign { address, why }
    } else {
        Failure::Unknown { address, why }
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(format!("its answer is larger than {MAX_ANSWER_BYTES} bytes"));
        }
    }
    Ok(body)
}

/// An error with its causes: the client's own text leaves out what went wrong in the end.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, http::HeaderMap, response::IntoResponse, routing::post};
    use tempfile::TempDir;
    use tokio::io::AsyncReadExt;

    use super::*;

    const TOKEN: &str = "token-of-the-server";

    /// A server that lists no keys and knows no users, in a folder that this process holds.
    async fn server(tasks: &Tasks) -> SocketAddr {
        async fn run(headers: HeaderMap, Json(command): Json<Command>) -> axum::response::Response {
            if headers["authorization"] != format!("Bearer {TOKEN}") {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            match command {
                Command::KeysList {} => Json(Answer::Keys(Vec::new())).into_response(),
                Command::KeysGenerate {} => (StatusCode::UNPROCESSABLE_ENTITY, "?").into_response(),
                Command::RevokeEverything {} => (StatusCode::SERVICE_UNAVAILABLE, "?").into_response(),
                Command::RevokeToken { .. } => {
                    (StatusCode::SERVICE_UNAVAILABLE, format!("{{\"type\": \"{OVERLOADED}\"}}")).into_response()
                }
                _ => {
                    let problem = Problem::new(ProblemKind::NotFound, "no such user");
                    (StatusCode::NOT_FOUND, Json(problem)).into_response()
                }
            }
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = tasks.shutdown().soft().clone().cancelled_owned();
        let serving = axum::serve(listener, Router::new().route(PATH, post(run))).with_graceful_shutdown(stop);
        tasks.spawn("server", async move { serving.await.unwrap() });
        address
    }

    fn config(folder: &TempDir) -> Config {
        Config { data_dir: folder.path().to_owned(), ..Config::default() }
    }

    fn announce(folder: &DataFolder, management: SocketAddr, token: &str) {
        folder.announce(&Announcement { pid: 1, management, token: token.to_owned() }).unwrap();
    }

    async fn failure(root: &TempDir, command: Command) -> Failure {
        Box::pin(run_admin(config(root), command)).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_command_goes_to_the_process_that_holds_the_folder() {
        let root = TempDir::new().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        let tasks = Tasks::new(Shutdown::new());
        announce(&folder, server(&tasks).await, TOKEN);

        let answer = Box::pin(run_admin(config(&root), Command::KeysList {})).await.unwrap();
        assert_eq!(answer, Answer::Keys(Vec::new()));
        let failure_of = |command| failure(&root, command);
        let refused = failure_of(Command::UserBan { user: "ada".to_owned() }).await;
        assert!(matches!(&refused, Failure::Problem(problem) if problem.kind == ProblemKind::NotFound), "{refused}");
        let misunderstood = failure_of(Command::KeysGenerate {}).await;
        assert!(matches!(misunderstood, Failure::Foreign { .. }), "{misunderstood}");
        let lost = failure_of(Command::RevokeEverything {}).await;
        assert!(matches!(lost, Failure::Unknown { .. }), "{lost}");
        let token = "3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88".parse().unwrap();
        let turned_away = failure_of(Command::RevokeToken { token }).await;
        assert!(matches!(&turned_away, Failure::Problem(problem) if problem.kind == ProblemKind::Unavailable));
        tasks.shutdown().cut();
    }

    #[tokio::test]
    async fn a_server_that_is_starting_is_waited_for() {
        let root = TempDir::new().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let address = server(&tasks).await;
        // First no word, then a word of an earlier server with another token, then the right one.
        let (answer, ()) = tokio::join!(run_admin(config(&root), Command::KeysList {}), async {
            tokio::time::sleep(3 * PAUSE).await;
            announce(&folder, address, "token-of-an-earlier-one");
            tokio::time::sleep(3 * PAUSE).await;
            announce(&folder, address, TOKEN);
        });
        assert_eq!(answer.unwrap(), Answer::Keys(Vec::new()));
        tasks.shutdown().cut();
    }

    #[tokio::test]
    async fn a_holder_that_takes_no_commands_is_told_after_a_while() {
        let root = TempDir::new().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        announce(&folder, closed, TOKEN);
        let failure = failure(&root, Command::KeysList {}).await;
        let Failure::Unanswered { path, why } = &failure else { panic!("{failure}") };
        assert_eq!(path, &root.path().canonicalize().unwrap());
        assert!(why.contains(&closed.to_string()), "{why}");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_an_unknown_outcome_and_is_not_asked_for_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let management = listener.local_addr().unwrap();
        let server = Announcement { pid: 1, management, token: TOKEN.to_owned() };
        let client = client().unwrap();
        let (asked, accepted) = tokio::join!(ask(&client, &server, &Command::RevokeEverything {}), async {
            // The request is read, and the connection closed without a word.
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read(&mut [0; 4096]).await.unwrap()
        });
        assert!(accepted > 0);
        assert!(matches!(asked, Err(Failure::Unknown { .. })), "{asked:?}");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_not_made_to_revoke_in_it() {
        let root = TempDir::new().unwrap();
        let data_dir = root.path().join("elsewhere");
        let config = Config { data_dir: data_dir.clone(), ..Config::default() };
        let failure = Box::pin(run_admin(config, Command::RevokeEverything {})).await.unwrap_err();
        assert!(matches!(failure, Failure::NoFolder { .. }), "{failure}");
        assert!(!data_dir.exists());
    }
}
