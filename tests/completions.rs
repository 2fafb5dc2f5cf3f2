//! The shell completions that the package brings are those of the command line
//! as it is: written from its definition, kept as files, compared here.
//!
//! `GENESYS_GATEWAY_WRITE=1 cargo test --test completions` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;
use genesys_gateway::cli::Arguments;

fn place(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("systemd/completions")
        .join(file)
}

fn check(shell: Shell, file: &str) {
    let mut made = Vec::new();
    clap_complete::generate(
        shell,
        &mut Arguments::command(),
        "genesys-gateway",
        &mut made,
    );
    let made = String::from_utf8(made).expect("completions are text");
    if std::env::var_os("GENESYS_GATEWAY_WRITE").is_some() {
        fs::write(place(file), &made).expect("the file can be written");
    }
    let kept = fs::read_to_string(place(file)).unwrap_or_default();
    assert!(
        made == kept,
        "systemd/completions/{file} is not what the command line is now; \
         write it anew with GENESYS_GATEWAY_WRITE=1 cargo test --test completions"
    );
}

#[test]
fn bash_completes_the_words_that_there_are() {
    check(Shell::Bash, "genesys-gateway.bash");
}

#[test]
fn zsh_completes_the_words_that_there_are() {
    check(Shell::Zsh, "_genesys-gateway");
}

#[test]
fn fish_completes_the_words_that_there_are() {
    check(Shell::Fish, "genesys-gateway.fish");
}
