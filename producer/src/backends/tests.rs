use std::path::Path;

use gantry_service_kit::config::{ConfigErrors, Effective};

use super::*;

fn read(
    composition: Composition<'_>,
    variables: &[(&str, &str)],
) -> Result<(BackendConfig, Effective), ConfigErrors> {
    let mut source = Source::new(variables.iter().copied());
    let config = BackendConfig::read(&mut source, composition);
    source.finish().map(|effective| (config, effective))
}

fn up() -> Composition<'static> {
    Composition::OneProcess { data_dir: Path::new("/data") }
}

#[test]
fn one_process_embeds_everything_when_nothing_is_said() {
    let (config, _) = read(up(), &[]).unwrap();
    assert_eq!(config.store, StoreConfig::Sqlite { path: "/data/gantry.db".into() });
    assert_eq!(config.queue, QueueConfig::Embedded);
    assert_eq!(config.sharing, SharingConfig::Local);
    assert_eq!(config.blobs, BlobsConfig::Directory { path: "/data/blobs".into() });
    assert!(config.is_alone(Path::new("/data")));
}

#[test]
fn one_process_may_use_servers() {
    let variables = [
        ("GANTRY_STORE", "mongodb://db/gantry"),
        ("GANTRY_QUEUE", "amqp://broker/%2f"),
        ("GANTRY_REDIS", "redis://cache"),
        ("GANTRY_BLOBS", "gridfs"),
    ];
    let (config, _) = read(up(), &variables).unwrap();
    assert!(matches!(config.store, StoreConfig::Mongo { .. }) && !config.is_alone(Path::new("/data")));
    assert!(matches!(&config.queue, QueueConfig::Amqp(amqp) if amqp.prefix == "gantry"));
    assert!(matches!(config.sharing, SharingConfig::Redis { .. }));
    assert!(matches!(config.blobs, BlobsConfig::GridFs { .. }));
    let mixed = read(up(), &variables[..1]).unwrap().0;
    assert_eq!(mixed.blobs, BlobsConfig::Directory { path: "/data/blobs".into() });
    let elsewhere = read(up(), &[("GANTRY_STORE", "sqlite:/var/lib/g.db"), ("MONGO_URI", "mongodb://other")]);
    let elsewhere = elsewhere.unwrap().0;
    assert_eq!(elsewhere.store, StoreConfig::Sqlite { path: "/var/lib/g.db".into() });
    assert!(!elsewhere.is_alone(Path::new("/data")), "the lock is on another directory");
}

#[test]
fn a_deployment_names_its_servers_by_either_name_and_hides_passwords() {
    let variables = [
        ("MONGO_URI", "mongodb://ann:secret@db/gantry?tls=true"),
        ("RABBITMQ_URL", "amqps://ann:secret@broker"),
        ("REDIS_URL", "rediss://:secret@cache/1"),
        ("GANTRY_QUEUE_PREFIX", "blue"),
    ];
    let (config, effective) = read(Composition::Deployment, &variables).unwrap();
    assert!(matches!(config.blobs, BlobsConfig::GridFs { .. }), "with MongoDB it needs nothing else");
    assert!(matches!(&config.queue, QueueConfig::Amqp(amqp) if amqp.prefix == "blue"));
    let shown = effective.to_string();
    assert!(shown.contains("mongodb://(hidden)@db/gantry"), "{shown}");
    assert!(!shown.contains("secret") && !format!("{config:?}").contains("secret"), "{shown} {config:?}");
}

#[test]
fn a_deployment_has_nothing_embedded_and_all_errors_are_told_at_once() {
    let errors = read(Composition::Deployment, &[]).unwrap_err().0;
    let places: Vec<_> = errors.iter().map(|error| error.place.as_str()).collect();
    assert_eq!(places, ["GANTRY_STORE", "GANTRY_QUEUE"]);
    let variables = [
        ("GANTRY_STORE", "sqlite:/var/lib/g.db"),
        ("GANTRY_QUEUE", "embedded"),
        ("GANTRY_REDIS", "cache:6379"),
        ("GANTRY_BLOBS", "s4://bucket"),
    ];
    let errors = read(Composition::Deployment, &variables).unwrap_err();
    assert_eq!(errors.0.len(), 4, "{errors}");
    let text = errors.to_string();
    assert!(text.contains("SQLite can't be shared by several processes"), "{text}");
    assert!(text.contains("the embedded queue reaches no other process"), "{text}");
}

#[test]
fn what_cannot_be_read_is_refused() {
    for (name, value) in [
        ("GANTRY_STORE", "postgres://db/gantry"),
        ("GANTRY_STORE", "sqlite:"),
        ("GANTRY_QUEUE", "kafka://broker"),
        ("GANTRY_BLOBS", "gridfs"),
        ("GANTRY_BLOBS", "file://relative"),
    ] {
        let errors = read(up(), &[(name, value)]).unwrap_err().0;
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].place, name);
    }
}

#[test]
fn a_bucket_may_have_its_own_address_and_key() {
    let variables = [
        ("GANTRY_BLOBS", "s3://gantry-blobs/team"),
        ("GANTRY_S3_ENDPOINT", "http://minio:9000"),
        ("GANTRY_S3_ACCESS_KEY_ID", "gantry"),
        ("GANTRY_S3_SECRET_ACCESS_KEY", "very-secret"),
    ];
    let (config, effective) = read(up(), &variables).unwrap();
    let BlobsConfig::S3(s3) = &config.blobs else { panic!("{config:?}") };
    let options = s3.options();
    assert_eq!((options.bucket.as_str(), options.prefix.as_str()), ("gantry-blobs", "team"));
    assert_eq!(options.credentials.unwrap().secret_access_key, "very-secret");
    assert!(!effective.to_string().contains("very-secret") && !format!("{config:?}").contains("very-secret"));
    let half = read(up(), &variables[..3]).unwrap_err();
    assert_eq!(half.0[0].place, "GANTRY_S3_SECRET_ACCESS_KEY");
    assert!(read(up(), &variables[1..2]).is_err(), "without a bucket it would do nothing");
}
