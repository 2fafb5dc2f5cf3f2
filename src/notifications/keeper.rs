//! What a client would know again after a restart: its channels, so that it re-attaches to
//! them instead of making new ones beside them.
//!
//! Invariant: nothing of a [`KeptChannel`] is shown but by [`KeptChannel::to_line`].

use std::fmt;

use base::rows::ChannelRow;
use base::secret::Secret;
use base::time::Wall;

/// A channel as it is kept. It holds what gives access to its notifications: keep it as safe as
/// a password.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptChannel(pub(crate) ChannelRow);

/// Keeps a client's channels. Called from the client's own thread: what takes long keeps it from
/// reading.
pub trait Keeper: Send {
    /// Those that were kept last; asked once, at the start.
    fn load(&mut self) -> Vec<KeptChannel>;

    /// From now on these, and only these. Whether that lasts is the keeper's affair: what is
    /// forgotten costs places on the platform for a day. One that panics is told
    /// ([`Reason::Machine`](crate::Reason::Machine)), and asked again with the next change.
    fn keep(&mut self, channels: &[KeptChannel]);
}

/// Forgets everything with the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgetful;

impl Keeper for Forgetful {
    fn load(&mut self) -> Vec<KeptChannel> {
        Vec::new()
    }

    fn keep(&mut self, _: &[KeptChannel]) {}
}

impl KeptChannel {
    /// As one line of text, for a file of the caller's.
    #[must_use]
    pub fn to_line(&self) -> String {
        let row = &self.0;
        format!(
            "{} {} {} {} {} {}",
            row.slot,
            row.created_at.0,
            row.expires_at.0,
            row.token_ends_at.0,
            row.id.expose(),
            row.connect_uri.expose()
        )
    }

    /// Reads [`KeptChannel::to_line`]; `None` for anything else.
    #[must_use]
    pub fn from_line(line: &str) -> Option<KeptChannel> {
        let mut words = line.split_whitespace();
        let mut word = || words.next();
        let row = ChannelRow {
            slot: word()?.parse().ok().filter(|slot| *slot > 0)?,
            created_at: Wall(word()?.parse().ok()?),
            expires_at: Wall(word()?.parse().ok()?),
            token_ends_at: Wall(word()?.parse().ok()?),
            id: Secret::new(word()?),
            connect_uri: Secret::new(word()?),
        };
        words.next().is_none().then_some(KeptChannel(row))
    }
}

impl fmt::Debug for KeptChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptChannel({})", self.0.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_read_back_from_its_line_and_nothing_else_is() {
        let line = "3 1767886512000 1767972912000 1767972000000 streaming-0-a wss://x/channels/a";
        let kept = KeptChannel::from_line(line).unwrap();
        assert_eq!(kept.to_line(), line);
        assert!(!format!("{kept:?}").contains("streaming"));
        for odd in [
            "",
            "3",
            &line[1..],
            &format!("{line} more"),
            &format!("0{}", &line[1..]),
        ] {
            assert_eq!(KeptChannel::from_line(odd), None, "{odd}");
        }
    }
}
