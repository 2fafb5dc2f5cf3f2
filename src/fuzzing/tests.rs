use std::fs;
use std::path::PathBuf;

use super::*;

/// What a mutation may put in, besides noise: what these readers trip over.
const WORDS: [&str; 40] = [
    "\r\n",
    "\n",
    "\0",
    "\"",
    "\\",
    "\\ud83d",
    "\\u0000",
    "\u{feff}",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "1e999",
    "-0",
    "18446744073709551616",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "0\r\n\r\n",
    "Host: x\r\n",
    "retry-after: 99999999999\n",
    "inin-ratelimit-reset: -1\n",
    "{{ ",
    " }}",
    "{% for x in y %}",
    "| tojson",
    "[http]\n",
    "listen = ",
    "\"\"\"",
    "'",
    "2026-13-45T99:99:99Z",
    "eventBody",
    "conversationId",
    "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47",
    "v2.system.socket_closing",
    "result",
    "\u{202e}",
];

const BYTES_MAX: usize = 16 * 1024;

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect()
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let to = at + rng.below((bytes.len() - at) as u64 + 1) as usize;
        match rng.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..to)),
            4 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
            5 if !other.is_empty() => {
                let from = rng.below(other.len() as u64) as usize;
                let n = rng.below((other.len() - from) as u64 + 1) as usize;
                bytes.splice(at..at, other[from..from + n].iter().copied());
            }
            6 => {
                let depth = 1 + rng.below(200) as usize;
                bytes.splice(at..at, std::iter::repeat_n(b'[', depth));
            }
            _ => {
                let word = WORDS[rng.below(WORDS.len() as u64) as usize];
                bytes.splice(at..at, word.bytes());
            }
        }
        bytes.truncate(BYTES_MAX);
    }
}

fn runs() -> u64 {
    let asked = std::env::var("FUZZ_RUNS").ok();
    asked.map_or(400, |n| n.parse().expect("FUZZ_RUNS is a number"))
}

/// Runs a target over its corpus, then over mutations of it; a failure shows its input.
fn fuzz(target: &Target) {
    let corpus = corpus(target.name);
    assert!(corpus.len() >= 3, "{}: a corpus to begin with", target.name);
    for (name, bytes) in &corpus {
        eprintln!("{}: {name}", target.name);
        (target.run)(bytes);
    }
    let mut rng = Rng::new(target.name.bytes().map(u64::from).sum());
    let mut pool: Vec<Vec<u8>> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    for n in 0..runs() {
        let mut pick = || rng.below(pool.len() as u64) as usize;
        let (one, other) = (pick(), pick());
        let mut bytes = pool[one].clone();
        mutate(&mut bytes, &pool[other], &mut rng);
        let shown = bytes.clone();
        let outcome = std::panic::catch_unwind(|| (target.run)(&bytes));
        if outcome.is_err() {
            panic!(
                "{} fails in run {n} on {:?}",
                target.name,
                String::from_utf8_lossy(&shown)
            );
        }
        // Some go on from where others ended.
        if rng.chance(2) && pool.len() < 200 {
            pool.push(bytes);
        }
    }
}

macro_rules! fuzzed {
    ($($test:ident: $name:literal;)+) => {
        $(
            #[test]
            fn $test() {
                let target = TARGETS.iter().find(|t| t.name == $name);
                fuzz(target.expect("a target of that name"));
            }
        )+

        #[test]
        fn every_target_is_run_here_and_stands_in_the_fuzz_folder() {
            let run = [$($name),+];
            let all: Vec<_> = TARGETS.iter().map(|t| t.name).collect();
            assert_eq!(run.as_slice(), all);
            let manifest = include_str!("../../fuzz/Cargo.toml");
            for name in all {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            }
        }
    };
}

fuzzed! {
    any_start_of_a_connection_is_read_one_way_or_refused: "head";
    any_body_ends_at_one_place_however_it_is_framed_and_cut: "body";
    any_body_of_a_caller_is_strict_json_or_refused: "intake_body";
    any_event_over_http_is_one_that_can_be_filed_or_refused: "event";
    any_answer_to_an_upgrade_is_read_one_way: "upgrade";
    any_frames_leave_each_order_with_one_answer_at_most: "frames";
    any_answer_of_the_platform_is_an_outcome: "rest_answer";
    any_answer_of_the_login_is_a_token_or_an_error_with_a_hint: "oauth_answer";
    any_configuration_is_taken_or_refused_in_words: "configuration";
    any_file_that_a_key_names_can_be_put_to_use_or_is_refused_in_words: "files";
    any_template_gives_json_or_an_error: "template";
    any_row_is_read_or_left_alone_and_the_core_starts: "rows";
}
