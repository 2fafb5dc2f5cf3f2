//! Who has to act on an error.
//!
//! Log level, pace of retries and the advice on the status page follow from it.

/// Whose fault an error is, and so who has to act.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// The other side broke the protocol or is in trouble: wait, then tell its owners.
    Peer,
    /// A setting, file or permission is wrong: a person has to change it.
    Operator,
    /// Network, machine or something between us and the peer: usually passes.
    Environment,
    /// A defect of the gateway.
    Us,
}

impl Blame {
    /// A short stable label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Blame::Peer => "peer",
            Blame::Operator => "operator",
            Blame::Environment => "environment",
            Blame::Us => "us",
        }
    }
}
