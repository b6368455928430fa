//! What the embedded store does with its file: reopening, wrong files, no space, no permission.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests fail by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gantry_domain::id::{KeyId, OrganizationId, UserId};
use gantry_domain::identity::Member;
use gantry_domain::permission::Permission;
use gantry_domain::role::Role;
use gantry_domain::run::Hold;
use gantry_domain::spec::Pool;
use gantry_store::contract::fixtures::*;
use gantry_store::sqlite::{self, SqliteOptions, SqliteStores};
use gantry_store::{Changed, Durability, ListFilter, StoreError, Transition};

fn open(path: &Path) -> Result<SqliteStores, StoreError> {
    sqlite::open(SqliteOptions::new(path))
}

fn refused(path: &Path) -> StoreError {
    open(path).err().expect("it must not open")
}

#[tokio::test]
async fn reopening_sees_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gantry.db");
    let organization = OrganizationId::new();
    let sqlite = open(&path).unwrap();
    let stores = sqlite.stores();
    let pending = accept(&stores, run_with(organization, |run| run.spec.group = Some("g".into()))).await;
    let over = finished(&stores, &accepted(&stores, organization).await, 0, at(1)).await;
    let held = store(&stores, accepted(&stores, organization).await.hold(Hold::Paused).unwrap()).await;
    let depths = stores.dispatch.depths().await.unwrap();
    let installation = stores.auth.installation().await.unwrap();
    sqlite.close().await;
    let names: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["gantry.db"], "the log is emptied and gone");

    let closed = stores.runs.find(over.id).await.unwrap_err();
    assert!(matches!(closed, StoreError::Unavailable(_)), "{closed}");
    let closed = stores.runs.accept(new_run(organization)).await.unwrap_err();
    assert!(matches!(closed, StoreError::Unavailable(_)), "{closed}");

    let sqlite = open(&path).unwrap();
    let stores = sqlite.stores();
    for run in [&pending, &over, &held] {
        assert_eq!(find(&stores, run.id).await, *run);
    }
    assert_eq!(stores.dispatch.depths().await.unwrap(), depths);
    assert_eq!(stores.auth.installation().await.unwrap(), installation);
    assert_eq!(stores.dispatch.ready(&Pool::default(), 10).await.unwrap(), std::slice::from_ref(&pending));
    assert_eq!(accepted(&stores, organization).await.number, 4);
    assert_eq!(stores.runs.groups(organization, None, 10).await.unwrap().items[0].runs, 1);
    sqlite.close().await;
    sqlite.close().await;
}

#[tokio::test]
async fn what_another_process_writes_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gantry.db");
    let (one, other) = (open(&path).unwrap(), open(&path).unwrap());
    let organization = OrganizationId::new();
    let mut numbers = Vec::new();
    for _ in 0..5 {
        for sqlite in [&one, &other] {
            numbers.push(accepted(&sqlite.stores(), organization).await.number);
        }
    }
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    assert_eq!(other.stores().dispatch.depths().await.unwrap()[0].pending, 10);
    let picked = other.stores().dispatch.ready(&Pool::default(), 20).await.unwrap();
    assert_eq!(picked.len(), 10);
}

#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gantry.db");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let sqlite = open(&path).unwrap();
    accepted(&sqlite.stores(), OrganizationId::new()).await;
    let mut seen = 0;
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        seen += 1;
    }
    assert_eq!(seen, 3, "the database, its log and the log's index");
}

#[tokio::test]
async fn a_newer_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gantry.db");
    open(&path).unwrap().close().await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    let error = refused(&path);
    assert_eq!(error, StoreError::TooNew { found: 99, known: 4 });
    assert!(error.to_string().contains("use a newer version of Gantry"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_that_is_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("text");
    std::fs::write(&text, "not a database, but long enough to be taken for one ".repeat(50)).unwrap();
    assert!(matches!(refused(&text), StoreError::Corrupt(_)), "{}", refused(&text));

    let foreign = directory.path().join("foreign");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE runs (x)").unwrap();
    let error = refused(&foreign);
    assert!(matches!(&error, StoreError::Corrupt(why) if why.contains("another program")), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gantry.db");
    let sqlite = open(&path).unwrap();
    let organization = OrganizationId::new();
    for _ in 0..300 {
        accepted(&sqlite.stores(), organization).await;
    }
    sqlite.close().await;
    let mut bytes = std::fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    bytes[4096 * 2..4096 * pages].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let outcome = match open(&path) {
        Err(error) => Err(error),
        Ok(sqlite) => {
            sqlite.stores().runs.list(organization, &ListFilter::default(), None, 100).await.map(|_| ())
        }
    };
    assert!(matches!(&outcome, Err(StoreError::Corrupt(_))), "{outcome:?}");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let error = refused(Path::new("/proc/gantry.db"));
    assert!(matches!(&error, StoreError::Unavailable(why) if why.contains("/proc/gantry.db")), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let error = refused(&directory.path().join("missing/gantry.db"));
    assert!(matches!(&error, StoreError::Unavailable(why) if why.contains("missing/gantry.db")), "{error}");
}

#[tokio::test]
async fn without_space_writes_fail_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gantry.db");
    let organization = OrganizationId::new();
    let sqlite =
        sqlite::open(SqliteOptions { max_bytes: Some(512 * 1024), ..SqliteOptions::new(&path) }).unwrap();
    let stores = sqlite.stores();
    let mut runs = Vec::new();
    let error = loop {
        let new = run_with(organization, |run| {
            run.spec.variables.insert("PAD".into(), "x".repeat(2000));
        });
        match stores.runs.accept(new).await {
            Ok(gantry_store::Accepted::Created(run)) => runs.push(run),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
        assert!(runs.len() < 10_000, "it never gets full");
    };
    assert_eq!(error, StoreError::NoSpace);
    for run in &runs {
        assert_eq!(find(&stores, run.id).await, *run);
    }
    assert_eq!(stores.dispatch.depths().await.unwrap()[0].pending, runs.len() as u64);
    // A change that needs no room still works.
    let held = runs[0].hold(Hold::Paused).unwrap();
    assert_eq!(stores.runs.transition(&held, Durability::Synced).await.unwrap(), Transition::Updated);
    sqlite.close().await;
    let sqlite = open(&path).unwrap();
    let next = accepted(&sqlite.stores(), organization).await;
    assert_eq!(next.number, runs.len() as u64 + 1, "what failed has used no number");
}

#[tokio::test]
async fn a_command_that_fails_takes_no_other_along() {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = open(&directory.path().join("gantry.db")).unwrap();
    let stores = sqlite.stores();
    let taken = accepted(&stores, OrganizationId::new()).await;
    let organization = OrganizationId::new();
    let tasks: Vec<_> = (0..200)
        .map(|i| {
            let stores = stores.clone();
            let mut new = new_run(organization);
            if i % 10 == 3 {
                new.id = taken.id;
            }
            tokio::spawn(async move { (i, stores.runs.accept(new).await) })
        })
        .collect();
    let mut numbers = std::collections::BTreeSet::new();
    for task in tasks {
        match task.await.unwrap() {
            (i, Ok(gantry_store::Accepted::Created(run))) if i % 10 != 3 => {
                assert!(numbers.insert(run.number))
            }
            (i, Err(StoreError::Corrupt(_))) if i % 10 == 3 => {}
            (i, other) => panic!("{i}: {other:?}"),
        }
    }
    assert_eq!(numbers, (1..=180).collect());
    assert_eq!(
        stores.runs.list(organization, &ListFilter::default(), None, 500).await.unwrap().items.len(),
        180
    );
    assert_eq!(stores.dispatch.depths().await.unwrap()[0].pending, 181);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_write_ahead_log_stays_bounded_under_load() {
    use gantry_domain::log::{LogChunk, LogStream, MAX_CHUNK_BYTES, Segment};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gantry.db");
    let sqlite = open(&path).unwrap();
    let stores = sqlite.stores();
    let run = accepted(&stores, OrganizationId::new()).await;
    let key = gantry_store::LogKey { organization: run.organization, run: run.id, attempt: 1 };
    let mut seed = 1_u32;
    let noise: bytes::Bytes = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    })
    .take(MAX_CHUNK_BYTES)
    .collect();
    let mut longest = 0;
    for i in 0..1200_u64 {
        let segment = Segment { stream: LogStream::Stdout, time: T0, length: MAX_CHUNK_BYTES as u32 };
        let chunk = LogChunk::new(i * MAX_CHUNK_BYTES as u64, vec![segment], noise.clone()).unwrap();
        // Readers come and go meanwhile.
        let (appended, found) = tokio::join!(stores.logs.append(key, &chunk), stores.runs.find(run.id));
        appended.unwrap();
        assert!(found.unwrap().is_some());
        longest = longest.max(std::fs::metadata(directory.path().join("gantry.db-wal")).unwrap().len());
    }
    let megabytes = longest >> 20;
    println!("the log grew to {megabytes} MB");
    assert!((4..=160).contains(&megabytes), "300 MB were written, the log grew to {megabytes} MB");
}

/// A file of version 2: users belonged to one organization, and keys to nobody.
#[tokio::test]
async fn a_file_from_before_people_had_roles_is_brought_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gantry.db");
    let (organization, user, other) = (OrganizationId::new(), UserId::new(), OrganizationId::new());
    let keys = [KeyId::new(), KeyId::new(), KeyId::new()];
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(include_str!("../src/sqlite/migrations/0001_first.sql")).unwrap();
    file.execute_batch(include_str!("../src/sqlite/migrations/0002_set_aside.sql")).unwrap();
    file.pragma_update(None, "user_version", 2).unwrap();
    let id = |bits: u128| bits.to_be_bytes();
    file.execute(
        "INSERT INTO organizations (id, name, created_at) VALUES (?1, 'Söhne \"& Co\"', ?2)",
        rusqlite::params![id(organization.as_u128()), at(1).as_millis()],
    )
    .unwrap();
    file.execute(
        "INSERT INTO users (id, organization, email, password_hash, created_at) VALUES (?1, ?2, 'Admin@Localhost', '$x', ?3)",
        rusqlite::params![id(user.as_u128()), id(organization.as_u128()), at(2).as_millis()],
    )
    .unwrap();
    for (i, key) in keys.iter().enumerate() {
        let tenant = if i == 2 { other } else { organization };
        let revoked = (i == 1).then_some(at(9).as_millis());
        file.execute(
            "INSERT INTO api_keys (id, organization, name, secret_hash, created_at, revoked_at) VALUES (?1, ?2, 'local', ?3, ?4, ?5)",
            rusqlite::params![id(key.as_u128()), id(tenant.as_u128()), [i as u8; 32], at(3).as_millis(), revoked],
        )
        .unwrap();
    }
    drop(file);

    // And once more: the second time there is nothing to do.
    for _ in 0..2 {
        let sqlite = open(&path).unwrap();
        let stores = sqlite.stores();
        let first = stores.auth.first_organization().await.unwrap().unwrap();
        assert_eq!(
            (first.id, first.name.as_str(), first.created_at),
            (organization, "Söhne \"& Co\"", at(1))
        );
        assert_eq!(first.members(), [Member { user, role: Role::Admin, since: at(2) }]);
        assert_eq!(stores.organizations.of_user(user).await.unwrap(), std::slice::from_ref(&first));
        let admin = stores.users.by_email(&"admin@localhost".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((admin.id, admin.password.as_str(), admin.created_at), (user, "$x", at(2)));
        let key = stores.keys.look_up(&[0; 32]).await.unwrap().unwrap();
        assert_eq!((key.user.as_ref(), key.role), (Some(&admin), Some(Role::Admin)));
        assert_eq!((key.credential.id, key.credential.created_at), (keys[0], at(3)));
        let all = key.credential.permissions(key.user.as_ref(), key.role, at(5)).unwrap();
        assert!(all.contains(Permission::MembersManage));
        let revoked = stores.keys.by_hash(&[1; 32]).await.unwrap().unwrap();
        assert_eq!(revoked.revoked_at, Some(at(9)));
        let nobodys = stores.keys.look_up(&[2; 32]).await.unwrap().unwrap();
        assert_eq!((nobodys.credential.organization, nobodys.user, nobodys.role), (other, None, None));
        // What was brought over changes like anything else.
        let next = admin.rename("Ann".into());
        assert_eq!(stores.users.update(&next).await.unwrap(), Changed::Updated);
        assert_eq!(stores.users.update(&next.rename(String::new())).await.unwrap(), Changed::Updated);
        let renamed = first.rename("x".into());
        assert_eq!(stores.organizations.update(&renamed).await.unwrap(), Changed::Updated);
        let back = renamed.rename(first.name);
        assert_eq!(stores.organizations.update(&back).await.unwrap(), Changed::Updated);
        sqlite.close().await;
    }
}
