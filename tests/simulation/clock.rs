//! The world's time, and how it looks to the platform and to the gateway's
//! process: its monotonic clock begins anew with each start, its wall clock may
//! be moved.

use std::time::Duration;

use base::time::{Mono, Now, Wall};

use crate::agenda::Time;

/// 2026-01-08T12:00:00Z.
const BEGIN: i64 = 1_767_873_600_000;

#[derive(Clone, Debug)]
pub(crate) struct Clock {
    pub(crate) time: Time,
    /// When the process started.
    boot: Time,
    /// How far the machine's wall clock is off.
    pub(crate) wall_off: i64,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock {
            time: 0,
            boot: 0,
            wall_off: 0,
        }
    }

    pub(crate) fn restart(&mut self) {
        self.boot = self.time;
    }

    /// As the gateway's process reads it.
    pub(crate) fn now(&self) -> Now {
        Now {
            mono: Mono(self.time - self.boot),
            wall: Wall(BEGIN + self.time as i64 + self.wall_off),
        }
    }

    /// As the platform reads it.
    pub(crate) fn platform(&self) -> Now {
        Now {
            mono: Mono(self.time),
            wall: Wall(BEGIN + self.time as i64),
        }
    }

    /// An instant of the process on the world's clock.
    pub(crate) fn world(&self, at: Mono) -> Time {
        at.0.saturating_add(self.boot)
    }

    pub(crate) fn text(&self) -> String {
        let t = Duration::from_millis(self.time);
        let s = t.as_secs();
        format!(
            "{}d {:02}:{:02}:{:02}.{:03}",
            s / 86_400,
            s / 3600 % 24,
            s / 60 % 60,
            s % 60,
            t.subsec_millis()
        )
    }
}
