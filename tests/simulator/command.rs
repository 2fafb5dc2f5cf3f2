//! The word `simulate` of the real program.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{agent, until};

/// A process that does not outlive its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn simulate(arguments: &[&str]) -> Program {
    let child = Command::new(env!("CARGO_BIN_EXE_genesys-gateway"))
        .arg("simulate")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Program(child)
}

#[test]
fn the_first_line_says_where_it_is_and_a_signal_ends_it_well() {
    for signal in ["TERM", "INT"] {
        let sets = ["--set", "org-name=acme", "--set", "heartbeat-seconds=20"];
        let mut program = simulate(&sets);
        let mut line = String::new();
        BufReader::new(program.0.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        for member in [
            "apiUrl",
            "loginUrl",
            "controlUrl",
            "clientId",
            "clientSecret",
        ] {
            assert!(!told[member].as_str().unwrap().is_empty(), "{member}");
        }
        assert_eq!(told["orgName"], "acme");
        let control = told["controlUrl"].as_str().unwrap();
        let mut answer = agent().get(format!("{control}/switches")).call().unwrap();
        let switches: Value =
            serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        let heartbeat = switches
            .as_array()
            .unwrap()
            .iter()
            .find(|s| s["name"] == "heartbeat-seconds")
            .unwrap();
        assert_eq!(heartbeat["value"], "20");
        let id = program.0.id().to_string();
        assert!(
            Command::new("kill")
                .args([format!("-{signal}"), id])
                .status()
                .unwrap()
                .success()
        );
        until("the end of the program", || {
            program.0.try_wait().unwrap().is_some()
        });
        assert_eq!(program.0.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_wrong_set_or_a_taken_port_ends_it_with_its_code() {
    let mut program = simulate(&["--set", "no-such-switch=1"]);
    assert_eq!(program.0.wait().unwrap().code(), Some(64));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut program = simulate(&["--port", &port]);
    assert_eq!(program.0.wait().unwrap().code(), Some(69));
}
