//! The command line.
//!
//! A command that reads or changes what a service holds goes through the server that works in the data
//! folder, if one does, and works in the folder itself otherwise. So nothing lands in the database behind a server's
//! back.
//!
//! Standard output has answers only; what is for people to read besides goes to standard error. The exit code is 0 if
//! the command was done, 1 if it was not, 2 if it cannot be understood or the configuration is bad, and 130 if a
//! second signal cut a server short.

mod arguments;
mod files;
mod ids;
mod output;
mod password;
mod serve;
mod transport;

use std::{env, net::SocketAddr, path::PathBuf, process::ExitCode};

use crate::{
    admin,
    app::{self, App, BuildError, PairError, ServeError, StartError},
    clock::Clock,
    config::{Config, Loaded, LogFormat, Problems, Source},
    database::DatabaseError,
    instance::{DataFolder, FolderError},
    lifecycle::Fatal,
    revocation::ledger::ManyKind,
    telemetry::{self, metrics::Metrics},
};

pub use self::{arguments::Cli, transport::run_admin};
use self::{
    arguments::{BulkKind, ConfigVerb, KeysVerb, RevokeVerb, UserVerb, Verb},
    output::Form,
    password::PasswordError,
};

/// What one-shot commands log: trouble, and the acts they do in their own process. What is normal is not news there.
const COMMAND_LOG: &str = "warn,kickout::audit=info";

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is bad.
    #[error("the configuration cannot be used:\n{0}")]
    Config(#[from] Problems),
    /// It would be done, but was not confirmed.
    #[error("{0}")]
    Unconfirmed(&'static str),
    /// No ids could be read.
    #[error(transparent)]
    Ids(#[from] ids::IdsError),
    /// No password could be read.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// Logging cannot be set up.
    #[error(transparent)]
    Log(#[from] telemetry::InitError),
    /// The data folder cannot be worked in.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// There is no data folder to work in, and the command is about what is in it.
    #[error(
        "{path} is not the data folder of a service that was ever started, so there is nothing to do this to. Give the configuration of the server you \
         mean with --config, or its folder with data_dir (KICKOUT__DATA_DIR)",
        path = path.display()
    )]
    NoFolder {
        /// Where it would be.
        path: PathBuf,
    },
    /// There is nothing to ask a server with.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
    /// The process that works in the data folder takes no commands.
    #[error(
        "the process that works in the data folder {path} takes no commands ({why}). Nothing was done. It may be \
         starting, stopping, or another command: try again in a moment. If it stays so, look at its log",
        path = path.display()
    )]
    Unanswered {
        /// The folder.
        path: PathBuf,
        /// What was tried last.
        why: String,
    },
    /// The running server was asked, and no answer came.
    #[error(
        "the server at {address} gave no answer: {why}. Whether it was done is not known. Asking again does no harm \
         to a revocation; look at the list first for anything else"
    )]
    Unknown {
        /// Where it was asked.
        address: SocketAddr,
        /// What went wrong.
        why: String,
    },
    /// The running server does not speak this program's language.
    #[error("the server at {address} does not understand: {why}. Use the kickout of the version that the server is of")]
    Foreign {
        /// Where it was asked.
        address: SocketAddr,
        /// What it said.
        why: String,
    },
    /// The command was understood and not done.
    #[error(transparent)]
    Problem(#[from] admin::Problem),
    /// One address or both cannot be listened on.
    #[error("{0}")]
    Listen(String),
    /// The certificate of the public listener, or its key.
    #[error("the configuration cannot be used:\n{0}")]
    Tls(#[from] PairError),
    /// The application could not be put together.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Serving ended by an error.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The system refuses signal handlers.
    #[error("signals cannot be listened for: {0}")]
    Signals(std::io::Error),
    /// A task that the server cannot be without was lost.
    #[error("the server has stopped because the {0}. Its log says more")]
    Fatal(Fatal),
    /// What was still running did not end in time.
    #[error("the server was cut, because it did not end within {limit_seconds} s of being told to")]
    Overdue {
        /// How long it was waited for.
        limit_seconds: u64,
    },
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Config(_) | Self::Tls(_) | Self::Unconfirmed(_) => 2,
            _ => 1,
        })
    }
}

impl Cli {
    /// Does what the command line says. Failures are told on standard error.
    pub async fn run(self) -> ExitCode {
        match Box::pin(self.perform()).await {
            Ok(code) => code,
            Err(failure) => {
                output::hint(&format!("kickout: {failure}"));
                failure.exit_code()
            }
        }
    }

    async fn perform(self) -> Result<ExitCode, Failure> {
        // What is only known to be unwanted is not worth a look at the configuration.
        let verb = self.command.unwrap_or(Verb::Serve);
        if let Verb::Revoke { what: RevokeVerb::Everything { yes: false } } = verb {
            return Err(Failure::Unconfirmed(
                "this would end every session and revoke every token of every user: all of them have to log in \
                 again. Nothing was done. To do it, add --yes",
            ));
        }
        if let Verb::Restored { yes: false } = verb {
            return Err(Failure::Unconfirmed(
                "this would end every session and kill every token ever issued: everybody has to log in again. \
                 Nothing was done. To do it, add --yes",
            ));
        }
        if let Verb::User { what: UserVerb::Delete { yes: false, .. } } = verb {
            return Err(Failure::Unconfirmed(
                "this would delete the account for good. Nothing was done. To do it, add --yes",
            ));
        }
        let loaded = Config::load(&Source::new(self.config, env::vars_os()))?;
        let (command, form) = match verb {
            Verb::Serve => return Box::pin(serve::serve(loaded)).await,
            Verb::Migrate => return migrate(loaded.config).await,
            Verb::Restored { .. } => return restored(loaded.config).await,
            Verb::Config { what: ConfigVerb::Check } => return Ok(check(&loaded)?),
            Verb::User { what } => user(what)?,
            Verb::Revoke { what } => (revoke(what)?, Form::Text),
            Verb::Keys { what: KeysVerb::Generate } => (admin::Command::KeysGenerate {}, Form::Text),
            Verb::Keys { what: KeysVerb::Retire { kid } } => (admin::Command::KeysRetire { kid }, Form::Text),
            Verb::Keys { what: KeysVerb::List { json } } => (admin::Command::KeysList {}, Form::json_if(json)),
        };
        telemetry::init(log_format(loaded.config.log.format), COMMAND_LOG)?;
        let answer = Box::pin(run_admin(loaded.config, command)).await?;
        output::answer(&answer, form);
        Ok(ExitCode::SUCCESS)
    }
}

fn user(verb: UserVerb) -> Result<(admin::Command, Form), Failure> {
    Ok(match verb {
        UserVerb::Add { name, roles } => {
            let password = password::read(&name)?;
            (admin::Command::UserAdd { username: name, password, roles }, Form::Text)
        }
        UserVerb::Ban { user } => (admin::Command::UserBan { user }, Form::Text),
        UserVerb::Unban { user } => (admin::Command::UserUnban { user }, Form::Text),
        UserVerb::Roles { user, roles, .. } => (admin::Command::UserRoles { user, roles }, Form::Roles),
        UserVerb::Password { user } => {
            let password = password::read(&user)?;
            (admin::Command::UserPassword { user, password }, Form::Text)
        }
        UserVerb::Delete { user, .. } => (admin::Command::UserDelete { user }, Form::Text),
        UserVerb::List { json, after } => (admin::Command::UserList { after }, Form::json_if(json)),
    })
}

fn revoke(verb: RevokeVerb) -> Result<admin::Command, Failure> {
    Ok(match verb {
        RevokeVerb::Token { id } => admin::Command::RevokeToken { token: id },
        RevokeVerb::Session { id } => admin::Command::RevokeSession { session: id },
        RevokeVerb::User { user } => admin::Command::RevokeUser { user },
        RevokeVerb::Bulk { kind, file } => {
            let kind = match kind {
                BulkKind::Token => ManyKind::Token,
                BulkKind::Session => ManyKind::Session,
                BulkKind::Subject => ManyKind::Subject,
            };
            admin::Command::RevokeBulk { kind, ids: ids::read(&file)? }
        }
        RevokeVerb::Everything { .. } => admin::Command::RevokeEverything {},
    })
}

async fn migrate(config: Config) -> Result<ExitCode, Failure> {
    telemetry::init(log_format(config.log.format), COMMAND_LOG)?;
    let folder = DataFolder::open(&config.data_dir)?;
    let path = folder.path().to_owned();
    App::build(config, Clock::System, folder).await?.close().await;
    output::hint(&format!("The database of {} is up to date.", path.display()));
    Ok(ExitCode::SUCCESS)
}

async fn restored(config: Config) -> Result<ExitCode, Failure> {
    telemetry::init(log_format(config.log.format), COMMAND_LOG)?;
    if !transport::was_used(&config) {
        return Err(transport::never_used(&config));
    }
    let folder = DataFolder::open(&config.data_dir)?;
    let ledger = App::build(config, Clock::System, folder).await?.restored().await?;
    output::hint(&format!("The ledger is {ledger} now. Nothing that was issued before is accepted any more."));
    Ok(ExitCode::SUCCESS)
}

fn check(loaded: &Loaded) -> Result<ExitCode, PairError> {
    app::tls(&loaded.config.http, &Clock::System, &Metrics::new())?;
    output::text(&loaded.config.to_toml_redacted());
    for warning in &loaded.warnings {
        output::hint(&format!("warning: {warning}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The configured form of a log line, as the logging knows it.
const fn log_format(configured: LogFormat) -> telemetry::LogFormat {
    match configured {
        LogFormat::Auto => telemetry::LogFormat::Auto,
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    }
}
