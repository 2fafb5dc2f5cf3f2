//! What happened, as a number that two runs of one seed must share, and on
//! demand as text.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::clock::Clock;

/// Lines kept for the story of a failing seed.
const LINES: u64 = 400;

#[derive(Default)]
struct Inner {
    hash: u64,
    lines: Option<VecDeque<String>>,
    most: usize,
    width: usize,
}

/// Shared by the parts of one world.
#[derive(Clone)]
pub(crate) struct Trace(Rc<RefCell<Inner>>);

impl Trace {
    pub(crate) fn new(telling: bool) -> Trace {
        Trace(Rc::new(RefCell::new(Inner {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: telling.then(VecDeque::new),
            width: crate::runner::number("WIDTH").unwrap_or(400) as usize,
            most: crate::runner::number("LINES").unwrap_or(LINES) as usize,
        })))
    }

    /// Notes an event; the text is only made if somebody wants to read it.
    pub(crate) fn add(
        &self,
        clock: &Clock,
        kind: &'static str,
        number: u64,
        text: impl FnOnce() -> String,
    ) {
        let mut inner = self.0.borrow_mut();
        let mut hash = inner.hash;
        for byte in kind.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        for word in [clock.time, number] {
            hash = (hash ^ word)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
        let inner = &mut *inner;
        inner.hash = hash;
        if let Some(lines) = &mut inner.lines {
            if lines.len() >= inner.most {
                lines.pop_front();
            }
            let mut text = text();
            if text.len() > inner.width {
                let cut = text
                    .char_indices()
                    .nth(inner.width)
                    .map_or(text.len(), |(at, _)| at);
                text.truncate(cut);
            }
            lines.push_back(format!("{} {kind} {number} {text}", clock.text()));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0.borrow().hash
    }

    pub(crate) fn story(&self) -> String {
        let inner = self.0.borrow();
        let lines = inner.lines.iter().flatten();
        lines.cloned().collect::<Vec<_>>().join("\n")
    }
}
