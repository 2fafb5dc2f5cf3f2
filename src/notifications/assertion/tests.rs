use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use super::*;
use crate::saml::Sign;

const NOW: Wall = Wall(1_767_886_512_345);

fn sh(script: &str) -> AssertionSource {
    AssertionSource::Command(argv(script))
}

fn argv(script: &str) -> Vec<String> {
    vec!["/bin/sh".into(), "-c".into(), script.into()]
}

fn failure(source: &AssertionSource) -> AssertionError {
    source.obtain(NOW).unwrap_err()
}

fn complaint(script: &str) -> String {
    match failure(&sh(script)).cause {
        Cause::Failed { complaint, .. } => complaint,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_read_anew_at_every_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("assertion");
    let source = AssertionSource::File(path.clone());
    assert_eq!(
        failure(&source).to_string(),
        format!(
            "assertion file {} cannot be read: entity not found",
            path.display()
        )
    );
    for (content, expected) in [
        ("Zmlyc3Q=", "Zmlyc3Q="),
        ("\u{feff}\n c2Vjb25k\r\n", "c2Vjb25k"),
        ("dGhp\ncmQ=\n", "dGhpcmQ="),
    ] {
        fs::write(&path, content).unwrap();
        assert_eq!(source.obtain(NOW).unwrap().expose(), expected);
    }
}

#[test]
fn a_file_that_holds_no_assertion_is_refused_with_what_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("assertion");
    for (content, label, said) in [
        ("", "assertion-empty", "is empty"),
        (" \n", "assertion-empty", "is empty"),
        ("<samlp:Response>", "assertion-not-base64", "is XML"),
        (
            "PHNhbWw%2BPg%3D%3D",
            "assertion-not-base64",
            "percent-encoded",
        ),
        ("_-8=", "assertion-not-base64", "URL-safe"),
        ("PHNhbWw", "assertion-not-base64", "cut off"),
        ("Zm9v\u{0}", "assertion-not-base64", "not base64"),
        ("Zm9vä", "assertion-not-base64", "not base64"),
    ] {
        fs::write(&path, content).unwrap();
        let e = failure(&AssertionSource::File(path.clone()));
        assert_eq!(e.label(), label, "{content}");
        assert!(e.to_string().contains(said), "{content}: {e}");
        assert_eq!(e.blame(), Blame::Operator);
        assert!(content.trim().is_empty() || !e.to_string().contains(content));
    }
}

#[test]
fn the_size_of_a_file_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("assertion");
    fs::write(&path, "A".repeat(ASSERTION_MAX)).unwrap();
    let source = AssertionSource::File(path.clone());
    assert_eq!(source.obtain(NOW).unwrap().expose().len(), ASSERTION_MAX);
    fs::write(&path, "A".repeat(ASSERTION_MAX + 4)).unwrap();
    assert_eq!(failure(&source).cause, Cause::TooLarge);
}

#[test]
fn what_is_not_a_file_is_refused_and_does_not_block() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for path in [pipe, directory.path().to_owned(), "/dev/zero".into()] {
        assert_eq!(failure(&AssertionSource::File(path)).cause, Cause::NotAFile);
    }
}

#[test]
fn a_command_is_run_without_a_shell_and_what_it_prints_is_the_assertion() {
    let source = AssertionSource::Command(vec!["printf".into(), "%s".into(), "Zm9v$HOME".into()]);
    // Nothing expands the variable, so this is not base64.
    assert_eq!(failure(&source).label(), "assertion-not-base64");
    assert_eq!(sh("echo Zm9v").obtain(NOW).unwrap().expose(), "Zm9v");
    // A complaint alone is no failure.
    assert_eq!(
        sh("echo warning >&2; echo Zm9v")
            .obtain(NOW)
            .unwrap()
            .expose(),
        "Zm9v"
    );
}

#[test]
fn a_large_output_is_read_to_its_end_and_a_larger_one_is_refused() {
    let fits = sh("head -c 262144 /dev/zero | tr '\\0' A; echo e >&2");
    assert_eq!(fits.obtain(NOW).unwrap().expose().len(), ASSERTION_MAX);
    let e = failure(&sh("tr '\\0' A </dev/zero"));
    assert_eq!(e.cause, Cause::TooLarge);
    assert!(e.to_string().contains("256 KiB"), "{e}");
}

#[test]
fn a_command_that_fails_is_reported_with_its_status_and_first_words() {
    let e = failure(&sh(
        "printf '\\n  no \\033[31mroute\\r\\nsecond\\n' >&2; echo Zm9v; exit 3",
    ));
    assert_eq!(
        e.to_string(),
        "assertion command /bin/sh ended with exit status: 3; it says: \"no [31mroute\""
    );
    assert_eq!(e.blame(), Blame::Environment);
    assert!(e.retry_soon());
    let e = failure(&sh("kill -9 $$"));
    assert!(e.to_string().contains("signal: 9"), "{e}");
    let e = failure(&sh("echo not logged in >&2"));
    assert!(
        e.to_string()
            .contains("printed nothing; it says: \"not logged in\""),
        "{e}"
    );
}

#[test]
fn a_command_s_complaint_is_bounded_and_hides_what_may_be_a_secret() {
    assert!(
        complaint("yes x | head -c 1000000 | tr '\\n' ' ' >&2; exit 1")
            .chars()
            .count()
            <= 200
    );
    let secret = "kOhRvT5Hd8Qm3Zx7Lw2Yb9Nc4Fg6Jp1Se0UaWi5Vo";
    assert_eq!(
        complaint(&format!("echo sent {secret} >&2; exit 1")),
        "sent [hidden]"
    );
}

#[test]
fn a_command_that_cannot_be_started_is_reported_with_its_name_and_no_argument() {
    for (argv, said) in [
        (
            vec!["/nonexistent/fetch".into(), "--password=x".into()],
            "assertion command /nonexistent/fetch cannot be started: entity not found",
        ),
        (
            vec!["/dev/null".into()],
            "assertion command /dev/null cannot be started: permission denied",
        ),
        (
            vec![],
            "assertion command  cannot be started: invalid input parameter",
        ),
    ] {
        let source = AssertionSource::Command(argv);
        let e = failure(&source);
        assert_eq!(e.to_string(), said);
        assert_eq!(e.blame(), Blame::Operator);
        assert!(!format!("{source:?} {e:?}").contains("password"));
    }
}

#[test]
fn a_command_has_no_input_and_none_of_our_other_environment() {
    // Cargo sets this for tests, so there is something to hold back.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let printed = output(&argv("cat; env"), COMMAND_LIMIT).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.contains("PATH="), "{printed}");
    for line in printed.lines() {
        let name = line.split('=').next().unwrap();
        let shell_s_own = ["PWD", "OLDPWD", "SHLVL", "_"];
        assert!(
            PASSED_ON.contains(&name) || shell_s_own.contains(&name),
            "{name} was passed on"
        );
    }
}

/// Waits until no process of that number runs any more.
fn is_gone(pid: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(_) => return true,
            // A killed orphan may wait for whoever inherited it.
            Ok(stat) if stat.contains(") Z ") => return true,
            Ok(_) => std::thread::yield_now(),
        }
    }
    false
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("child");
    let script = format!(
        "sleep 1000 & echo $! >{}; echo waiting >&2; wait",
        file.display()
    );
    let began = Instant::now();
    let limit = Duration::from_millis(3500);
    let cause = output(&argv(&script), limit).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(20));
    let Cause::Failed { how, complaint } = cause else {
        panic!("{cause:?}")
    };
    assert_eq!(how, "did not end within 3.5 s and was killed");
    assert_eq!(complaint, "waiting");
    let child = fs::read_to_string(file).unwrap();
    assert!(is_gone(child.trim()), "{child}");
}

#[test]
fn a_child_left_in_the_background_neither_delays_the_answer_nor_survives() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("child");
    let script = format!("sleep 1000 & echo $! >{}; echo Zm9v", file.display());
    let began = Instant::now();
    assert_eq!(sh(&script).obtain(NOW).unwrap().expose(), "Zm9v");
    assert!(began.elapsed() < Duration::from_secs(20));
    let child = fs::read_to_string(file).unwrap();
    assert!(is_gone(child.trim()), "{child}");
}

#[test]
fn children_that_outlive_the_command_and_flood_its_output_are_killed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("child");
    let script = format!(
        "sleep 1000 & echo $! >{}; tr '\\0' A </dev/zero & exit 0",
        file.display()
    );
    // How much of the flood arrives before the command is seen to have ended
    // is chance, and with it the result; that nobody survives is not.
    let began = Instant::now();
    let _ = sh(&script).obtain(NOW);
    assert!(began.elapsed() < Duration::from_secs(20));
    let child = fs::read_to_string(file).unwrap();
    assert!(is_gone(child.trim()), "{child}");
}

#[test]
fn a_command_that_closes_its_outputs_is_awaited_all_the_same() {
    let e = failure(&sh("exec >&- 2>&-; sleep 0.2; exit 7"));
    assert!(e.to_string().contains("exit status: 7"), "{e}");
}

#[test]
fn a_signed_assertion_is_another_one_each_time() {
    let pem = |name: &str| {
        fs::read(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../tests/saml")
                .join(name),
        )
        .unwrap()
    };
    let signer = Signer::from_pem(
        &pem("test-only-provider.pkcs8.key.pem"),
        &pem("test-only-provider.certificate.pem"),
    );
    let mut settings = AssertionSettings {
        issuer: "issuer".into(),
        email: "gateway@example.com".into(),
        audience: "audience".into(),
        recipient: "recipient".into(),
        organization_name: "acme".into(),
        lifetime: Duration::from_secs(300),
        sign: Sign::Both,
        service_name: None,
    };
    let source = AssertionSource::Signed {
        signer: Box::new(signer.unwrap()),
        settings: settings.clone(),
    };
    assert!(source.obtain(NOW).unwrap() != source.obtain(NOW).unwrap());

    settings.issuer = "\u{1}".into();
    let AssertionSource::Signed { signer, .. } = source else {
        unreachable!()
    };
    let e = failure(&AssertionSource::Signed { signer, settings });
    assert_eq!(e.label(), "assertion-not-signed");
    assert!(e.to_string().contains("issuer"), "{e}");
}

#[test]
fn a_file_that_may_not_be_read_is_the_operator_s_to_mend() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("assertion");
    fs::write(&path, "Zm9v").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    match AssertionSource::File(path).obtain(NOW) {
        Err(e) => {
            assert_eq!(e.cause, Cause::Unreadable(io::ErrorKind::PermissionDenied));
            assert_eq!(e.blame(), Blame::Operator);
        }
        // The superuser may read everything.
        Ok(_) => assert!(rustix::process::geteuid().is_root()),
    }
}
