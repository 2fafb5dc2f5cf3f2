//! The walls of the pure crates hold: what they must not do fails the lint, and
//! no manifest of theirs reaches a crate that could do it for them.
//!
//! A house of the same plan is built in a directory that vanishes: crates that
//! take over the `clippy.toml` of a pure crate each, and one beside them that
//! has only that of the root. All are given the same forbidden lines.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// The folders of `src` that decide, and the crates in them.
const PURE: [(&str, &str); 3] = [
    ("base", "genesys-base"),
    ("notifications-proto", "genesys-notifications-proto"),
    ("filing", "genesys-filing"),
];

/// What a pure crate hears when it reaches for such a thing, and ways to reach for it.
const FORBIDDEN: [(&str, &[&str]); 10] = [
    (
        "no clock in a pure crate",
        &[
            "let _ = std::time::Instant::now();",
            "use std::time as t; let _ = t::SystemTime::now();",
            "let _: Option<std::time::SystemTime> = None;",
            "let _ = std::time::SystemTime::UNIX_EPOCH.elapsed();",
            "let read: fn() -> _ = std::time::Instant::now; let _ = read().elapsed();",
            "let _ = jiff::Timestamp::now();",
            "let _ = jiff::Zoned::now();",
        ],
    ),
    (
        "no socket in a pure crate",
        &[
            "let _ = std::net::TcpStream::connect(\"127.0.0.1:80\");",
            "let _ = std::net::TcpListener::bind(\"127.0.0.1:0\");",
            "let _ = std::net::UdpSocket::bind(\"127.0.0.1:0\");",
            "use std::net::ToSocketAddrs as _; let _ = \"localhost:80\".to_socket_addrs();",
            "use std::os::unix::net::UnixStream as S; let _ = S::connect(\"/s\");",
            "let _ = std::os::unix::net::UnixListener::bind(\"/s\");",
            "let _ = std::os::unix::net::UnixDatagram::unbound();",
        ],
    ),
    (
        "no file in a pure crate",
        &[
            "let _ = std::fs::File::open(\"/f\");",
            "use std::fs::*; let _ = File::create(\"/f\");",
            "let _ = std::fs::OpenOptions::new();",
            "let _ = std::fs::DirBuilder::new();",
            "let _: Option<std::fs::ReadDir> = None;",
            "let _: Option<std::fs::DirEntry> = None;",
            "let _: Option<std::os::fd::OwnedFd> = None;",
            "let _: Option<std::os::fd::BorrowedFd<'_>> = None;",
            "let _ = std::fs::canonicalize(\"/f\");",
            "let _ = std::fs::copy(\"/f\", \"/g\");",
            "let _ = std::fs::create_dir(\"/f\");",
            "let _ = std::fs::create_dir_all(\"/f\");",
            "let _ = std::fs::exists(\"/f\");",
            "let _ = std::fs::hard_link(\"/f\", \"/g\");",
            "let _ = std::fs::metadata(\"/f\");",
            "let _ = std::fs::read(\"/f\");",
            "let _ = std::fs::read_dir(\"/f\");",
            "let _ = std::fs::read_link(\"/f\");",
            "let _ = std::fs::read_to_string(\"/f\");",
            "let _ = std::fs::remove_dir(\"/f\");",
            "let _ = std::fs::remove_dir_all(\"/f\");",
            "let _ = std::fs::remove_file(\"/f\");",
            "let _ = std::fs::rename(\"/f\", \"/g\");",
            "let _ = std::fs::metadata(\"/f\").map(|m| std::fs::set_permissions(\"/f\", m.permissions()));",
            "let _ = std::fs::symlink_metadata(\"/f\");",
            "let _ = std::fs::write(\"/f\", \"\");",
            "let _ = std::os::unix::fs::symlink(\"/f\", \"/g\");",
            "let _ = std::path::Path::new(\"/f\").canonicalize();",
            "let _ = std::path::PathBuf::new().exists();",
            "let _ = std::path::Path::new(\"/f\").is_dir();",
            "let _ = std::path::Path::new(\"/f\").is_file();",
            "let _ = std::path::Path::new(\"/f\").is_symlink();",
            "let _ = std::path::Path::new(\"/f\").metadata();",
            "let _ = std::path::Path::new(\"/f\").read_dir();",
            "let _ = std::path::Path::new(\"/f\").read_link();",
            "let _ = std::path::Path::new(\"/f\").symlink_metadata();",
            "let _ = std::path::Path::new(\"/f\").try_exists();",
            "let _ = std::io::pipe();",
            "let _ = std::io::stdin();",
            "let _ = std::io::stdout();",
            "let _ = std::io::stderr();",
        ],
    ),
    (
        "no thread in a pure crate",
        &[
            "let _ = std::thread::spawn(|| ());",
            "let _: Option<std::thread::JoinHandle<()>> = None;",
            "let _ = std::thread::Builder::new();",
            "std::thread::scope(|_| ());",
            "let _: Option<&std::thread::Scope<'_, '_>> = None;",
            "let _: std::thread::Thread = std::thread::current();",
            "std::thread::sleep(std::time::Duration::ZERO);",
            "std::thread::park();",
            "std::thread::park_timeout(std::time::Duration::ZERO);",
            "std::thread::yield_now();",
            "let _ = std::thread::available_parallelism();",
            "thread_local! { static HIDDEN: u8 = const { 7 } }; HIDDEN.with(|n| *n);",
            "let _: Option<&std::thread::LocalKey<u8>> = None;",
        ],
    ),
    (
        "no lock or queue in a pure crate",
        &[
            "let _ = std::sync::Mutex::new(7);",
            "let _ = std::sync::RwLock::new(7);",
            "let _ = std::sync::Condvar::new();",
            "let _ = std::sync::Barrier::new(7);",
            "let _ = std::sync::Once::new();",
            "static HIDDEN: std::sync::OnceLock<u8> = std::sync::OnceLock::new(); HIDDEN.get();",
            "static HIDDEN: std::sync::LazyLock<u8> = std::sync::LazyLock::new(|| 7); let _ = *HIDDEN;",
            "let _ = std::sync::mpsc::channel::<u8>();",
            "let _ = std::sync::mpsc::sync_channel::<u8>(7);",
            "let _: Option<std::sync::mpsc::Sender<u8>> = None;",
            "let _: Option<std::sync::mpsc::SyncSender<u8>> = None;",
            "let _: Option<std::sync::mpsc::Receiver<u8>> = None;",
        ],
    ),
    (
        "no process or environment in a pure crate",
        &[
            "let _ = std::process::Command::new(\"date\");",
            "let _: Option<std::process::Child> = None;",
            "std::process::abort();",
            "std::process::exit(7);",
            "let _ = std::process::id();",
            "let _ = std::env::args();",
            "let _ = std::env::args_os();",
            "let _ = std::env::current_dir();",
            "let _ = std::env::current_exe();",
            "let _ = std::env::set_current_dir(\"/\");",
            "let _ = std::env::temp_dir();",
            "let _ = std::env::var(\"TZ\");",
            "let _ = std::env::var_os(\"TZ\");",
            "let _ = std::env::vars();",
            "let _ = std::env::vars_os();",
        ],
    ),
    (
        "no hash order in a pure crate",
        &[
            "let _ = std::collections::HashMap::<u8, u8>::new();",
            "use std::collections::HashMap as Map; let _ = Map::<u8, u8>::new();",
            "let _: std::collections::HashSet<u8> = [7].into();",
            "let _ = std::hash::RandomState::new();",
            "let _ = std::collections::hash_map::RandomState::new();",
            "let _ = std::hash::DefaultHasher::new();",
        ],
    ),
    (
        "no chance in a pure crate",
        &["let _ = ring::rand::SystemRandom::new();"],
    ),
    (
        "nothing is printed in a pure crate",
        &[
            "print!(\"7\");",
            "println!(\"7\");",
            "eprint!(\"7\");",
            "eprintln!(\"7\");",
            "let _ = dbg!(7);",
        ],
    ),
    (
        // What the root forbids itself is forbidden here, too: a file replaces that of the root.
        "`unwrap()` on an `Option`",
        &["let _ = std::hint::black_box(Some(7)).unwrap();"],
    ),
];

/// What a pure crate is made of.
const INNOCENT: &str = r#"
//! Decides.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Known.
#[derive(Debug, Default)]
pub struct Known {
    /// By name.
    pub names: BTreeMap<Arc<str>, BTreeSet<u64>>,
    /// In their order.
    pub waiting: VecDeque<(Duration, Option<IpAddr>, PathBuf)>,
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_test_may_unwrap() {
        assert_eq!("7".parse::<u8>().unwrap(), 7);
    }
}
"#;

/// Crates that the lists of a pure crate speak of, reduced to what they say of them.
const OTHERS: [(&str, &str); 2] = [
    (
        "jiff",
        "pub struct Timestamp; impl Timestamp { pub fn now() -> Self { Self } }\n\
         pub struct Zoned; impl Zoned { pub fn now() -> Self { Self } }\n",
    ),
    (
        "ring",
        "pub mod rand { #[derive(Default)] pub struct SystemRandom; \
         impl SystemRandom { pub fn new() -> Self { Self } } }\n",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Lays a crate out, with a `clippy.toml` of its own if one is given.
fn lay_out(house: &Path, name: &str, source: &str, clippy: Option<&str>) {
    let mut manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [lib]\npath = \"lib.rs\"\n\n"
    );
    if OTHERS.iter().all(|(other, _)| *other != name) {
        manifest += "[dependencies]\njiff.workspace = true\nring.workspace = true\n\n";
        manifest += "[lints]\nworkspace = true\n";
    }
    let folder = house.join("src").join(name);
    write(&folder.join("Cargo.toml"), &manifest);
    write(&folder.join("lib.rs"), source);
    if let Some(clippy) = clippy {
        write(&folder.join("clippy.toml"), clippy);
    }
}

/// Each line as a function on a line of its own, so that the number of the line says which.
fn source(lines: impl Iterator<Item = &'static str>) -> String {
    let mut source = "#![allow(unused, clippy::all)] ".to_owned();
    source += "#![deny(clippy::disallowed_types, clippy::disallowed_methods, ";
    source += "clippy::disallowed_macros, clippy::unwrap_used)]\n";
    for (number, line) in lines.enumerate() {
        source += &format!("pub fn line_{number}() {{ {line} }}\n");
    }
    source
}

/// All forbidden lines, each after what it has to hear.
fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    FORBIDDEN
        .iter()
        .flat_map(|(reason, lines)| lines.iter().map(|line| (*reason, *line)))
}

fn cargo(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What this test is run with is not what it asks about.
    for name in [
        "CLIPPY_CONF_DIR",
        "CLIPPY_ARGS",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
    command
        .current_dir(directory)
        .env("CARGO_TERM_COLOR", "never")
        .args(arguments);
    if directory != root() {
        command.env("CARGO_TARGET_DIR", directory.join("target"));
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Clippy over the whole house or a part of it, from its root.
fn clippy(house: &Path, arguments: &[&str]) -> Output {
    let all = [
        &["clippy", "--offline"],
        arguments,
        &["--", "-D", "warnings"],
    ]
    .concat();
    cargo(house, &all)
}

/// Whether there is a clippy; a failure where tools are required.
fn clippy_is_here() -> bool {
    let version = cargo(root(), &["clippy", "--version"]);
    if !version.status.success() {
        let required = std::env::var_os("GATEWAY_TESTS_REQUIRE_TOOLS").is_some_and(|v| v == "1");
        assert!(
            !required,
            "clippy is required here: {}",
            text(&version.stderr)
        );
        eprintln!(
            "SKIPPED: whether the walls hold, for want of clippy (rustup component add clippy)"
        );
    }
    version.status.success()
}

/// What is said of a crate: the number of the line, the whole text with its notes.
fn said_of(package: &str, messages: &str) -> Vec<(u64, String)> {
    messages
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|m| {
            m["reason"] == "compiler-message" && m["target"]["name"] == package.replace('-', "_")
        })
        .flat_map(|m| {
            let rendered = m["message"]["rendered"].as_str().unwrap().to_owned();
            let spans = m["message"]["spans"].as_array().unwrap().clone();
            let line = |s: &Value| {
                // Where a macro was called, if it is in one.
                let mut at = s;
                while at["expansion"].is_object() {
                    at = &at["expansion"]["span"];
                }
                at["line_start"].as_u64().unwrap()
            };
            spans
                .iter()
                .map(|s| (line(s), rendered.clone()))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn whatever_a_pure_crate_must_not_do_fails_the_lint() {
    if !clippy_is_here() {
        return;
    }
    let house = tempfile::tempdir().unwrap();
    let house = house.path();
    let roots = fs::read_to_string(root().join("clippy.toml")).unwrap();
    write(&house.join("clippy.toml"), &roots);
    let mut manifest = "[workspace]\nresolver = \"3\"\nmembers = [\"src/*\"]\n\n\
         [workspace.lints.clippy]\nunwrap_used = \"warn\"\n\n[workspace.dependencies]\n"
        .to_owned();
    for (name, source) in OTHERS {
        lay_out(house, name, source, None);
        manifest += &format!("{name} = {{ path = \"src/{name}\" }}\n");
    }
    write(&house.join("Cargo.toml"), &manifest);
    let forbidden = source(lines().map(|(_, line)| line));
    let mut walls = BTreeMap::new();
    for (folder, package) in PURE {
        let clippy =
            fs::read_to_string(root().join("src").join(folder).join("clippy.toml")).unwrap();
        lay_out(house, package, &forbidden, Some(&clippy));
        lay_out(
            house,
            &format!("innocent-{folder}"),
            INNOCENT,
            Some(&clippy),
        );
        walls.insert(package, clippy.parse::<toml::Table>().unwrap());
    }
    // The same lines where there is no wall.
    let walled = |reason: &str| reason.ends_with(" in a pure crate");
    let outside = source(lines().filter(|(r, _)| walled(r)).map(|(_, line)| line));
    lay_out(house, "outside", &outside, None);

    // Whoever does nothing forbidden is let pass, in tests, too.
    let mut innocent = vec!["--all-targets", "-p", "outside"];
    let names = PURE.map(|(folder, _)| format!("innocent-{folder}"));
    names.iter().for_each(|n| innocent.extend(["-p", n]));
    let run = clippy(house, &innocent);
    assert!(run.status.success(), "{}", text(&run.stderr));

    let run = clippy(
        house,
        &["--workspace", "--keep-going", "--message-format=json"],
    );
    assert!(!run.status.success(), "nothing was refused");
    for (package, wall) in walls {
        let said = said_of(package, &text(&run.stdout));
        let mut missing = Vec::new();
        for (number, (reason, line)) in lines().enumerate() {
            let at = number as u64 + 2;
            if !said
                .iter()
                .any(|(l, what)| *l == at && what.contains(reason))
            {
                missing.push(line);
            }
        }
        assert!(
            missing.is_empty(),
            "{package} does not refuse {missing:#?}\n{}",
            text(&run.stderr)
        );
        // Each entry is at work: none is misspelt, and none is without a line here.
        let entries: BTreeSet<&str> = [
            "disallowed-types",
            "disallowed-methods",
            "disallowed-macros",
        ]
        .iter()
        .flat_map(|list| wall[*list].as_array().unwrap())
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
        let idle: Vec<_> = entries
            .iter()
            .filter(|e| {
                !said
                    .iter()
                    .any(|(_, what)| what.contains(&format!("`{e}`")))
            })
            .collect();
        assert!(idle.is_empty(), "{package}: no line here meets {idle:?}");
        assert!(entries.len() > 100, "{package}: {}", entries.len());
    }
}

/// Crates that do what a pure crate must not, with those of the gateway first.
const IMPURE: [&str; 43] = [
    "rusqlite",
    "libsqlite3-sys",
    "tiny_http",
    "ureq",
    "tungstenite",
    "rustix",
    "socket2",
    "crossbeam-channel",
    "signal-hook",
    "listenfd",
    "env_logger",
    "clap",
    "indicatif",
    "rustls",
    "rustls-platform-verifier",
    // From here on nobody has them today.
    "async-io",
    "async-std",
    "console",
    "curl",
    "dashmap",
    "dirs",
    "flume",
    "fs2",
    "hyper",
    "memmap2",
    "mio",
    "native-tls",
    "nix",
    "notify",
    "openssl",
    "parking_lot",
    "polling",
    "postgres",
    "rand",
    "rayon",
    "reqwest",
    "rustls-native-certs",
    "signal-hook-mio",
    "smol",
    "tempfile",
    "time",
    "tokio",
    "walkdir",
];

/// The names of all crates that a crate reaches, itself among them.
fn reached(package: &str) -> BTreeSet<String> {
    let tree = [
        "tree",
        "--offline",
        "--locked",
        "-e",
        "normal",
        "--prefix",
        "none",
        "-p",
        package,
    ];
    let run = cargo(root(), &tree);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let name = |line: &str| line.split(' ').next().unwrap().to_owned();
    text(&run.stdout).lines().map(name).collect()
}

#[test]
fn no_pure_crate_reaches_a_crate_that_could_do_it_for_it() {
    for (_, package) in PURE {
        let reached = reached(package);
        let impure: Vec<_> = IMPURE.iter().filter(|i| reached.contains(**i)).collect();
        assert!(impure.is_empty(), "{package} reaches {impure:?}");
    }
    // The names are spelt as the crates are: the gateway reaches them.
    let gateway = reached("genesys-gateway");
    let unknown: Vec<_> = IMPURE[..14]
        .iter()
        .filter(|i| !gateway.contains(**i))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_pure_crates_know_nobody_but_the_plain_values() {
    for (_, package) in PURE {
        let ours: BTreeSet<String> = reached(package)
            .into_iter()
            .filter(|name| name.starts_with("genesys-"))
            .collect();
        let known = BTreeSet::from(["genesys-base".to_owned(), package.to_owned()]);
        assert_eq!(ours, known, "{package}");
    }
}
