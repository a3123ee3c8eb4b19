//! What the command line takes. The comments here are the help texts.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{
    ids::{KeyId, SessionId, TokenId},
    users,
};

/// Issues JWTs, and takes them back everywhere at once.
///
/// Without a command it serves; without a configuration it keeps everything in ./data and listens on this machine only.
/// Commands work beside a running server: they find it by its data folder, so give them the same configuration.
#[derive(Debug, Parser)]
#[command(name = "kickout", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "The configuration file (else the one that KICKOUT_CONFIG names, else none)"
    )]
    pub(super) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Option<Verb>,
}

const AFTER_HELP: &str = "\
Settings come from the defaults, then the file, then the environment (KICKOUT__SECTION__KEY).

Examples:
  kickout                                          serve, with no configuration at all
  KICKOUT__HTTP__LISTEN=127.0.0.1:3000 kickout     serve on another port
  kickout user add ada --role admin                make an account
  kickout revoke user ada                          log a user out everywhere, now

Exit codes: 0 done, 1 not done, 2 bad command line or configuration, 130 cut by a second signal.";

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Serve (the default)
    ///
    /// Makes the data folder, the database and a signing key if there are none. Ctrl-C or SIGTERM stops it when the
    /// requests in progress are done; a second one stops it at once.
    #[command(after_help = "Example:\n  kickout serve --config /etc/kickout.toml")]
    Serve,
    /// Bring the database up to date and stop
    ///
    /// A server does the same when it starts. Not while one runs.
    #[command(after_help = "Example:\n  kickout migrate --config /etc/kickout.toml")]
    Migrate,
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        what: ConfigVerb,
    },
    /// Make, ban and list users
    User {
        #[command(subcommand)]
        what: UserVerb,
    },
    /// Take tokens back
    ///
    /// Prints the receipt as one line of JSON: once it is there, every check that begins denies.
    Revoke {
        #[command(subcommand)]
        what: RevokeVerb,
    },
    /// Say that the data folder was restored from a backup
    ///
    /// A backup does not know what was revoked after it was made. This begins another life of the ledger: every token
    /// and every session issued before is dead, and everybody has to log in again. Accounts stay. A signing key that was
    /// retired after the backup was made has to be retired again. The server must not be running.
    #[command(after_help = "Example:\n  kickout restored --yes")]
    Restored {
        /// Do it; without this it is refused
        #[arg(long)]
        yes: bool,
    },
    /// Make, list and retire signing keys
    Keys {
        #[command(subcommand)]
        what: KeysVerb,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Print the configuration in force, as TOML without its secrets, or all that is wrong with it
    #[command(after_help = "Example:\n  kickout config check --config /etc/kickout.toml")]
    Check,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserVerb {
    /// Make an account
    ///
    /// The password is asked for in a terminal, else it is the one line of standard input. It is never an argument:
    /// those can be seen by everybody on the machine.
    #[command(after_help = "Examples:\n  kickout user add ada --role admin --role billing:read\n  \
                            kickout user add ada < password.txt")]
    Add {
        /// The user's name
        name: String,
        /// A role; give it again for more
        #[arg(long = "role", value_name = "ROLE", value_parser = role)]
        roles: Vec<String>,
    },
    /// End a user's sessions and let no more begin; prints the receipt
    #[command(after_help = "Example:\n  kickout user ban ada")]
    Ban {
        /// The user's name or id
        #[arg(value_name = "NAME_OR_ID")]
        user: String,
    },
    /// Let a banned user log in again
    #[command(after_help = "Example:\n  kickout user unban ada")]
    Unban {
        /// The user's name or id
        #[arg(value_name = "NAME_OR_ID")]
        user: String,
    },
    /// Give a user other roles; prints the receipt
    ///
    /// Tokens with the old ones are revoked. Sessions live on: their next refresh carries the new ones.
    #[command(after_help = "Examples:\n  kickout user roles ada --role admin --role billing:read\n  \
                            kickout user roles ada --none")]
    Roles {
        /// The user's name or id
        #[arg(value_name = "NAME_OR_ID")]
        user: String,
        /// A role; give it again for more. All others are taken away
        #[arg(long = "role", value_name = "ROLE", value_parser = role, required_unless_present = "none")]
        roles: Vec<String>,
        /// No roles at all
        #[arg(long, conflicts_with = "roles")]
        none: bool,
    },
    /// Set a user's password and end all their sessions; prints the receipt
    ///
    /// The password is asked for in a terminal, else it is the one line of standard input.
    #[command(after_help = "Example:\n  kickout user password ada < password.txt")]
    Password {
        /// The user's name or id
        #[arg(value_name = "NAME_OR_ID")]
        user: String,
    },
    /// Delete an account and end its sessions; prints the receipt
    #[command(after_help = "Example:\n  kickout user delete ada --yes")]
    Delete {
        /// The user's name or id
        #[arg(value_name = "NAME_OR_ID")]
        user: String,
        /// Do it; without this it is refused
        #[arg(long)]
        yes: bool,
    },
    /// List users by name, 1000 at a time
    #[command(after_help = "Examples:\n  kickout user list\n  kickout user list --json --after ada")]
    List {
        /// One line of JSON: {"users": […], "more": false}
        #[arg(long)]
        json: bool,
        /// Begin after this name
        #[arg(long, value_name = "NAME")]
        after: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RevokeVerb {
    /// Revoke one access token; its session goes on
    #[command(after_help = "Example:\n  kickout revoke token 3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88")]
    Token {
        /// The token's jti; it is recorded whether the token is known or not
        id: TokenId,
    },
    /// End one session with all its tokens
    #[command(after_help = "Example:\n  kickout revoke session 3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88")]
    Session {
        /// The session's id, the sid of its tokens
        id: SessionId,
    },
    /// End all sessions of a user, who may log in again
    #[command(after_help = "Example:\n  kickout revoke user ada")]
    User {
        /// The user's name or id
        #[arg(value_name = "NAME_OR_ID")]
        user: String,
    },
    /// Revoke many tokens or sessions, or end all sessions of many users
    ///
    /// One id per line, at most 100000. They are recorded in parts; if one fails, what was done is said, and the same
    /// command goes on from there.
    #[command(after_help = "Example:\n  kickout revoke bulk session ids.txt")]
    Bulk {
        /// What the ids name
        kind: BulkKind,
        /// The file; - is standard input
        file: PathBuf,
    },
    /// End all sessions of everybody
    #[command(after_help = "Example:\n  kickout revoke everything --yes")]
    Everything {
        /// Do it; without this it is refused
        #[arg(long)]
        yes: bool,
    },
}

/// What the ids of a bulk revocation name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum BulkKind {
    /// Access tokens, by jti
    Token,
    /// Sessions, by sid
    Session,
    /// Users, by sub
    Subject,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysVerb {
    /// Make a signing key
    ///
    /// It is published at once, and signs when every verifier can know it (10 minutes later, unless configured
    /// otherwise). The key before it goes on verifying until its last token is dead.
    #[command(after_help = "Example:\n  kickout keys generate")]
    Generate,
    /// Take a key back at once, because somebody else may have it
    ///
    /// Every token that it has signed or ever will is refused from the receipt on. Sessions live on: their clients refresh
    /// and get tokens under another key, which is made if there is none. The private key is deleted. There is no way
    /// back. To replace a key as a matter of routine, make another one.
    #[command(after_help = "Example:\n  kickout keys retire kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
    Retire {
        /// The key's id, as `kickout keys list` shows it
        // One of 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: KeyId,
    },
    /// List the keys and where each is in its life
    #[command(after_help = "Example:\n  kickout keys list --json")]
    List {
        /// One line of JSON: {"keys": […]}
        #[arg(long)]
        json: bool,
    },
}

fn role(text: &str) -> Result<String, &'static str> {
    if users::is_role(text) { Ok(text.to_owned()) } else { Err("a role has 1 to 32 of a-z A-Z 0-9 _ : . -") }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn a_key_is_retired_by_an_id_that_looks_like_an_option_too() {
        for begins in ["-", "--", "-h", "-V", "--help", "A"] {
            let id = format!("{begins}{}", "A".repeat(43 - begins.len()));
            match parse(&format!("kickout keys retire {id}")).unwrap().command {
                Some(Verb::Keys { what: KeysVerb::Retire { kid } }) => assert_eq!(kid.to_string(), id),
                other => panic!("{id}: {other:?}"),
            }
        }
        assert_eq!(parse("kickout keys retire --help").unwrap_err().kind(), ErrorKind::DisplayHelp);
    }

    #[test]
    fn the_definition_is_consistent_and_every_command_shows_an_example() {
        Cli::command().debug_assert();
        let mut groups = vec![Cli::command()];
        while let Some(group) = groups.pop() {
            let is_leaf = group.get_subcommands().next().is_none();
            let help = group.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(!is_leaf || help.contains("Example"), "{} has no example", group.get_name());
            groups.extend(group.get_subcommands().cloned());
        }
    }

    #[test]
    fn the_example_in_each_help_text_is_understood() {
        let mut groups = vec![Cli::command()];
        let mut seen = 0;
        while let Some(group) = groups.pop() {
            let help = group.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter_map(|line| line.strip_prefix("  kickout ")) {
                let line = line.split("  ").next().unwrap_or_default().split(" <").next().unwrap_or_default();
                parse(&format!("kickout {line}")).unwrap_or_else(|error| panic!("{line}: {error}"));
                seen += 1;
            }
            groups.extend(group.get_subcommands().cloned());
        }
        assert!(seen > 12, "{seen} examples");
    }

    #[test]
    fn serving_is_the_default_and_config_goes_anywhere() {
        assert!(parse("kickout").unwrap().command.is_none());
        for line in ["kickout --config a.toml keys list", "kickout keys list --config a.toml"] {
            assert_eq!(parse(line).unwrap().config, Some("a.toml".into()), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_done() {
        for line in [
            "kickout revoke token 42",
            "kickout revoke session 3F0E8C1A-6D2B-4C57-9A41-0B6F5D2E7C88",
            "kickout user add ada --role a,b",
        ] {
            assert_eq!(parse(line).unwrap_err().kind(), ErrorKind::ValueValidation, "{line}");
        }
        let error = parse("kickout user add ada secret").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownArgument, "a password is no argument");
    }
}
