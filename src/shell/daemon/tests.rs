use super::*;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

#[test]
fn a_start_that_fails_after_the_loop_has_begun_leaves_nothing_running() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("gateway.toml");
    let secret = place.path().join("secret");
    std::fs::write(&secret, "s3cret").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = "[http]\nlisten = \"127.0.0.1:0\"\n[status]\nlisten = \"127.0.0.1:0\"\n\
        [genesys]\napi-url = \"http://127.0.0.1:1\"\nlogin-url = \"http://127.0.0.1:1\"\n\
        [genesys.oauth]\ngrant = \"client-credentials\"\nclient-id = \"11111111-2222-4333-8444-555555555555\"\n\
        client-secret-file = \"./secret\"\n[history]\nurl = \"http://127.0.0.1:1/\"\n\
        [store]\npath = \"DATABASE\"\n";
    // A path that is not absolute would lead to where the tests run.
    let database = place.path().join("gateway.db");
    let text = text.replace("DATABASE", database.to_str().unwrap());
    std::fs::write(&at, text).unwrap();
    let (config, _) = Config::load(&at).unwrap();
    for _ in 0..2 {
        // A socket that is connected cannot listen, which shows when the gate starts.
        let house = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(house.local_addr().unwrap()).unwrap();
        let cannot_listen = TcpListener::from(OwnedFd::from(connected));
        let inherited = Inherited {
            http: None,
            status: Some(Listener::from(cannot_listen)),
        };
        let started = Daemon::start(&config, inherited);
        assert!(matches!(started, Err(StartError::Environment(_))));
        let ours = |name: &str| name.starts_with("loop") || name.starts_with("store");
        let left: Vec<String> = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("comm")).ok())
            .filter(|name| ours(name))
            .collect();
        // Other tests have stores of their own; nobody else has a loop.
        assert!(
            !left.iter().any(|name| name.starts_with("loop")),
            "{left:?}"
        );
    }
    // And the lock is free.
    let now = Clock::new().now().wall;
    Store::open(&config.store.path, OpenOptions { now }).unwrap();
}
