//! Who has to act on an error.
//!
//! Log level, pace of retries and the advice on the status page follow from it.

use crate::words;

words! {
    /// Whose fault an error is, and so who has to act.
    Blame {
        /// The other side broke the protocol or is in trouble: wait, then tell its owners.
        Peer = "peer",
        /// A setting, file or permission is wrong: a person has to change it.
        Operator = "operator",
        /// Network, machine or something between us and the peer: usually passes.
        Environment = "environment",
        /// A defect of the gateway.
        Us = "us",
    }
}
