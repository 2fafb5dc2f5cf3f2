//! The daemon and its operators' commands: parse, call, exit code.

fn main() {}
