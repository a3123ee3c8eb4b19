//! Reads the layers, checks every value, and gives a configuration or all that is wrong with it.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use figment::{Figment, providers::Serialized, value::Value};

use super::{
    layers::{Layer, lookalikes, read_text, variable},
    problems::{Place, Problem, Problems},
    rules::{RULES, Rule, conflicts, is_secret, warnings},
    sections::Config,
};

/// The variable that names the configuration file.
const FILE_VARIABLE: &str = "KICKOUT_CONFIG";

/// The largest file that holds one secret, in bytes.
const SECRET_BYTES: u64 = 64 * 1024;

/// Where to load a configuration from.
#[derive(Clone)]
pub struct Source {
    /// The file, and what named it.
    file: Option<(PathBuf, &'static str)>,
    environment: Vec<(OsString, OsString)>,
}

impl Source {
    /// The file is the `--config` argument, else the one that `KICKOUT_CONFIG` names, else none. The environment is
    /// the process's, as [`std::env::vars_os`] gives it.
    #[must_use]
    pub fn new(argument: Option<PathBuf>, environment: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let is_ours = |name: &OsStr| name.to_string_lossy().to_ascii_uppercase().starts_with("KICKOUT_");
        let environment: Vec<_> = environment.filter(|(name, _)| is_ours(name)).collect();
        let named = environment.iter().find(|(name, file)| name == FILE_VARIABLE && !file.is_empty());
        let file = match argument {
            Some(path) => Some((path, "--config")),
            None => named.map(|(_, path)| (PathBuf::from(path), FILE_VARIABLE)),
        };
        Self { file, environment }
    }
}

impl fmt::Debug for Source {
    /// The names of the variables only: their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Source").field("file", &self.file).field("environment", &names).finish()
    }
}

/// A configuration without problems.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What works and has a price: a sentence or two each, with what to do.
    pub warnings: Vec<String>,
    /// Where each value that is not a default comes from, by dotted key.
    pub sources: BTreeMap<String, Place>,
}

impl Config {
    /// Loads the configuration: the defaults, over them the file, over that the environment.
    ///
    /// # Errors
    /// [`Problems`]: all of them, not the first.
    pub fn load(source: &Source) -> Result<Loaded, Problems> {
        let mut problems = Problems::default();
        let file = match &source.file {
            Some((path, named_by)) => Layer::read_file(path, named_by, &mut problems),
            None => Some(Layer::default()),
        };
        let is_file_known = file.is_some();
        let environment = Layer::read_environment(&source.environment, &mut problems);
        let given = Figment::from(file.unwrap_or_default()).merge(environment);

        let (good, sources) = check_each(&given, &mut problems);
        // The values that are wrong stand at their defaults here, so that the rest can be checked together.
        let config: Config = match Figment::from(Serialized::defaults(Self::default())).merge(good).extract() {
            Ok(config) => config,
            Err(error) => {
                problems.push(not_understood(&error, &sources));
                return Err(problems);
            }
        };
        if is_file_known {
            check_together(&config, &sources, &mut problems);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut all_warnings = lookalikes(&source.environment);
        all_warnings.extend(warnings(&config));
        Ok(Loaded { config, warnings: all_warnings, sources })
    }
}

/// Checks each value that is set, alone. Gives the good ones, and where each value that is set comes from.
fn check_each(given: &Figment, problems: &mut Problems) -> (Layer, BTreeMap<String, Place>) {
    let (mut good, mut sources) = (Layer::default(), BTreeMap::new());
    for (key, rule) in &RULES {
        let found = if is_secret(key) { find_secret(given, key, rule, problems) } else { find(given, key) };
        let Some((name, value, place)) = found else { continue };
        let faults = rule.faults(&value);
        if faults.is_empty() {
            good.values.insert((*key).to_owned(), value);
        }
        for wrong in faults {
            problems.push(Problem { key: Some(name.clone()), place: place.clone(), wrong, remedy: rule.remedy() });
        }
        sources.insert((*key).to_owned(), place);
    }
    (good, sources)
}

/// A value that is set: the name it was set by, the value, and where.
type Found = (String, Value, Place);

fn find(given: &Figment, key: &str) -> Option<Found> {
    let value = given.find_value(key).ok()?;
    let file = given.find_metadata(key)?.source.as_ref().and_then(|source| source.file_path().map(Path::to_owned));
    let place = file.map_or_else(|| Place::Environment(variable(key)), Place::File);
    Some((key.to_owned(), value, place))
}

/// Finds a secret under its own name or in the file that `<key>_file` names. An empty text under either name counts
/// as not set, so that a higher layer can take a secret back.
fn find_secret(given: &Figment, key: &str, rule: &Rule, problems: &mut Problems) -> Option<Found> {
    let is_set = |(_, value, _): &Found| value.as_str() != Some("");
    let direct = find(given, key).filter(is_set);
    let Some((name, value, place)) = find(given, &format!("{key}_file")).filter(is_set) else { return direct };
    let mut refuse = |wrong: String, remedy: String| {
        problems.push(Problem { key: Some(name.clone()), place: place.clone(), wrong, remedy });
        None
    };
    if let Some((_, _, other)) = direct {
        let wrong = format!("{key} is set too (in {other})");
        return refuse(wrong, format!("Keep one of {key} and {key}_file"));
    }
    let Some(path) = value.as_str() else {
        return refuse(
            "the value is not a text".to_owned(),
            "Write the path of a file that holds the secret".to_owned(),
        );
    };
    // The path is not shown: it is the secret itself if somebody took the wrong one of the two names.
    let secret = match read_text(Path::new(path), SECRET_BYTES) {
        Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
        Err(error) => {
            let remedy = "Write the path of a file that this process may read, and that holds nothing but the secret";
            return refuse(format!("cannot read the file: {error}"), remedy.to_owned());
        }
    };
    if secret.is_empty() {
        return refuse("the file is empty".to_owned(), rule.remedy());
    }
    Some((name, Value::from(secret), place))
}

/// Checks the rules between keys, where all keys of a rule are good in themselves.
fn check_together(config: &Config, sources: &BTreeMap<String, Place>, problems: &mut Problems) {
    for conflict in conflicts(config) {
        let is_known = |key: &&str| !problems.concern(key) && !problems.concern(&format!("{key}_file"));
        if !conflict.keys.iter().all(is_known) {
            continue;
        }
        let set =
            conflict.keys.iter().find_map(|key| sources.get(*key).map(|place| ((*key).to_owned(), place.clone())));
        let (key, place) = set.unwrap_or_else(|| (conflict.keys[0].to_owned(), Place::Default));
        problems.push(Problem { key: Some(key), place, wrong: conflict.wrong, remedy: conflict.remedy });
    }
}

/// A value that its rule takes and its type does not. The rules are there to make this impossible.
fn not_understood(error: &figment::Error, sources: &BTreeMap<String, Place>) -> Problem {
    let key = error.path.join(".");
    let place = sources.get(&key).cloned().unwrap_or(Place::Default);
    let wrong = if is_secret(&key) { "the value is not understood".to_owned() } else { error.kind.to_string() };
    let remedy = Rule::of(&key).map_or_else(|| "Correct or remove it".to_owned(), Rule::remedy);
    Problem { key: Some(key), place, wrong, remedy }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// A file with this text (no file if it is empty) and these variables, loaded.
    fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("kickout.toml");
        fs::write(&path, toml).unwrap();
        Config::load(&Source::new((!toml.is_empty()).then_some(path), environment(variables)))
    }

    fn environment(variables: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
        variables.iter().map(|(name, value)| (name.into(), value.into()))
    }

    fn problems(toml: &str, variables: &[(&str, &str)]) -> Vec<Problem> {
        load(toml, variables).map_or_else(|problems| problems.as_slice().to_vec(), |loaded| panic!("{loaded:?}"))
    }

    /// The one problem, without its place, as a line.
    fn problem(toml: &str, variables: &[(&str, &str)]) -> String {
        let problems = problems(toml, variables);
        let [problem] = problems.as_slice() else { panic!("one problem expected: {problems:#?}") };
        Problem { place: Place::Default, ..problem.clone() }.to_string().replace(" (default)", "")
    }

    #[test]
    fn each_bad_value_gets_its_message() {
        let cases = [
            ("data_dir = ''", "data_dir: \"\" is not a path. Write the path of a directory"),
            ("data_dir = 5", "data_dir: 5 is not a text"),
            (
                "http.listen = 'localhost'",
                "http.listen: \"localhost\" is not an IP address with a port. Write an address",
            ),
            ("http.allowed_origins = ['*']", "http.allowed_origins: \"*\" would allow every site. List origins as"),
            ("http.allowed_origins = ['null']", "\"null\" is what any sandboxed page sends as its origin"),
            ("http.allowed_origins = ['https://a.example/']", "has more than a scheme, a host and a port"),
            ("http.allowed_origins = [7]", "7 is not a text"),
            ("http.allowed_origins = 'https://a.example'", "\"https://a.example\" is not a list"),
            ("http.trusted_proxies = ['10.0.0.0/33']", "\"10.0.0.0/33\" is not an IP address or network"),
            (
                "http.body_limit = 1023",
                "http.body_limit: 1023 is out of range. Write a whole number from 1024 to 1048576",
            ),
            ("http.body_limit = 1048577", "is out of range"),
            ("http.max_requests = -1", "-1 is out of range. Write a whole number from 1 to 100000"),
            ("http.max_requests = '10'", "\"10\" is not a whole number"),
            ("http.max_requests = 10.5", "10.5 is not a whole number"),
            ("http.max_requests = true", "true is not a whole number"),
            (
                "http.request_timeout = 30",
                "30 is not a text. Write a duration from 1s to 5m: a whole number and one unit",
            ),
            ("http.request_timeout = '30'", "\"30\" is not a duration. Write a duration from 1s to 5m"),
            ("http.request_timeout = '0s'", "\"0s\" is out of range"),
            ("http.request_timeout = { secs = 5 }", "a table is not a text"),
            ("tokens.access_ttl = '25h'", "\"25h\" is out of range. Write a duration from 10s to 1d"),
            ("tokens.issuer = ''", "\"\" is empty. Write 1 to 255 bytes"),
            // 128 letters of two bytes, and 128 signs that a token writes with two.
            (&format!("tokens.audience = '{}'", "é".repeat(128)), "is too long. Write 1 to 255 bytes"),
            (&format!("tokens.client_id = '{}'", "\"".repeat(128)), "is too long. Write 1 to 255 bytes"),
            ("tokens.audience = \"a\\nb\"", "has a control character"),
            (
                "tokens.algorithm = 'none'",
                "\"none\" is not one of the choices. Choose from: EdDSA, ES256, RS256, HS256.",
            ),
            ("cookies.same_site = 'None'", "\"None\" is not one of the choices. Choose from: Lax, Strict."),
            ("cookies.domain = '.example.com'", "has a leading dot"),
            ("cookies.domain = '10.0.0.1'", "is an address"),
            ("cookies.domain = 'example.com:80'", "has more than a name"),
            ("cookies.domain = 'localhost'", "is a single label"),
            ("cookies.domain = 'a..b'", "is not a domain name"),
            ("accounts.signup = 'yes'", "\"yes\" is neither true nor false"),
            ("revocation.filter.false_positives = 0", "0 is out of range. Write a number from 0.000001 to 0.1"),
            ("revocation.filter.false_positives = nan", "is out of range"),
            (
                "revocation.filter = 1",
                "revocation.filter: this is a section, not a value. Set one of its keys, like revoc",
            ),
            ("log.format = 'JSON'", "Choose from: auto, text, json."),
            ("log.filter = 'a=b=c'", "is not understood: error parsing level filter"),
            ("log.filter = 'wran'", "has the target \"wran\", which looks like the level warn misspelt"),
            ("log.filter = ' '", "is empty"),
            (
                "database.url = 'mysql://u:hunter2@db/x'",
                "database.url: the value begins with none of sqlite:, postgres:// and postgresql://",
            ),
            ("management.token = 'hunter2'", "management.token: the value is too short. Use 16 or more"),
            ("management.token = 'hunter2 hunter2 hunter2'", "the value has a character that"),
            ("management.token = 12345678901234567", "management.token: the value is not a text"),
            (
                "sessions = { idle = '5d', absolute = '4d' }",
                "sessions.absolute (4d) is shorter than sessions.idle (5d)",
            ),
            (
                "management.listen = '127.0.0.1:8080'",
                "http.listen (127.0.0.1:8080) and management.listen (127.0.0.1:8080)",
            ),
            ("http.listen = '0.0.0.0:9100'", "http.listen (0.0.0.0:9100) and management.listen (127.0.0.1:9100) need"),
            ("management.listen = '10.0.0.1:9100'", "management.token is not set. Set management.token (16 or more"),
            ("http.listne = ''", "http.listne: there is no such key. The nearest name is http.listen."),
            ("management.body_limit = 1", "The nearest name is http.body_limit."),
            ("[htp]\nlisten = ''", "htp: there is no such key. The nearest name is http."),
            ("'http.listen' = ''", "\"http.listen\": there is no such key"),
            ("colour = 'red'", "colour: there is no such key. Remove it"),
        ];
        for (toml, expected) in cases {
            let line = problem(toml, &[]);
            assert!(line.contains(expected), "{toml}\n gives: {line}\n  not: {expected}");
            assert!(!line.contains("hunter2") && !line.contains("123456"), "a secret is shown: {line}");
        }
    }

    #[test]
    fn one_problem_does_not_hide_another_and_each_says_where_it_is() {
        let toml = "tokens.access_ttl = 5\nsessions.idle = 'x'\nsessions.absolute = '2m'\ncolour = 1";
        let variables =
            [("KICKOUT__HTTP__LISTEN", "x"), ("KICKOUT__HTTP__LISTNE", "y"), ("KICKOUT__ACCOUNTS__SIGNUP", "no")];
        let problems = problems(toml, &variables);
        let found: Vec<_> = problems.iter().map(|problem| (problem.key.as_deref().unwrap(), &problem.place)).collect();
        let variable = |index: usize| Place::Environment(variables[index].0.to_owned());
        let file = found[0].1.clone();
        assert!(matches!(&file, Place::File(path) if path.ends_with("kickout.toml")), "{file:?}");
        assert_eq!(
            found,
            [
                ("colour", &file),
                ("http.listne", &variable(1)),
                ("http.listen", &variable(0)),
                ("accounts.signup", &variable(2)),
                ("tokens.access_ttl", &file),
                // And no complaint that `absolute` is below the default of `idle`, which nobody chose.
                ("sessions.idle", &file),
            ]
        );
        assert_eq!(Problems::to_string(&load(toml, &variables).unwrap_err()).lines().count(), 6);
    }

    #[test]
    fn the_environment_goes_over_the_file_and_the_file_over_the_defaults() {
        let toml = "[tokens]\nissuer = 'file'\naudience = 'file'\n[http]\nlisten = 'replaced, so never read'";
        let variables = [
            ("KICKOUT__TOKENS__ISSUER", "007"),
            ("KICKOUT__HTTP__LISTEN", "[::1]:0"),
            ("KICKOUT__HTTP__ALLOWED_ORIGINS", "https://A.example, https://localhost:3000"),
            ("KICKOUT__HTTP__TRUSTED_PROXIES", "10.0.0.7,fd00::/8"),
            ("KICKOUT__ACCOUNTS__SIGNUP", "false"),
            ("KICKOUT__REVOCATION__FILTER__CAPACITY", "5000"),
            ("KICKOUT__REVOCATION__FILTER__FALSE_POSITIVES", "1e-3"),
            ("KICKOUT__LOG__FILTER", "warn,kickout=debug"),
            ("PATH", "/bin"),
        ];
        let Loaded { config, warnings, sources } = load(toml, &variables).unwrap();
        let mut expected = Config::default();
        expected.tokens.issuer = "007".to_owned();
        expected.tokens.audience = "file".to_owned();
        expected.http.listen = "[::1]:0".parse().unwrap();
        expected.http.allowed_origins =
            ["https://a.example", "https://localhost:3000"].map(|o| o.parse().unwrap()).into();
        expected.http.trusted_proxies = ["10.0.0.7/32", "fd00::/8"].map(|network| network.parse().unwrap()).into();
        expected.accounts.signup = false;
        expected.revocation.filter.capacity = 5000;
        expected.log.filter = "warn,kickout=debug".to_owned();
        assert_eq!(config, expected);
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(sources["tokens.issuer"], Place::Environment("KICKOUT__TOKENS__ISSUER".to_owned()));
        assert!(matches!(sources["tokens.audience"], Place::File(_)));
        assert!(!sources.contains_key("tokens.client_id"));

        let cleared = load("http.allowed_origins = ['https://a.example']", &[("KICKOUT__HTTP__ALLOWED_ORIGINS", "")]);
        assert_eq!(cleared.unwrap().config, Config::default(), "an empty list replaces the file's");
    }

    #[test]
    fn a_variable_with_a_wrong_name_is_never_ignored() {
        for (name, expected) in [
            ("KICKOUT__HTTP__LISTNE", "http.listne: there is no such key. The nearest name is KICKOUT__HTTP__LISTEN."),
            ("KICKOUT__Http__Listen", "the variable's name is not in upper case. Name it KICKOUT__HTTP__LISTEN."),
            ("kickout__http__listen", "Name it KICKOUT__HTTP__LISTEN."),
            ("KICKOUT__HTTP_LISTEN", "The nearest name is KICKOUT__HTTP__LISTEN."),
            ("KICKOUT__HTTP.LISTEN", "there is no such key"),
            ("KICKOUT__HTTP__LISTEN__PORT", "there is no such key"),
            ("KICKOUT__HTTP", "http: this is a section, not a value. Set one of its keys, like KICKOUT__HTTP__LISTEN."),
            ("KICKOUT__", "there is no such key"),
        ] {
            let line = problem("", &[(name, "127.0.0.1:1")]);
            assert!(line.contains(expected), "{name}\n gives: {line}\n  not: {expected}");
        }
        let loaded = load("", &[("KICKOUT_HTTP_LISTEN", "127.0.0.1:1"), ("KICKOUT_PORT", "tcp://10.0.0.1")]).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(
            loaded.warnings,
            ["KICKOUT_HTTP_LISTEN is not read. The variable is KICKOUT__HTTP__LISTEN, with two underscores."]
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_or_parsed_is_a_problem_with_a_line_and_no_quotation() {
        let line = problem("[management]\ntoken = \"hunter2hunter2hunter2", &[]);
        assert!(line.contains("line 2, column 31: invalid basic string"), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
        let line = problem("[management]\ntoken = hunter2hunter2hunter2", &[]);
        assert!(line.contains("line 2, column 9: ") && !line.contains("hunter2"), "{line}");
        let line = problem("a = 1\na = 2", &[]);
        assert!(line.contains("line 2, column 1: duplicate key"), "{line}");
        // What the file would have said is unknown, so only what is wrong in itself is told of the rest.
        let with_environment = [("KICKOUT__MANAGEMENT__LISTEN", "0.0.0.0:1"), ("KICKOUT__LOG__FORMAT", "xml")];
        assert_eq!(problems("[management\ntoken", &with_environment).len(), 2);

        for (argument, variable, expected) in [
            (Some("/nowhere/a.toml"), "/nowhere/b.toml", "/nowhere/a.toml: cannot read the configuration file"),
            (None, "/nowhere/b.toml", "/nowhere/b.toml: cannot read the configuration file"),
            (None, "/nowhere/b.toml", "or correct KICKOUT_CONFIG."),
            (Some("/"), "", "or correct --config."),
        ] {
            let source = Source::new(argument.map(PathBuf::from), environment(&[("KICKOUT_CONFIG", variable)]));
            let line = Config::load(&source).unwrap_err().to_string();
            assert!(line.contains(expected), "{line}");
        }
    }

    #[test]
    fn a_secret_may_be_in_a_file_of_its_own_and_shows_nowhere() {
        const TOKEN: &str = "hunter2-hunter2-hunter2";
        let folder = TempDir::new().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let good = file("good", &format!("{TOKEN}\r\n"));
        let toml = format!("management.token_file = '{good}'\nmanagement.token = ''");
        for loaded in [load(&toml, &[]), load("", &[("KICKOUT__MANAGEMENT__TOKEN_FILE", &good)])] {
            let loaded = loaded.unwrap();
            assert_eq!(loaded.config.management.token.expose(), TOKEN);
            assert!(loaded.sources.contains_key("management.token"));
            assert!(loaded.config.to_toml_redacted().contains("token = \"(set)\""));
            assert!(!format!("{loaded:?}{}", loaded.config.to_toml_redacted()).contains("hunter2"));
        }
        let source = Source::new(None, environment(&[("KICKOUT__MANAGEMENT__TOKEN", TOKEN)]));
        assert!(!format!("{source:?}").contains("hunter2"));

        let short = file("hunter2", "hunter2\n");
        let large = file("large", &"x".repeat(64 * 1024 + 1));
        let empty = file("empty", "\n");
        for (path, expected) in [
            (short.as_str(), "management.token_file: the value is too short"),
            (&large, "cannot read the file: it is larger than 65536 bytes"),
            (&empty, "the file is empty. Use 16 or more"),
            (TOKEN, "management.token_file: cannot read the file: No such file"),
        ] {
            // A token that is wrong is not a token that is missing: one problem, not two.
            let line = problem(&format!("management.listen = '0.0.0.0:9100'\nmanagement.token_file = '{path}'"), &[]);
            assert!(line.contains(expected) && !line.contains("hunter2"), "{line}");
        }
        let line = problem("management.token_file = 5", &[]);
        assert!(line.contains("management.token_file: the value is not a text"), "{line}");
        let line = problem(&toml, &[("KICKOUT__MANAGEMENT__TOKEN", TOKEN)]);
        assert!(line.contains("management.token is set too (in KICKOUT__MANAGEMENT__TOKEN)"), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
    }

    #[test]
    fn what_is_allowed_and_has_a_price_is_a_warning() {
        for (toml, expected) in [
            ("cookies.domain = 'example.com'", "cookies.domain is \"example.com\": every host under it receives"),
            ("http.listen = '0.0.0.0:8080'", "http.listen is 0.0.0.0:8080: other machines reach it over plain HTTP"),
            ("passwords.min_chars = 14", "passwords.min_chars is 14: "),
            ("http.trusted_proxies = ['::/0']", "http.trusted_proxies has ::/0: any client"),
            ("http.trusted_proxies = ['2000::/3']", "http.trusted_proxies has 2000::/3: any client"),
            ("http.trusted_proxies = ['fc00::/6']", "http.trusted_proxies has fc00::/6: any client"),
            ("http.trusted_proxies = ['10.0.0.0/7']", "http.trusted_proxies has 10.0.0.0/7: any client"),
            ("limits.wrong_per_account = 0", "limits.wrong_per_account is 0, which is no limit"),
            (
                "limits = { signups_per_account = 0, logins_per_address = 0 }",
                "limits.logins_per_address, limits.signups_per_account are 0, which is no limit",
            ),
            ("sessions.idle = '15m'", "sessions.idle (15m) is not longer than tokens.access_ttl (15m)"),
            (
                "management = { listen = '10.0.0.1:1', token = 'long-enough-token' }",
                "management.listen is 10.0.0.1:1: ",
            ),
        ] {
            let warnings = load(toml, &[]).unwrap().warnings;
            assert!(matches!(warnings.as_slice(), [warning] if warning.starts_with(expected)), "{toml}: {warnings:?}");
        }
        assert_eq!(load("", &[]).unwrap().warnings, Vec::<String>::new(), "the defaults have no price");
        let halves = load("http.trusted_proxies = ['0.0.0.0/1', '128.0.0.0/1']", &[]).unwrap().warnings;
        assert_eq!(halves.len(), 2, "{halves:?}");
        let private = "http.trusted_proxies = ['10.0.0.0/8', 'fc00::/7', 'fe80::/10', '2001::/16']";
        assert_eq!(load(private, &[]).unwrap().warnings, Vec::<String>::new());
    }

    /// Any key will do here.
    const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

    #[test]
    fn what_several_nodes_need_is_asked_for_and_what_cannot_be_done_is_refused() {
        for (toml, expected) in [
            ("database.url = 'postgres://db/x'", "tokens.key_encryption_key, which encrypts them there, is not set"),
            (
                &format!(
                    "database.url = 'postgres://db/x'\ntokens = {{ key_encryption_key = '{KEY}', key_lead = '59s' }}"
                ),
                "than it may take until every node has a new key. Write 1m or more",
            ),
            (
                &format!(
                    "database.url = 'postgres://db/x'\ntokens = {{ key_encryption_key = '{KEY}', algorithm = 'HS256' }}"
                ),
                "tokens.algorithm is HS256, whose keys are secrets of one node",
            ),
            (
                "tokens = { key_rotation = '24m', key_lead = '10m', access_ttl = '15m' }",
                "tokens.key_rotation (24m) is shorter than tokens.key_lead (10m) and tokens.access_ttl (15m) together",
            ),
            ("tokens.key_encryption_key = '123456'", "the value is not 64 hexadecimal digits. Make one with: openssl"),
            (
                &format!("tokens.key_encryption_key = '{}'", "0".repeat(64)),
                "tokens.key_encryption_key: the value is one byte over and over, which anybody guesses. Make one with",
            ),
            (&format!("tokens.key_encryption_key = '{}'", "aB".repeat(32)), "the value is one byte over and over"),
            ("redis.url = 'http://hunter2'", "the value begins with none of redis://, rediss:// and unix://"),
            ("redis.mode = 'cluster'", "redis.mode is cluster, which this version does not do. Use single"),
            ("redis.mode = 'sentinel'", "redis.mode is sentinel, which this version does not do. Use single"),
            ("redis.prefix = ''", "is not a word. Write 1 to 64 of the characters"),
            ("node.name = 'a b'", "is not a word. Write at most 64 of the characters"),
            ("revocation.on_stale = 'serve_for'", "revocation.serve_for is 0s. Set revocation.serve_for"),
        ] {
            let line = problem(toml, &[]);
            assert!(line.contains(expected), "{toml}\n gives: {line}\n  not: {expected}");
            assert!(!line.contains("hunter2") && !line.contains("123456"), "a secret is shown: {line}");
        }
    }

    #[test]
    fn values_at_both_ends_of_a_range_are_good() {
        for toml in [
            "http = { body_limit = 1024, request_timeout = '1s', drain_timeout = '0s', max_requests = 100000 }",
            "http = { body_limit = 1048576, request_timeout = '5m', drain_timeout = '10m', max_requests = 1 }",
            "tokens = { leeway = '60s', access_ttl = '24h', key_lead = '7d' }",
            "tokens = { key_rotation = '0s', key_lead = '7d', algorithm = 'HS256' }",
            "tokens = { key_rotation = '25m', key_lead = '10m', access_ttl = '15m', algorithm = 'RS256' }",
            "sessions = { idle = '400d', absolute = '400d' }",
            "revocation.filter = { capacity = 50_000_000, false_positives = 0.000001 }",
            "database.url = 'sqlite::memory:'\nlog.filter = 'off'",
            &format!("database.url = 'postgres://u:hunter2@db/x'\ntokens.key_encryption_key = '{KEY}'"),
            &format!("database.url = 'postgresql:///x?host=/run/postgresql'\ntokens.key_encryption_key = '{KEY}'"),
            "redis = { url = 'rediss://u:hunter2@cache:6380', prefix = 'a.b_c-1', timeout = '10ms' }",
            "redis.url = 'unix:///run/redis.sock'\nnode.name = 'node-1'",
            "revocation = { lease = '1s', pull = '20ms', on_stale = 'serve_for', serve_for = '1h' }",
            "http.listen = '127.0.0.1:0'\nmanagement.listen = '127.0.0.1:0'",
            "http.listen = '127.0.0.1:9100'\nmanagement.listen = '[::1]:9100'",
        ] {
            assert!(load(toml, &[]).is_ok(), "{toml}: {:?}", load(toml, &[]));
        }
    }
}
