//! Looks settings up, and remembers what was asked for and what was wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::report::{ConfigError, ConfigErrors, Effective, Origin, Setting};
use super::unknown::{is_service_link, nearest};
use super::values::{
    Secret, parse_bool, parse_bytes, parse_duration, show_address, show_bytes, show_duration,
};

const PREFIX: &str = "GANTRY_";
const REDACTED: &str = "(hidden)";

/// Everything that settings can come from. Getters return a usable value (the default) even when the given one is
/// wrong, so that reading goes on; [`Source::finish`] tells whether any of it may be used.
#[derive(Default)]
pub struct Source {
    flags: BTreeMap<String, (String, String)>,
    variables: BTreeMap<String, String>,
    aliases: BTreeMap<String, Vec<Alias>>,
    file_name: String,
    file: BTreeMap<String, FileValue>,
    asked: BTreeSet<String>,
    asked_tables: BTreeSet<String>,
    known_variables: BTreeSet<String>,
    settings: Vec<Setting>,
    errors: Vec<ConfigError>,
}

struct Alias {
    variable: String,
    into_value: fn(&str) -> String,
}

#[derive(Clone)]
enum FileValue {
    One(String),
    Many(Vec<String>),
}

struct Found {
    value: FileValue,
    origin: Origin,
}

impl Source {
    /// From an environment, such as `std::env::vars_os()`.
    pub fn new<K: Into<OsString>, V: Into<OsString>>(environment: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut source = Self::default();
        for (name, value) in environment {
            let Ok(name) = name.into().into_string() else { continue };
            match value.into().into_string() {
                Ok(value) if value.is_empty() => {}
                Ok(value) => {
                    source.variables.insert(name, value);
                }
                Err(_) if name.starts_with(PREFIX) => source.error(name, "is not valid UTF-8"),
                Err(_) => {}
            }
        }
        source
    }

    /// Reads a TOML file; that it can't be read is one of the errors.
    pub fn load_file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.load_text(&path.display().to_string(), &text),
            Err(error) => self.error(path.display().to_string(), format!("can't be read: {error}")),
        }
    }

    /// Takes TOML from memory; `name` stands in errors.
    pub fn load_text(&mut self, name: &str, text: &str) {
        name.clone_into(&mut self.file_name);
        match text.parse::<toml::Table>() {
            Ok(table) => self.flatten("", table),
            // Not the whole error: it quotes the line, and the line may hold a secret.
            Err(error) => {
                let line = error
                    .span()
                    .map(|span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
                let place = line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"));
                self.error(place, format!("is not TOML: {}", error.message()));
            }
        }
    }

    fn flatten(&mut self, prefix: &str, table: toml::Table) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            let value = match value {
                toml::Value::Table(table) => {
                    self.flatten(&format!("{key}."), table);
                    continue;
                }
                toml::Value::Array(items) => {
                    items.into_iter().map(scalar).collect::<Option<_>>().map(FileValue::Many)
                }
                value => scalar(value).map(FileValue::One),
            };
            match value {
                Some(value) => {
                    self.file.insert(key, value);
                }
                None => {
                    self.error(format!("{key} in {}", self.file_name), "expected plain values in the list")
                }
            }
        }
    }

    /// A value from the command line, which wins over everything else; `flag` stands in errors.
    pub fn set(&mut self, key: &str, flag: &str, value: impl Into<String>) {
        self.flags.insert(key.to_owned(), (flag.to_owned(), value.into()));
    }

    /// Lets `variable` set `key` too, when the key's own variable is not set.
    pub fn alias(&mut self, key: &str, variable: &str) {
        self.alias_as(key, variable, str::to_owned);
    }

    /// Like [`Source::alias`], with the value rewritten: `PORT=8080` → `0.0.0.0:8080`.
    pub fn alias_as(&mut self, key: &str, variable: &str, into_value: fn(&str) -> String) {
        self.known_variables.insert(variable.to_owned());
        let alias = Alias { variable: variable.to_owned(), into_value };
        self.aliases.entry(key.to_owned()).or_default().push(alias);
    }

    /// A `GANTRY_*` variable that somebody else reads (the command line, a test).
    pub fn ignore(&mut self, variable: &str) {
        self.known_variables.insert(variable.to_owned());
    }

    /// A value with a default.
    pub fn parse<T: FromStr<Err: Display> + Display>(&mut self, key: &str, default: T) -> T {
        let shown = default.to_string();
        self.read_or(key, default, shown, |text| text.parse::<T>().map_err(|error| error.to_string()))
    }

    /// A value that may be missing.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<T> {
        self.read(key, None, |text| text.parse::<T>().map_err(|error| error.to_string()))
    }

    /// A value that must be given; when it is not, [`Source::finish`] reports it.
    pub fn required<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<T> {
        if self.find(key).is_none() {
            let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
            let place = if table.is_empty() { String::new() } else { format!(" under [{table}]") };
            self.error(
                variable_of(key),
                format!("is required: set it, or `{name}`{place} in the configuration file"),
            );
            return None;
        }
        self.optional(key)
    }

    pub fn bool(&mut self, key: &str, default: bool) -> bool {
        self.read_or(key, default, default.to_string(), parse_bool)
    }

    /// See [`parse_duration`] for how it is written.
    pub fn duration(&mut self, key: &str, default: Duration) -> Duration {
        self.read_or(key, default, show_duration(default), parse_duration)
    }

    pub fn optional_duration(&mut self, key: &str) -> Option<Duration> {
        self.read(key, None, parse_duration)
    }

    /// See [`parse_bytes`] for how it is written.
    pub fn bytes(&mut self, key: &str, default: u64) -> u64 {
        self.read_or(key, default, show_bytes(default), parse_bytes)
    }

    pub fn optional_bytes(&mut self, key: &str) -> Option<u64> {
        self.read(key, None, parse_bytes)
    }

    pub fn path(&mut self, key: &str, default: PathBuf) -> PathBuf {
        let shown = default.display().to_string();
        self.read_or(key, default, shown, |text| Ok(PathBuf::from(text)))
    }

    /// A list: separated by commas in a variable, an array (or the same text) in the file.
    pub fn list<T: FromStr<Err: Display> + Display>(&mut self, key: &str, default: Vec<T>) -> Vec<T> {
        let Some(Found { value, origin }) = self.find(key) else {
            let shown = default.iter().map(T::to_string).collect::<Vec<_>>().join(",");
            self.show(key, Some(shown), Origin::Default);
            return default;
        };
        let items = match value {
            FileValue::One(text) => {
                text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
            }
            FileValue::Many(items) => items,
        };
        let mut parsed = Vec::with_capacity(items.len());
        for item in &items {
            match item.parse::<T>() {
                Ok(item) => parsed.push(item),
                Err(error) => self.error(origin.to_string(), format!("{item:?} is not valid: {error}")),
            }
        }
        self.show(key, Some(items.join(",")), origin);
        parsed
    }

    /// A text that is never shown. It may also come from the file that the variable with `_FILE` added names.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        self.hidden(key, |_| REDACTED.to_owned())
    }

    /// An address that may hold credentials: shown without them. Like a secret it may come from a file.
    pub fn address(&mut self, key: &str) -> Option<Secret> {
        self.hidden(key, show_address)
    }

    /// The file that a secret comes from, if it comes from one.
    pub fn secret_file(&self, key: &str) -> Option<PathBuf> {
        self.variables.get(&format!("{}_FILE", variable_of(key))).map(PathBuf::from)
    }

    fn hidden(&mut self, key: &str, shown: fn(&str) -> String) -> Option<Secret> {
        let file_variable = format!("{}_FILE", variable_of(key));
        self.known_variables.insert(file_variable.clone());
        let Some(Found { value, origin }) = self.find(key) else {
            return self.secret_from_file(key, &file_variable, shown);
        };
        if self.variables.contains_key(&file_variable) {
            self.error(file_variable, format!("excludes {origin}: give the secret once"));
        }
        let text = match &value {
            FileValue::One(text) => shown(text),
            FileValue::Many(_) => REDACTED.to_owned(),
        };
        self.show(key, Some(text), origin.clone());
        match value {
            FileValue::One(text) => Some(Secret::new(text)),
            FileValue::Many(_) => {
                self.error(origin.to_string(), "expected one value, not a list");
                None
            }
        }
    }

    fn secret_from_file(
        &mut self,
        key: &str,
        file_variable: &str,
        shown: fn(&str) -> String,
    ) -> Option<Secret> {
        let Some(path) = self.variables.get(file_variable).cloned() else {
            self.show(key, None, Origin::Default);
            return None;
        };
        let origin = Origin::Variable(file_variable.to_owned());
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let text = text.trim_end_matches(['\r', '\n']);
                self.show(key, Some(shown(text)), origin);
                Some(Secret::new(text))
            }
            Err(error) => {
                self.show(key, Some(REDACTED.to_owned()), origin);
                self.error(file_variable, format!("{path} can't be read: {error}"));
                None
            }
        }
    }

    /// A whole table as names and values, whatever the names: `[secrets]`, or `GANTRY_SECRETS_NAME`. Values are never
    /// shown.
    pub fn secret_table(&mut self, table: &str) -> BTreeMap<String, Secret> {
        self.asked_tables.insert(table.to_owned());
        let prefix = format!("{table}.");
        let variable_prefix = format!("{}_", variable_of(table));
        let mut found: BTreeMap<String, (FileValue, Origin)> = BTreeMap::new();
        for (key, value) in self.file.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix))
        {
            let origin = Origin::File(self.file_name.clone(), key.clone());
            found.insert(key[prefix.len()..].to_owned(), (value.clone(), origin));
        }
        for (name, value) in &self.variables {
            if let Some(rest) = name.strip_prefix(&variable_prefix).filter(|rest| !rest.is_empty()) {
                let value = FileValue::One(value.clone());
                found.insert(rest.to_owned(), (value, Origin::Variable(name.clone())));
            }
        }
        let mut secrets = BTreeMap::new();
        for (name, (value, origin)) in found {
            self.show(&format!("{prefix}{name}"), Some(REDACTED.to_owned()), origin.clone());
            match value {
                FileValue::One(text) => {
                    secrets.insert(name, Secret::new(text));
                }
                FileValue::Many(_) => self.error(origin.to_string(), "expected one value, not a list"),
            }
        }
        secrets
    }

    /// An error that only the service can see (a range, two settings that exclude each other), reported where the value
    /// of `key` came from.
    pub fn reject(&mut self, key: &str, message: impl Into<String>) {
        let origin = self.settings.iter().rfind(|setting| setting.key == key).map(|setting| &setting.origin);
        let place = match origin {
            None | Some(Origin::Default) => variable_of(key),
            Some(origin) => origin.to_string(),
        };
        self.error(place, message);
    }

    /// Whether anything was wrong so far.
    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Everything in force, or everything that is wrong, names that nobody asked for included.
    pub fn finish(mut self) -> Result<Effective, ConfigErrors> {
        self.report_unknown();
        if self.errors.is_empty() {
            Ok(Effective { settings: self.settings })
        } else {
            Err(ConfigErrors(self.errors))
        }
    }

    fn report_unknown(&mut self) {
        let in_table = |key: &str| {
            self.asked_tables
                .iter()
                .any(|table| key.strip_prefix(table.as_str()).is_some_and(|rest| rest.starts_with('.')))
        };
        let mut unknown = Vec::new();
        for key in self.file.keys().filter(|key| !self.asked.contains(*key) && !in_table(key)) {
            let known = self.asked.iter().map(String::as_str);
            unknown.push((format!("{key} in {}", self.file_name), nearest(key, known).map(str::to_owned)));
        }
        let asked: BTreeSet<String> = self
            .asked
            .iter()
            .map(|key| variable_of(key))
            .chain(self.known_variables.iter().cloned())
            .collect();
        let tables: Vec<String> =
            self.asked_tables.iter().map(|table| format!("{}_", variable_of(table))).collect();
        for (name, value) in self.variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let known = asked.contains(name) || tables.iter().any(|table| name.starts_with(table));
            if !known && !is_service_link(name, value) {
                let nearest = nearest(name, asked.iter().map(String::as_str));
                unknown.push((name.clone(), nearest.map(str::to_owned)));
            }
        }
        for (place, nearest) in unknown {
            let hint = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            self.error(place, format!("is not a setting{hint}"));
        }
    }

    fn find(&mut self, key: &str) -> Option<Found> {
        self.asked.insert(key.to_owned());
        let one = |text: &str, origin| Some(Found { value: FileValue::One(text.to_owned()), origin });
        if let Some((flag, value)) = self.flags.get(key) {
            return one(value, Origin::Flag(flag.clone()));
        }
        let variable = variable_of(key);
        if let Some(value) = self.variables.get(&variable) {
            return one(value, Origin::Variable(variable));
        }
        for alias in self.aliases.get(key).into_iter().flatten() {
            if let Some(value) = self.variables.get(&alias.variable) {
                return one(&(alias.into_value)(value), Origin::Variable(alias.variable.clone()));
            }
        }
        let value = self.file.get(key)?.clone();
        Some(Found { value, origin: Origin::File(self.file_name.clone(), key.to_owned()) })
    }

    fn read<T>(
        &mut self,
        key: &str,
        default: Option<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(Found { value, origin }) = self.find(key) else {
            self.show(key, default, Origin::Default);
            return None;
        };
        let FileValue::One(text) = value else {
            self.error(origin.to_string(), "expected one value, not a list");
            return None;
        };
        self.show(key, Some(text.clone()), origin.clone());
        match parse(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.error(origin.to_string(), format!("{text:?} is not valid: {message}"));
                None
            }
        }
    }

    fn read_or<T>(
        &mut self,
        key: &str,
        default: T,
        shown: String,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.read(key, Some(shown), parse).unwrap_or(default)
    }

    fn show(&mut self, key: &str, value: Option<String>, origin: Origin) {
        self.settings.push(Setting { key: key.to_owned(), value, origin });
    }

    fn error(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.errors.push(ConfigError { place: place.into(), message: message.into() });
    }
}

/// `logs.limit` → `GANTRY_LOGS_LIMIT`.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace(['.', '-'], "_").to_uppercase())
}

fn scalar(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Table(_) | toml::Value::Array(_) => None,
        value => Some(value.to_string()),
    }
}
