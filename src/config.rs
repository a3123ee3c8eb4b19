//! The configuration: plain values, and where they come from.
//!
//! Three layers, each over the one before: the defaults ([`Config::default`], written out with comments in
//! `config/default.toml`), a TOML file (`--config FILE`, else `KICKOUT_CONFIG`), and the environment
//! (`KICKOUT__SECTION__KEY`, lists comma-separated). [`Config::load`] gives a configuration that can be used as it is,
//! or [`Problems`]: everything that is wrong, at once, each with its place and its remedy. A name that does not exist
//! is a problem too, so that no misspelt setting is ignored.
//!
//! A secret may stand in a file of its own, named by `<key>_file` (`KICKOUT__MANAGEMENT__TOKEN_FILE`). No secret is
//! ever printed: not in a problem, not by `Debug`, not by [`Config::to_toml_redacted`]. Relative paths start at the
//! working directory.

mod browsers;
mod layers;
mod load;
mod problems;
mod rules;
mod sections;
mod values;

pub use self::{
    load::{Loaded, Source},
    problems::{Place, Problem, Problems},
    sections::{
        Accept, Accounts, Algorithm, Config, Cookies, Database, Filter, Http, Limits, Log, LogFormat, Management, Node,
        OnStale, Passwords, Redis, RedisMode, Revocation, SameSite, Sessions, SiteData, Strategy, Tokens, Verify,
    },
    values::{Origin, ParseOriginError, ParseSpanError, Secret, Span},
};

impl Config {
    /// The whole configuration as TOML, for people to read: a secret that is set shows as `(set)`.
    #[must_use]
    pub fn to_toml_redacted(&self) -> String {
        // Only a path that is not UTF-8 cannot be written, and no layer can set one.
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be written as TOML: {error}\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{rules::*, *};

    const DEFAULT_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/default.toml");

    /// The dotted keys of all values in a table.
    fn leaves(table: &toml::Table) -> Vec<String> {
        let mut keys = Vec::new();
        for (name, value) in table {
            match value {
                toml::Value::Table(inner) => keys.extend(leaves(inner).iter().map(|key| format!("{name}.{key}"))),
                _ => keys.push(name.clone()),
            }
        }
        keys.sort_unstable();
        keys
    }

    fn default_table() -> toml::Table {
        toml::Table::try_from(Config::default()).unwrap()
    }

    #[test]
    fn every_key_has_one_rule_and_its_default_keeps_it() {
        let mut ruled: Vec<_> = RULES.iter().map(|(key, _)| (*key).to_owned()).collect();
        ruled.sort_unstable();
        assert_eq!(ruled, leaves(&default_table()));
        let default = figment::value::Value::serialize(Config::default()).unwrap();
        for (key, rule) in &RULES {
            assert_eq!(rule.faults(default.find_ref(key).unwrap()), Vec::<String>::new(), "{key}");
            if matches!(rule, Rule::Choice(_)) {
                assert_ne!(rule.range().as_deref(), Some(""), "{key} has choices");
            }
        }
    }

    #[test]
    fn the_default_file_holds_every_key_at_its_default() {
        let source = Source::new(Some(Path::new(DEFAULT_FILE).to_owned()), std::iter::empty());
        let loaded = Config::load(&source).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.warnings, Vec::<String>::new());

        let table: toml::Table = std::fs::read_to_string(DEFAULT_FILE).unwrap().parse().unwrap();
        let mut expected = leaves(&default_table());
        expected.extend(
            ["database.url_file", "management.token_file", "redis.url_file", "tokens.key_encryption_key_file"]
                .map(str::to_owned),
        );
        expected.sort_unstable();
        assert_eq!(leaves(&table), expected);
    }

    #[test]
    fn the_default_file_tells_the_purpose_and_the_range_of_every_key() {
        let text = std::fs::read_to_string(DEFAULT_FILE).unwrap();
        let (mut section, mut comment, mut seen) = (String::new(), String::new(), 0);
        for line in text.lines() {
            if let Some(words) = line.strip_prefix('#') {
                comment.push_str(words);
            } else if let Some(name) = line.strip_prefix('[') {
                section = format!("{}.", name.trim_end_matches(']'));
            } else if let Some((name, _)) = line.split_once(" = ") {
                let key = format!("{section}{name}");
                assert!(!comment.is_empty(), "{key} has a comment of its own");
                let range = Rule::of(&key).and_then(Rule::range).unwrap_or_default();
                assert!(comment.contains(&range), "{key} takes {range}, its comment says: {comment}");
                seen += 1;
            } else {
                comment.clear();
            }
        }
        assert_eq!(seen, RULES.len() + 4);
    }

    #[test]
    fn the_redacted_form_loads_again_when_no_secret_is_set() {
        let config = Config::default();
        let again: Config = toml::from_str(&config.to_toml_redacted()).unwrap();
        assert_eq!(again, config);
    }
}
