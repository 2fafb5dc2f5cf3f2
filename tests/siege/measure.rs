//! What a process has of the machine, as the kernel says.

use std::fs;
use std::path::Path;

/// At one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) rss_mib: u64,
    pub(crate) threads: u64,
    pub(crate) descriptors: usize,
    pub(crate) temporary: usize,
}

impl Measured {
    pub(crate) fn of(pid: u32, temporary: &Path) -> Measured {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name)).unwrap();
            let digits: String = line.chars().filter(char::is_ascii_digit).collect();
            digits.parse::<u64>().unwrap()
        };
        let entries = |path: &Path| fs::read_dir(path).map_or(0, Iterator::count);
        Measured {
            rss_mib: number("VmRSS:") / 1024,
            threads: number("Threads:"),
            descriptors: entries(Path::new(&format!("/proc/{pid}/fd"))),
            temporary: entries(temporary),
        }
    }
}
