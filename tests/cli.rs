//! The command line through the real binary: exit codes, reports, and the
//! operators' commands against a listener that answers like the daemon.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

const ID: &str = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";

struct Desk {
    directory: tempfile::TempDir,
}

const RIGHT: &str = r#"
[genesys.oauth]
grant = "client-credentials"
client-id = "id"
client-secret-file = "./secret"
[history]
url = "http://127.0.0.1:8490/communications"
"#;

impl Desk {
    fn new() -> Desk {
        let desk = Desk {
            directory: tempfile::tempdir().unwrap(),
        };
        desk.write("secret", "s3cr3t\n", 0o600);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &str, mode: u32) {
        std::fs::write(self.path(name), content).unwrap();
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(mode)).unwrap();
    }

    /// The command with this configuration, out of reach of the machine's environment.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_genesys-gateway"));
        command
            .arg("--config")
            .arg(self.path("gateway.toml"))
            .args(words)
            .current_dir(self.directory.path())
            .env_remove("CREDENTIALS_DIRECTORY")
            .env_remove("STATE_DIRECTORY")
            .env_remove("JOURNAL_STREAM")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> (i32, String, String) {
        result(self.command(words).output().unwrap())
    }

    fn configured(text: &str) -> Desk {
        let desk = Desk::new();
        desk.write("gateway.toml", text, 0o644);
        desk
    }
}

fn result(output: Output) -> (i32, String, String) {
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn bare(words: &[&str]) -> (i32, String, String) {
    result(
        Command::new(env!("CARGO_BIN_EXE_genesys-gateway"))
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap(),
    )
}

#[test]
fn a_command_line_that_makes_no_sense_exits_with_64() {
    for words in [
        &[][..],
        &["start"],
        &["run", "--fast"],
        &["--config"],
        &["records"],
        &["records", "list", "--state", "lost"],
        &["records", "list", "--limit", "0"],
        &["records", "show", "1234"],
        &["records", "retry"],
        &["records", "retry", "--state", "dead", ID],
        &["simulate", "--set", "switch"],
        &["simulate", "--port", "65536"],
        &["listen"],
        &["listen", "--topic"],
    ] {
        let (code, out, err) = bare(words);
        assert_eq!(code, 64, "{words:?}: {err}");
        assert_eq!(out, "", "{words:?}");
        assert!(!err.is_empty(), "{words:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout_and_exit_with_0() {
    for words in [
        &["--help"][..],
        &["help"],
        &["records", "--help"],
        &["simulate", "-h"],
    ] {
        let (code, out, err) = bare(words);
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}");
        assert!(out.contains("Usage: genesys-gateway"), "{out}");
    }
    let (code, out, _) = bare(&["--version"]);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        format!("genesys-gateway {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_configuration_without_problems_passes_and_warnings_do_not_matter() {
    let desk = Desk::configured(RIGHT);
    desk.write("secret", "s3cr3t\n", 0o644);
    let (code, out, err) = desk.run(&["check"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.ends_with("gateway.toml: no problems\n"), "{out}");
    assert!(
        err.contains("warning: genesys.oauth.client-secret-file: everybody"),
        "{err}"
    );
}

#[test]
fn every_problem_is_reported_at_once_and_exits_with_78() {
    let desk = Desk::configured(
        "[http]\nlisten = \"localhost:1\"\nmax_body = 1\n[channels]\nmax-channels = 21\n[history]\nurl = \"http://u:hush@h/\"\n",
    );
    let (code, out, err) = desk.run(&["check"]);
    assert_eq!((code, out.as_str()), (78, ""), "{err}");
    for key in [
        "http.listen = \"localhost:1\" (line 2): must be IP:port",
        "http.max_body (line 3): there is no such key; did you mean http.max-body?",
        "channels.max-channels = 21 (line 5): must be a whole number from 1 to 20",
        "history.url = \"http://[hidden]@h/\" (line 7)",
        "genesys.oauth.client-id: is required",
        "genesys.oauth.client-secret-file: is required",
    ] {
        assert!(err.contains(key), "{key}\n{err}");
    }
    assert!(!err.contains("hush"), "{err}");
    let lines = err.lines().count();
    assert!(
        err.lines().all(|l| l.starts_with("genesys-gateway: ")),
        "{err}"
    );
    // `run` refuses the same, in its log.
    let (code, _, log) = desk.run(&["run"]);
    assert_eq!(code, 78);
    assert_eq!(log.matches(" ERROR ").count(), lines, "{log}");
}

#[test]
fn a_configuration_that_is_missing_or_not_toml_exits_with_78() {
    for word in ["run", "check", "status"] {
        let (code, _, err) = Desk::new().run(&[word]);
        assert_eq!(code, 78, "{word}: {err}");
        assert!(err.contains("there is no such file"), "{err}");
        let (code, _, err) = Desk::configured("[http]\nlisten = \n").run(&[word]);
        assert_eq!(code, 78, "{word}: {err}");
        assert!(err.contains("gateway.toml:2:"), "{err}");
    }
    let desk = Desk::new();
    std::fs::create_dir(desk.path("gateway.toml")).unwrap();
    let (code, _, err) = desk.run(&["check"]);
    assert_eq!(code, 78, "{err}");
}

/// Root may read everything, so a test that runs as root becomes nobody for this.
fn as_nobody(command: &mut Command) -> &mut Command {
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    command
}

#[test]
fn a_secret_with_what_nobody_sees_is_refused_with_its_place_and_a_byte_order_mark_is_taken_off() {
    let desk = Desk::configured(&format!("[http]\napi-tokens-file = \"tokens\"\n{RIGHT}"));
    desk.write("tokens", "\u{feff}a-token-of-some-length\r\n", 0o600);
    desk.write("secret", "\u{feff}s3cr3t\r\n", 0o600);
    let (code, _, err) = desk.run(&["check"]);
    assert_eq!((code, err.as_str()), (0, ""));
    desk.write("secret", "s3cr3t \n", 0o600);
    desk.write(
        "tokens",
        "a-token-of-some-length\none-character-\u{200b}more\n",
        0o600,
    );
    let (code, _, err) = desk.run(&["check"]);
    assert_eq!(code, 78, "{err}");
    for said in [
        "line 1, column 7 of the file holds U+0020 SPACE",
        "line 2, column 15 of the file holds U+200B ZERO WIDTH SPACE",
    ] {
        assert!(err.contains(said), "{err}");
    }
    assert!(
        !err.contains("s3cr3t") && !err.contains("one-character"),
        "{err}"
    );
}

#[test]
fn a_file_that_may_not_be_read_exits_with_77() {
    let desk = Desk::configured(RIGHT);
    std::fs::set_permissions(desk.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    desk.write("secret", "s3cr3t\n", 0o000);
    let (code, _, err) = result(as_nobody(&mut desk.command(&["check"])).output().unwrap());
    assert_eq!(code, 77, "{err}");
    assert!(err.contains("may not read"), "{err}");
    // What a simulator on this machine may do is still known then.
    desk.write(
        "gateway.toml",
        &format!(
            "[channels]\nheartbeat-timeout = \"500ms\"\n[genesys]\napi-url = \"http://127.0.0.1:1\"\n\
             login-url = \"http://127.0.0.1:1\"\n{RIGHT}"
        ),
        0o644,
    );
    let (code, _, err) = result(as_nobody(&mut desk.command(&["check"])).output().unwrap());
    assert_eq!((code, err.lines().count()), (77, 1), "{err}");
    // A further problem of another kind makes it a matter of the configuration.
    desk.write("gateway.toml", &format!("[x]\n{RIGHT}"), 0o644);
    let (code, _, err) = result(as_nobody(&mut desk.command(&["check"])).output().unwrap());
    assert_eq!(code, 78, "{err}");
    desk.write("gateway.toml", RIGHT, 0o000);
    for word in ["run", "check", "status"] {
        let (code, _, err) = result(as_nobody(&mut desk.command(&[word])).output().unwrap());
        assert_eq!(code, 77, "{word}: {err}");
    }
}

#[test]
fn a_database_where_others_may_write_or_behind_a_link_is_refused_by_check_and_at_the_start() {
    let desk = Desk::configured(&format!(
        "{RIGHT}[store]\npath = \"{}\"\n",
        "place/gateway.db"
    ));
    std::fs::create_dir(desk.path("place")).unwrap();
    let mode = |mode| {
        std::fs::set_permissions(desk.path("place"), PermissionsExt::from_mode(mode)).unwrap();
    };
    let refused = |text: &str| {
        for word in ["check", "run"] {
            let (code, _, err) = desk.run(&[word]);
            assert_eq!(code, 78, "{word}: {err}");
            assert!(err.contains("store.path") && err.contains(text), "{err}");
        }
    };
    for open in [0o777, 0o1777] {
        mode(open);
        refused("others may write");
    }
    mode(0o700);
    let names = [
        "",
        "-wal",
        "-shm",
        ".lock",
        ".salvage",
        ".salvage-part",
        ".probe",
    ];
    for name in names.map(|end| format!("gateway.db{end}")) {
        let link = desk.path("place").join(name);
        std::os::unix::fs::symlink(desk.path("secret"), &link).unwrap();
        refused("is a link");
        std::fs::remove_file(link).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(desk.path("secret")).unwrap(),
        "s3cr3t\n"
    );
    desk.write("place/gateway.db", "", 0o666);
    refused("may be written by others (mode 0666)");
    std::fs::remove_file(desk.path("place/gateway.db")).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(desk.path(""), None, Some(65_534)).unwrap();
        std::fs::set_permissions(desk.path(""), PermissionsExt::from_mode(0o775)).unwrap();
        refused("its group may replace what is in the directory");
        std::os::unix::fs::chown(desk.path(""), Some(65_534), Some(0)).unwrap();
        std::fs::set_permissions(desk.path(""), PermissionsExt::from_mode(0o755)).unwrap();
        refused("on the way to the database belongs to another user (number 65534)");
        std::os::unix::fs::chown(desk.path(""), Some(0), None).unwrap();
        // Root may look on behalf of the user that it belongs to, and not run in its place.
        std::os::unix::fs::chown(desk.path("place"), Some(65_534), None).unwrap();
        let (code, _, err) = desk.run(&["check"]);
        assert_eq!(code, 0, "{err}");
        assert!(
            err.contains("the gateway starts as that user only"),
            "{err}"
        );
        let (code, _, err) = desk.run(&["run"]);
        assert_eq!(code, 78, "{err}");
        assert!(
            err.contains("belongs to another user (number 65534)"),
            "{err}"
        );
        std::os::unix::fs::chown(desk.path("place"), Some(0), None).unwrap();
    }
    // The same where the path says nothing of a directory.
    desk.write("gateway.toml", RIGHT, 0o600);
    std::fs::set_permissions(desk.path(""), PermissionsExt::from_mode(0o777)).unwrap();
    refused("others may write");
    std::fs::set_permissions(desk.path(""), PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(desk.run(&["check"]).0, 0);
}

#[test]
fn a_listener_that_this_user_may_not_have_exits_with_69() {
    let desk = Desk::configured(RIGHT);
    let mode = |name: &str, mode| {
        std::fs::set_permissions(desk.path(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    for name in ["open", "closed"] {
        std::fs::create_dir(desk.path(name)).unwrap();
    }
    mode("open", 0o700);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(desk.path("open"), Some(65_534), Some(65_534)).unwrap();
    }
    mode("closed", 0o555);
    mode("", 0o755);
    mode("secret", 0o644);
    for section in ["http", "status"] {
        let other = if section == "http" { "status" } else { "http" };
        let text = format!(
            "{RIGHT}[{section}]\nlisten = \"unix:{}\"\n[{other}]\nlisten = \"127.0.0.1:0\"\n\
             [store]\npath = \"{}\"\n",
            desk.path("closed/a.sock").display(),
            desk.path("open/gateway.db").display(),
        );
        desk.write("gateway.toml", &text, 0o644);
        let (code, _, err) = result(as_nobody(&mut desk.command(&["run"])).output().unwrap());
        assert_eq!(code, 69, "{section}: {err}");
        assert!(err.contains("closed/a.sock"), "{err}");
    }
}

#[test]
fn the_journal_gets_priorities_and_others_get_timestamps() {
    let desk = Desk::configured("[nonsense]\n");
    let (_, _, log) = desk.run(&["run"]);
    assert!(
        log.lines()
            .all(|l| l.starts_with("20") && l.contains("Z ERROR ")),
        "{log}"
    );
    let file = std::fs::File::create(desk.path("journal")).unwrap();
    let seen = file.metadata().unwrap();
    let status = desk
        .command(&["run"])
        .env("JOURNAL_STREAM", format!("{}:{}", seen.dev(), seen.ino()))
        .stderr(file)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(78));
    let log = std::fs::read_to_string(desk.path("journal")).unwrap();
    assert!(
        !log.is_empty() && log.lines().all(|l| l.starts_with("<3>")),
        "{log}"
    );
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_a_reader_that_has_left_is_none() {
    let desk = Desk::configured(RIGHT);
    let daemon = Daemon::start(|_| (200, json!({"records": [], "shape": [], "verdict": "well"})));
    desk.write(
        "gateway.toml",
        &format!("[status]\nlisten = \"{}\"\n{RIGHT}", daemon.listen),
        0o644,
    );
    let state = format!("--state={}", "dead");
    for words in [
        &["--help"][..],
        &["help", "records"],
        &["--version"],
        &["check"],
        &["status"],
        &["status", "--json"],
        &["records", "list", "--json"],
        &["records", "list", "--json", &state],
        &["records", "shape", "--json"],
    ] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let (code, _, err) = result(desk.command(words).stdout(full).output().unwrap());
        assert_eq!(code, 69, "{words:?}: {err}");
        assert!(
            err.contains("standard output: No space left"),
            "{words:?}: {err}"
        );
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, _, err) = result(desk.command(words).stdout(writer).output().unwrap());
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}");
    }
}

#[test]
fn a_simulator_whose_reader_has_left_says_nothing_and_one_that_cannot_write_says_so() {
    let desk = Desk::configured(RIGHT);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let quiet = desk.command(&["simulate"]).stdout(writer).output();
    let (code, _, err) = result(quiet.unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let told = desk.command(&["simulate"]).stdout(full.unwrap()).output();
    let (code, _, err) = result(told.unwrap());
    assert_eq!(code, 69, "{err}");
    assert!(err.contains("No space left"), "{err}");
}

#[test]
fn nothing_that_was_given_as_an_argument_reaches_the_terminal_as_it_is() {
    const ODD: &str = "x\u{202e}y\u{1b}[2J\u{200b}z\nforged: line\u{9b}";
    let desk = Desk::configured(RIGHT);
    let path = |name: &str| desk.path(name).display().to_string();
    let (missing, directory) = (path(ODD), path(&format!("{ODD}-d")));
    std::fs::create_dir(&directory).unwrap();
    let sound = path(&format!("{ODD}.toml"));
    std::fs::write(&sound, RIGHT).unwrap();
    let broken = path(&format!("{ODD}-broken"));
    std::fs::write(&broken, format!("[{ODD}]\nx = \"{ODD}\"")).unwrap();
    let joined = format!("--config={missing}");
    let set = format!("{ODD}=1");
    let valued = format!("org-name{ODD}=1");
    let state = format!("--state={ODD}");
    for words in [
        &["--config", &missing, "check"][..],
        &[&joined, "run"],
        &["--config", &missing, "status"],
        &["--config", &missing, "records", "list"],
        &["--config", &directory, "check"],
        &["--config", &broken, "check"],
        &["--config", &broken, "run"],
        &["--config", &sound, "check"],
        &[ODD],
        &["--no\u{202e}such"],
        &["status", ODD],
        &["records", ODD],
        &["records", "show", ODD],
        &["records", "list", "--limit", ODD],
        &["records", "list", &state],
        &["records", "hold", "--state", ODD],
        &["simulate", "--set", &set],
        &["simulate", "--set", &valued],
        &["simulate", "--set", ODD],
        &["simulate", "--port", ODD],
    ] {
        let (_, out, err) = bare(words);
        let shown = format!("{out}{err}");
        assert!(!shown.is_empty(), "{words:?}");
        let raw = shown.contains(['\u{202e}', '\u{1b}', '\u{200b}', '\u{9b}']);
        assert!(!raw, "{words:?}: {shown:?}");
        let forged = shown.lines().any(|line| line.starts_with("forged"));
        assert!(!forged, "{words:?}: {shown:?}");
    }
}

/// A listener that answers from a function, one connection at a time.
struct Daemon {
    listen: String,
    asked: Arc<Mutex<Vec<String>>>,
}

fn serve(
    stream: &mut (impl Read + Write),
    answer: &mut dyn FnMut(&str) -> (u16, Value),
    heard: &Mutex<Vec<String>>,
) {
    let mut head = String::new();
    let mut reader = BufReader::new(&mut *stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let first = head.lines().next().unwrap_or("").to_owned();
    // Before the answer, so that whoever has that may look.
    heard.lock().unwrap().push(head);
    let (status, body) = answer(first.trim_end_matches(" HTTP/1.1"));
    let body = body.to_string();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
}

impl Daemon {
    fn start(mut answer: impl FnMut(&str) -> (u16, Value) + Send + 'static) -> Daemon {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(&mut stream.unwrap(), &mut answer, &heard);
            }
        });
        Daemon { listen, asked }
    }

    fn start_unix(
        desk: &Desk,
        mut answer: impl FnMut(&str) -> (u16, Value) + Send + 'static,
    ) -> Daemon {
        let path = desk.path("status.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(&mut stream.unwrap(), &mut answer, &heard);
            }
        });
        Daemon {
            listen: format!("unix:{}", path.display()),
            asked,
        }
    }

    fn configure(&self, desk: &Desk, more: &str) {
        let text = format!("[status]\nlisten = \"{}\"\n{more}", self.listen);
        desk.write("gateway.toml", &text, 0o644);
    }

    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|head| head.lines().next().unwrap_or("").to_owned())
            .collect()
    }
}

fn snapshot() -> Value {
    json!({"verdict": "all is well", "level": "ok", "reasons": [], "records": {"dead": 2},
           "shape": [{"state": "dead", "ages": [{"upTo": 3600, "n": 2}]}]})
}

#[test]
fn status_begins_with_the_verdict_and_json_is_the_snapshot_itself() {
    let desk = Desk::new();
    for daemon in [
        Daemon::start(|_| (200, snapshot())),
        Daemon::start_unix(&desk, |_| (200, snapshot())),
    ] {
        daemon.configure(&desk, "");
        let (code, out, err) = desk.run(&["status"]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.starts_with("all is well\n"), "{out}");
        assert!(!out.contains('\u{1b}'), "no colours into a pipe: {out}");
        let (code, out, _) = desk.run(&["status", "--json"]);
        assert_eq!(code, 0);
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), snapshot());
        let (code, out, _) = desk.run(&["records", "shape"]);
        assert_eq!(code, 0);
        assert!(out.contains("dead      2     2"), "{out}");
        assert_eq!(daemon.asked()[0], "GET /status HTTP/1.1");
    }
}

#[test]
fn a_token_is_shown_where_there_is_one_and_its_refusal_is_a_matter_of_configuration() {
    let desk = Desk::new();
    desk.write(
        "tokens",
        "first-token-of-some-length\nsecond-token-of-some-length\n",
        0o600,
    );
    let daemon = Daemon::start(|_| (401, json!({"title": "Unauthorized"})));
    daemon.configure(&desk, "api-tokens-file = \"./tokens\"\n");
    let (code, _, err) = desk.run(&["status"]);
    assert_eq!(code, 78, "{err}");
    assert!(!err.contains("token-of-some-length"), "{err}");
    let asked = daemon.asked.lock().unwrap();
    assert!(
        asked[0].contains("Authorization: Bearer first-token-of-some-length\r\n"),
        "{asked:?}"
    );
}

#[test]
fn without_the_daemon_everything_that_needs_it_exits_with_69() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = listener.local_addr().unwrap();
    drop(listener);
    let desk = Desk::configured(&format!("[status]\nlisten = \"{listen}\"\n"));
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["records", "retry", ID],
        &["records", "discard", "--state", "dead", "--yes"],
        &["records", "list"],
    ] {
        let (code, _, err) = desk.run(words);
        assert_eq!(code, 69, "{words:?}: {err}");
        assert!(
            err.contains("the daemon does not answer at 127.0.0.1:"),
            "{err}"
        );
    }
}

#[test]
fn something_that_is_not_the_daemon_is_not_believed() {
    let desk = Desk::new();
    let daemon = Daemon::start(|_| (200, json!("hello")));
    daemon.configure(&desk, "");
    for words in [
        &["status"][..],
        &["records", "list"],
        &["records", "show", ID],
        &["records", "shape"],
        &["records", "retry", "--state", "dead", "--yes"],
    ] {
        let (code, out, err) = desk.run(words);
        assert_eq!((code, out.as_str()), (69, ""), "{words:?}: {err}");
    }
}

#[test]
fn records_are_listed_and_shown_without_control_characters() {
    let record = json!({"recordId": ID, "kind": "after-call-work", "state": "dead", "attempts": 3,
                        "receivedAt": "2026-01-08T15:35:12.345Z", "lastError": "404 \u{1b}[2Jgone"});
    let desk = Desk::new();
    let answer = record.clone();
    let daemon = Daemon::start(move |asked| match asked {
        "GET /records?state=dead&limit=1000" => (200, json!({"records": [answer.clone()]})),
        asked if asked.starts_with(&format!("GET /records/{ID}")) => (200, answer.clone()),
        "GET /records?limit=7" => (200, json!({"records": []})),
        _ => (404, json!({"title": "Not Found"})),
    });
    daemon.configure(&desk, "");
    let (code, out, _) = desk.run(&["records", "list", "--state", "dead"]);
    assert_eq!(code, 0);
    assert!(out.contains(&format!("{ID}  dead")), "{out}");
    assert!(out.contains("404 \\u{1b}[2Jgone"), "{out}");
    let (code, out, _) = desk.run(&["records", "list", "--state", "dead", "--json"]);
    assert_eq!(code, 0);
    assert_eq!(
        serde_json::from_str::<Value>(&out).unwrap()["records"][0],
        record
    );
    let (code, out, _) = desk.run(&["records", "show", &ID.to_uppercase()]);
    assert_eq!(code, 0);
    assert!(out.contains("attempts    3\n"), "{out}");
    let (code, out, err) = desk.run(&["records", "list", "--limit", "7"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.contains("no records"), "{err}");
    let other = "00000000-0000-4000-8000-000000000000";
    let (code, _, err) = desk.run(&["records", "show", other]);
    assert_eq!(code, 1, "{err}");
}

#[test]
fn acts_by_id_go_on_after_a_refusal_and_say_so_in_the_exit_code() {
    let other = "00000000-0000-4000-8000-000000000000";
    let desk = Desk::new();
    let daemon = Daemon::start(move |asked| {
        if asked == format!("POST /records/{ID}/hold") {
            (200, json!({"recordId": ID, "state": "held"}))
        } else {
            (409, json!({"detail": "the record is delivered"}))
        }
    });
    daemon.configure(&desk, "");
    let (code, out, err) = desk.run(&["records", "hold", other, ID]);
    assert_eq!(code, 1);
    assert_eq!(out, format!("{ID} held\n"));
    assert!(err.contains("409: the record is delivered"), "{err}");
    let (code, out, _) = desk.run(&["records", "hold", ID]);
    assert_eq!((code, out), (0, format!("{ID} held\n")));
}

/// A daemon with `n` dead records, of which one more dies with each act.
fn dying(n: usize) -> Daemon {
    let id = |i: usize| format!("00000000-0000-4000-8000-{i:012}");
    let mut dead: Vec<String> = (0..n).map(id).collect();
    let mut born = n;
    Daemon::start(move |asked| {
        if asked == "GET /status" {
            return (200, json!({"records": {"dead": dead.len()}}));
        }
        if asked.starts_with("GET /records?state=dead&") {
            let rows: Vec<Value> = dead.iter().map(|id| json!({"recordId": id})).collect();
            return (200, json!({ "records": rows }));
        }
        let asked = asked.strip_prefix("POST /records/").unwrap();
        dead.retain(|id| !asked.starts_with(id.as_str()));
        dead.push(id(born));
        born += 1;
        (200, json!({"state": "discarded"}))
    })
}

#[test]
fn an_act_by_state_asks_first_and_touches_no_more_than_it_said() {
    let desk = Desk::new();
    let daemon = dying(3);
    daemon.configure(&desk, "");
    let (code, out, err) = desk.run(&["records", "discard", "--state", "dead"]);
    assert_eq!((code, out.as_str()), (64, ""), "{err}");
    assert!(
        err.contains("3 records are dead") && err.contains("--yes"),
        "{err}"
    );
    let (code, out, err) = desk.run(&["records", "discard", "--state", "dead", "--yes"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.lines().count(), 3, "{out}");
    assert!(err.contains("discard: 3 of 3"), "{err}");
    let acts = daemon
        .asked()
        .iter()
        .filter(|a| a.starts_with("POST"))
        .count();
    assert_eq!(acts, 3);
}

#[test]
fn an_act_by_state_does_not_go_by_a_snapshot_from_before_the_last_act() {
    let desk = Desk::new();
    let id = "00000000-0000-4000-8000-000000000001";
    let mut held = true;
    let daemon = Daemon::start(move |asked| match asked {
        "GET /status" => (200, json!({"records": {"held": 0}})),
        _ if asked.starts_with("GET /records?state=held&") => {
            let rows: &[Value] = &[json!({ "recordId": id })];
            (200, json!({"records": if held { rows } else { &[] }}))
        }
        _ => {
            held = false;
            (200, json!({"state": "queued"}))
        }
    });
    daemon.configure(&desk, "");
    let (code, out, err) = desk.run(&["records", "release", "--state", "held", "--yes"]);
    assert_eq!((code, out), (0, format!("{id} queued\n")), "{err}");
    let (code, out, err) = desk.run(&["records", "release", "--state", "held", "--yes"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.contains("no record is held"), "{err}");
}

#[test]
fn an_act_that_makes_no_sense_in_a_state_is_refused_before_anything_is_asked() {
    let desk = Desk::new();
    let daemon = Daemon::start(|_| (500, Value::Null));
    daemon.configure(&desk, "");
    for (act, state) in [
        ("retry", "delivered"),
        ("retry", "queued"),
        ("hold", "dead"),
        ("release", "dead"),
        ("discard", "delivered"),
    ] {
        let (code, _, err) = desk.run(&["records", act, "--state", state, "--yes"]);
        assert_eq!(code, 64, "{act} {state}: {err}");
    }
    assert!(daemon.asked().is_empty());
}

/// A database as a gateway that was stopped has left it: one dead support result.
fn leave_a_database(desk: &Desk) {
    use base::rows::{
        Change, Leg, RecordKind, RecordRow, RecordState, Source, StoreFact, StoreOrder,
    };
    use base::time::Wall;
    use store::{OpenOptions, Store};
    let now = Wall(1_767_886_512_345);
    let (mut store, _) = Store::open(&desk.path("gateway.db"), OpenOptions { now }).unwrap();
    let take = Change::Take {
        row: RecordRow {
            record: ID.parse().unwrap(),
            kind: RecordKind::SupportResult,
            conversation: None,
            source: Source::SupportResult,
            leg: Leg::default(),
            ordinal: 0,
            event_time: None,
            matched_time: None,
            content_digest: None,
            received_at: now,
            state: RecordState::Dead,
            attempts: 7,
            next_try: None,
            patience_used: std::time::Duration::ZERO,
            delivered_at: None,
            last_error: Some("404 from the history manager".into()),
        },
        body: "{\"solved\":true}".into(),
        key: None,
    };
    let fact = store.execute(
        StoreOrder::Commit {
            ticket: 1,
            changes: vec![take],
        },
        now,
    );
    let StoreFact::Committed { refused, .. } = fact else {
        panic!("not committed")
    };
    assert!(refused.is_empty());
    store.close(now).unwrap();
}

#[test]
fn without_the_daemon_one_may_look_into_the_database_but_not_act() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = listener.local_addr().unwrap();
    drop(listener);
    let desk = Desk::configured(&format!("[status]\nlisten = \"{listen}\"\n"));
    leave_a_database(&desk);
    let (code, out, err) = desk.run(&["status"]);
    assert_eq!(code, 69, "{err}");
    assert!(out.starts_with("the gateway does not answer\n"), "{out}");
    assert!(out.contains("records  dead 1"), "{out}");
    let (code, out, err) = desk.run(&["records", "list", "--state", "dead"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("404 from the history manager"), "{out}");
    assert!(err.contains("this is from the database"), "{err}");
    let (code, out, _) = desk.run(&["records", "list", "--state", "queued", "--json"]);
    assert_eq!((code, out.as_str()), (0, "{\"records\":[]}\n"));
    let (code, out, _) = desk.run(&["records", "show", ID, "--json"]);
    assert_eq!(code, 0);
    let record: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&record["attempts"], &record["body"]),
        (&json!(7), &json!({"solved": true}))
    );
    let (code, out, _) = desk.run(&["records", "shape"]);
    assert_eq!(code, 0);
    let dead = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next(), words.next()) == (Some("dead"), Some("1"))
    };
    assert!(out.lines().any(dead), "{out}");
    let (code, _, _) = desk.run(&["records", "show", "00000000-0000-4000-8000-000000000000"]);
    assert_eq!(code, 1);
    let (code, _, _) = desk.run(&["records", "retry", ID]);
    assert_eq!(code, 69);
}
