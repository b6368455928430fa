//! Where a command runs and what it finds there.

use std::os::unix::fs::PermissionsExt;

use gantry_domain::spec::Network;
use gantry_executor::{Executor, ExecutorError};

use crate::{Host, Lines, command, shell, soon};

#[tokio::test]
async fn a_command_works_in_a_private_directory_that_goes_with_it() {
    let host = Host::new();
    let spec =
        shell("pwd; echo $HOME; echo $TMPDIR; mkdir -p a/b; touch a/b/c; chmod 000 a/b; touch $TMPDIR/x");
    let ran = host.run(&spec).await;
    let directory = host.directory_of(spec.key);
    let (work, tmp) = (directory.join("work"), directory.join("tmp"));
    assert_eq!(ran.out, format!("{0}\n{0}\n{1}\n", work.display(), tmp.display()));
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    soon(host.executor.destroy(spec.key)).await.unwrap();
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_directory_of_the_users_is_used_and_kept() {
    let (host, directory) = (Host::new(), tempfile::tempdir().unwrap());
    std::fs::write(directory.path().join("mine"), "kept").unwrap();
    let mut spec = shell("pwd; cat mine; touch made");
    spec.workdir = Some(directory.path().to_owned());
    let ran = host.run(&spec).await;
    assert_eq!(ran.out, format!("{}\nkept", directory.path().display()));
    soon(host.executor.destroy(spec.key)).await.unwrap();
    assert!(directory.path().join("mine").exists() && directory.path().join("made").exists());
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_a_bad_command() {
    let host = Host::new();
    let file = host.root.path().join("file");
    std::fs::write(&file, "").unwrap();
    for bad in [host.root.path().join("missing"), file, "relative".into()] {
        let mut spec = shell("true");
        spec.workdir = Some(bad);
        let refused = host.start(&spec).await.err();
        assert!(
            matches!(&refused, Some(ExecutorError::BadCommand(why)) if why.contains("directory")),
            "{refused:?}"
        );
    }
    assert_eq!(host.executor.leftovers().await, Ok(vec![]));
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let host = Host::new();
    let script = host.root.path().join("script");
    std::fs::write(&script, "not a program").unwrap();
    let interpreter = host.root.path().join("interpreter");
    std::fs::write(&interpreter, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&interpreter, PermissionsExt::from_mode(0o755)).unwrap();
    for (word, why) in [
        ("no-such-program", "not found"),
        ("/no/such/program", "not found"),
        (interpreter.to_str().unwrap(), "interpreter"),
        (script.to_str().unwrap(), "not executable"),
        ("/", "not executable"),
        ("", "empty"),
        ("nul\0", "NUL"),
    ] {
        let refused = host.start(&command(&[word])).await.err();
        let told = matches!(&refused, Some(ExecutorError::BadCommand(text)) if text.contains(why));
        assert!(told, "{word}: {refused:?}");
    }
    let huge = "x".repeat(200_000);
    let refused = host.start(&command(&["true", &huge])).await.err();
    assert!(matches!(&refused, Some(ExecutorError::BadCommand(_))), "{refused:?}");
}

#[tokio::test]
async fn an_image_is_not_used_and_without_a_command_there_is_nothing_to_run() {
    let host = Host::new();
    let mut spec = shell("true");
    spec.image = Some("busybox:1.36".to_owned());
    let lines = Lines::default();
    soon(host.executor.prepare(&spec, &lines)).await.unwrap();
    let said = lines.0.lock().unwrap().join("\n");
    assert!(said.contains("busybox:1.36") && said.contains("not used"), "{said}");
    let mut spec = shell("true");
    spec.command = None;
    let refused = host.start(&spec).await.err();
    assert!(matches!(&refused, Some(ExecutorError::Unsupported(_))), "{refused:?}");
}

#[tokio::test]
async fn a_run_that_may_talk_to_nobody_does_not_run_on_the_host() {
    let host = Host::new();
    let mut spec = shell("true");
    spec.network = Network::None;
    let refused = host.start(&spec).await.err();
    let told = matches!(&refused, Some(ExecutorError::Unsupported(text)) if text.contains("`network: none`"));
    assert!(told, "{refused:?}");
}

#[tokio::test]
async fn the_commands_variables_win_over_ours_but_for_the_mark() {
    let host = Host::new();
    let mut spec = shell("echo $HOME $LANG $GANTRY_SANDBOX");
    for name in ["HOME", "LANG", "GANTRY_SANDBOX"] {
        spec.environment.insert(name.to_owned(), "mine".to_owned());
    }
    let ran = host.run(&spec).await;
    assert_eq!(ran.out, format!("mine mine {}\n", host.directory_of(spec.key).display()));
}

#[tokio::test]
async fn installations_do_not_see_each_others_attempts() {
    let host = Host::new();
    let spec = shell("true");
    host.run(&spec).await;
    let other = crate::executor(&host.root.path().join("work"), gantry_domain::id::InstallationId::new());
    assert_eq!(other.leftovers().await, Ok(vec![]));
    assert_eq!(host.executor.leftovers().await, Ok(vec![spec.key]));
}
