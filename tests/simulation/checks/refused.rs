//! Nothing that was refused with 503 ever happens.

use base::foreign;
use base::rows::Change;

use crate::full::{Ask, Full, Waiting};

/// What tells one try of a request apart from all others, where its content can.
fn mark(ask: &Ask, tries: u32) -> Option<String> {
    match ask {
        Ask::Accept(id, n) => Some(format!("{id} c-{n} {tries}")),
        Ask::Result(n) => Some(format!("number {n} {tries}")),
        Ask::Keyless(n) => Some(format!("keyless {n} {tries}")),
        Ask::Event(_, n) => Some(format!("http {n} {tries}")),
        Ask::Stop(_) => None,
    }
}

fn mark_of(change: &Change) -> Option<String> {
    let read = |text: &str| foreign::value(text.as_bytes());
    match change {
        Change::Accept { row, members } => {
            let members = read(members)?;
            let customer = members["customer"].as_str()?;
            Some(format!(
                "{} {customer} {}",
                row.conversation, members["try"]
            ))
        }
        Change::Take { body, .. } => {
            let body = read(body)?;
            let kind = ["number", "keyless", "http"]
                .into_iter()
                .find(|kind| body[kind].is_u64())?;
            Some(format!("{kind} {} {}", body[kind], body["try"]))
        }
        _ => None,
    }
}

impl Full {
    /// A caller is told that nothing was changed.
    pub(super) fn refused(&mut self, waiting: &Waiting) {
        if let Ask::Stop(id) = &waiting.ask
            && let Some(open) = self.checks.stops_open.get_mut(id)
        {
            *open -= 1;
        }
        if let Some(mark) = mark(&waiting.ask, waiting.tries) {
            if self.checks.done.contains(&mark) {
                return self.fail(format!("{mark} is refused and was done"));
            }
            self.checks.refused.insert(mark);
        }
    }

    /// A change became durable.
    pub(super) fn check_not_refused(&mut self, change: &Change) {
        if let Change::Interaction(row) = change
            && row.reason.as_ref().is_some_and(|r| r.code == "stopped")
            && self.checks.stops_open.get(&row.conversation) == Some(&0)
        {
            return self.fail(format!(
                "the stop of {} was refused and is done",
                row.conversation
            ));
        }
        if let Some(mark) = mark_of(change) {
            if self.checks.refused.contains(&mark) {
                return self.fail(format!("{mark} was refused and is done"));
            }
            self.checks.done.insert(mark);
        }
    }
}
