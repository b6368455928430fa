use std::net::SocketAddr;
use std::time::Duration;

use super::*;

const NONE: [(&str, &str); 0] = [];

fn places(errors: &ConfigErrors) -> Vec<&str> {
    errors.0.iter().map(|error| error.place.as_str()).collect()
}

#[test]
fn flags_win_over_variables_over_aliases_over_the_file_over_defaults() {
    let file = "a = 1\nb = 1\nc = 1\nd = 1\n";
    let mut source = Source::new([("GANTRY_A", "3"), ("GANTRY_B", "3"), ("ALIAS_A", "2"), ("ALIAS_C", "2")]);
    source.load_text("gantry.toml", file);
    for (key, alias) in [("a", "ALIAS_A"), ("c", "ALIAS_C")] {
        source.alias(key, alias);
    }
    source.set("a", "--a", "4");
    let values: Vec<u32> = ["a", "b", "c", "d", "e"].map(|key| source.parse(key, 0)).to_vec();
    assert_eq!(values, [4, 3, 2, 1, 0]);
    let origins: Vec<String> =
        source.finish().unwrap().settings.iter().map(|s| s.origin.to_string()).collect();
    assert_eq!(origins, ["--a", "GANTRY_B", "ALIAS_C", "d in gantry.toml", "default"]);
}

#[test]
fn all_errors_are_reported_at_once_with_their_places() {
    let mut source = Source::new([
        ("GANTRY_LISTEN", "nowhere"),
        ("GANTRY_LOGS_LIMT", "1MiB"),
        ("GANTRY_EMPTY", ""),
        ("UNRELATED", "x"),
    ]);
    source.load_text("gantry.toml", "lissten = 1\n[logs]\nlimit = \"many\"\nkeep = [\"a\", \"b\"]\n");
    let listen: SocketAddr = source.parse("listen", ([127, 0, 0, 1], 8080).into());
    assert_eq!(listen.port(), 8080, "a wrong value leaves the default, so that reading goes on");
    source.bytes("logs.limit", 1);
    source.duration("logs.keep", Duration::from_secs(1));
    assert_eq!(source.required::<String>("store.url"), None);
    assert_eq!(source.parse("empty", 5), 5, "an empty variable is not set");
    source.reject("empty", "must be even");
    source.reject("logs.limit", "is too small");
    let errors = source.finish().unwrap_err();
    assert_eq!(
        places(&errors),
        [
            "GANTRY_LISTEN",
            "logs.limit in gantry.toml",
            "logs.keep in gantry.toml",
            "GANTRY_STORE_URL",
            "GANTRY_EMPTY",
            "logs.limit in gantry.toml",
            "lissten in gantry.toml",
            "GANTRY_LOGS_LIMT",
        ]
    );
    let text = errors.to_string();
    assert!(text.starts_with("the configuration has 8 errors:\n"), "{text}");
    for part in [
        "GANTRY_LISTEN: \"nowhere\" is not valid",
        "logs.limit in gantry.toml: \"many\" is not valid: expected a size like 64MiB",
        "`url` under [store]",
        "lissten in gantry.toml: is not a setting; did you mean listen?",
        "GANTRY_LOGS_LIMT: is not a setting; did you mean GANTRY_LOGS_LIMIT?",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}

#[test]
fn a_name_like_no_other_gets_no_hint_and_a_key_outside_its_table_gets_one() {
    let mut source = Source::new([("GANTRY_ZZZZZZ", "1")]);
    source.load_text("gantry.toml", "limit = 1\n");
    source.bytes("logs.limit", 1);
    let text = source.finish().unwrap_err().to_string();
    assert!(
        text.contains("GANTRY_ZZZZZZ: is not a setting\n")
            || text.ends_with("GANTRY_ZZZZZZ: is not a setting")
    );
    assert!(text.contains("did you mean logs.limit?"), "{text}");
}

#[test]
fn service_links_of_kubernetes_are_not_settings() {
    let source = Source::new([
        ("GANTRY_PRODUCER_SERVICE_HOST", "10.0.0.1"),
        ("GANTRY_PRODUCER_SERVICE_PORT", "8080"),
        ("GANTRY_PRODUCER_SERVICE_PORT_HTTP", "8080"),
        ("GANTRY_PRODUCER_PORT", "tcp://10.0.0.1:8080"),
        ("GANTRY_PRODUCER_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("GANTRY_PRODUCER_PORT_8080_TCP_PROTO", "tcp"),
        ("GANTRY_PRODUCER_PORT_8080_TCP_PORT", "8080"),
        ("GANTRY_PRODUCER_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ]);
    source.finish().unwrap();
    let errors = Source::new([("GANTRY_PRODUCER_PORT", "8080")]).finish().unwrap_err();
    assert_eq!(places(&errors), ["GANTRY_PRODUCER_PORT"]);
}

#[test]
fn secrets_never_show() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    std::fs::write(&path, "from-a-file\n").unwrap();
    let mut source = Source::new([
        ("GANTRY_TOKEN", "hunter2"),
        ("GANTRY_PASSWORD_FILE", path.to_str().unwrap()),
        ("GANTRY_SECRETS_B", "hunter3"),
    ]);
    source.load_text("gantry.toml", "[secrets]\nA = \"hunter4\"\nB = \"overridden\"\n\"dotted.name\" = 5\n");
    let token = source.secret("token").unwrap();
    assert_eq!((token.expose(), format!("{token:?}").as_str()), ("hunter2", "Secret(…)"));
    assert_eq!(source.secret("password").unwrap().expose(), "from-a-file");
    assert_eq!(source.secret("other"), None);
    let table = source.secret_table("secrets");
    let values: Vec<(&str, &str)> =
        table.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(values, [("A", "hunter4"), ("B", "hunter3"), ("dotted.name", "5")]);
    let shown = source.finish().unwrap().to_string();
    assert!(!shown.contains("hunter") && !shown.contains("from-a-file"), "{shown}");
    assert!(shown.contains("(hidden)  # GANTRY_PASSWORD_FILE"), "{shown}");
}

#[test]
fn a_secret_given_twice_or_from_a_missing_file_is_an_error() {
    let mut source =
        Source::new([("GANTRY_A", "1"), ("GANTRY_A_FILE", "/nowhere"), ("GANTRY_B_FILE", "/nowhere/at/all")]);
    source.secret("a");
    source.secret("b");
    let errors = source.finish().unwrap_err();
    assert_eq!(places(&errors), ["GANTRY_A_FILE", "GANTRY_B_FILE"]);
}

#[test]
fn a_file_that_is_not_toml_is_one_error_that_quotes_nothing() {
    let mut source = Source::new([("GANTRY_PORT", "x")]);
    source.load_text("gantry.toml", "ok = 1\ntoken = \"hunter2\n");
    source.parse("port", 1);
    let errors = source.finish().unwrap_err();
    assert_eq!(places(&errors), ["gantry.toml:2", "GANTRY_PORT"]);
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
    let mut source = Source::new(NONE);
    source.load_file(std::path::Path::new("/nowhere/gantry.toml"));
    assert!(source.finish().unwrap_err().to_string().contains("/nowhere/gantry.toml: can't be read"));
}

#[test]
fn lists_paths_and_rewritten_aliases() {
    let mut source = Source::new([("GANTRY_POOLS", "default, gpu,"), ("PORT", "9000")]);
    source.load_text("gantry.toml", "hosts = [\"a\", \"b\"]\nports = [1, \"x\"]\n");
    source.alias_as("listen", "PORT", |port| format!("0.0.0.0:{port}"));
    assert_eq!(source.list::<String>("pools", vec![]), ["default", "gpu"]);
    assert_eq!(source.list::<String>("hosts", vec![]), ["a", "b"]);
    assert_eq!(source.list("missing", vec![7]), [7]);
    assert_eq!(source.path("dir", "/var/lib".into()), std::path::Path::new("/var/lib"));
    assert_eq!(source.optional::<SocketAddr>("listen").unwrap().to_string(), "0.0.0.0:9000");
    assert_eq!(source.list::<u16>("ports", vec![]), [1]);
    assert_eq!(places(&source.finish().unwrap_err()), ["ports in gantry.toml"]);
}

#[test]
fn variables_that_others_read_and_bytes_that_are_no_text() {
    use std::os::unix::ffi::OsStringExt as _;
    let broken = std::ffi::OsString::from_vec(vec![0xff]);
    let environment = [("GANTRY_URL", "x".into()), ("GANTRY_A", broken.clone()), ("OTHER", broken)];
    let mut source = Source::new(environment);
    source.ignore("GANTRY_URL");
    assert_eq!(source.optional::<String>("a"), None);
    assert_eq!(places(&source.finish().unwrap_err()), ["GANTRY_A"]);
}

#[test]
fn durations_and_sizes_are_read_as_they_are_shown() {
    for (text, millis) in
        [("45", 45_000), ("250ms", 250), ("10m", 600_000), ("1h30m", 5_400_000), ("2d1s", 172_801_000)]
    {
        let duration = parse_duration(text).unwrap();
        assert_eq!(duration, Duration::from_millis(millis), "{text}");
        assert_eq!(parse_duration(&show_duration(duration)).unwrap(), duration, "{text}");
    }
    for text in ["", "m", "10 m", "-5s", "1.5h", "10x", "99999999999999999999", "99999999999999999d", "5s3"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
    for (text, bytes) in
        [("0", 0), ("64MiB", 64 << 20), ("2 GiB", 2 << 30), ("500kb", 500_000), ("1537", 1537)]
    {
        assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        assert_eq!(parse_bytes(&show_bytes(bytes)).unwrap(), bytes, "{text}");
    }
    for text in ["", "MiB", "1.5MiB", "-1", "12 parsecs", "99999999999TiB"] {
        assert!(parse_bytes(text).is_err(), "{text}");
    }
}

#[test]
fn booleans_are_read_in_the_usual_spellings() {
    let mut source = Source::new([("GANTRY_A", "yes"), ("GANTRY_B", "0"), ("GANTRY_C", "maybe")]);
    assert!(source.bool("a", false) && !source.bool("b", true) && source.bool("c", true));
    assert_eq!(places(&source.finish().unwrap_err()), ["GANTRY_C"]);
}

#[test]
fn an_address_is_shown_without_its_credentials() {
    for (address, shown) in [
        ("mongodb://gantry:p@ss/w@db:27017/gantry?tls=true", "mongodb://(hidden)@db:27017/gantry?(hidden)"),
        ("amqp://user:secret@broker/%2f", "amqp://(hidden)@broker/%2f"),
        ("redis://cache:6379", "redis://cache:6379"),
        ("sqlite:/var/lib/gantry.db", "sqlite:/var/lib/gantry.db"),
        ("user:secret@db", "(hidden)"),
    ] {
        let mut source = Source::new([("GANTRY_STORE", address)]);
        assert_eq!(source.address("store").unwrap().expose(), address);
        assert_eq!(source.finish().unwrap().settings[0].value.as_deref(), Some(shown));
    }
}

#[test]
fn a_secret_names_the_file_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "first,second\n").unwrap();
    let mut source = Source::new([("GANTRY_WORKER_TOKEN_FILE", path.as_os_str())]);
    assert_eq!(source.secret("worker_token").unwrap().expose(), "first,second");
    assert_eq!(source.secret_file("worker_token"), Some(path));
    assert_eq!(source.secret_file("other"), None);
}
