//! Why something is done about a channel: it is doubted, has to be replaced, or is gone; and
//! what the gap is put down to if that costs one.
//!
//! It may not touch a channel.

use base::gap::GapCause;

/// Why events may have stopped on a channel without a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Suspicion {
    /// The token that made it is over, by the clock or by REST's word.
    TokenEnded,
    /// The token that made it is revoked, by the platform's word on a socket.
    TokenRevoked,
    /// A second socket on its URI was refused as if there were no such channel.
    UpgradeRefused,
}

impl Suspicion {
    pub(super) fn cause(self) -> GapCause {
        match self {
            Suspicion::TokenEnded => GapCause::TokenEnded,
            Suspicion::TokenRevoked => GapCause::TokenRevoked,
            Suspicion::UpgradeRefused => GapCause::UpgradeRefused,
        }
    }
}

/// Why a channel has to be replaced by a new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// It may watch no more.
    Suspect(Suspicion),
    /// The platform said that it will close its socket.
    Closing,
    /// Its life ends, and could not be renewed.
    LifeEnding,
    /// The token that made it ends.
    TokenEnding,
}

impl Why {
    pub(super) fn cause(self) -> GapCause {
        match self {
            Why::Suspect(suspicion) => suspicion.cause(),
            Why::Closing => GapCause::Closing,
            Why::LifeEnding => GapCause::LifeEnding,
            Why::TokenEnding => GapCause::TokenEnding,
        }
    }
}

/// How a channel is known to be gone, or given up for that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Death {
    /// Its socket was told that it is not known.
    ChannelGone,
    /// Its socket was told that it is no longer subscribed.
    NoLongerSubscribed,
    /// REST does not know it.
    NotFound,
    /// No socket is let onto it.
    UpgradeRefused,
    /// Too many sockets ended on it.
    WornOut,
}

impl Death {
    pub(super) fn cause(self) -> GapCause {
        match self {
            Death::ChannelGone => GapCause::ChannelGone,
            Death::NoLongerSubscribed => GapCause::NoLongerSubscribed,
            Death::NotFound => GapCause::NotFound,
            Death::UpgradeRefused => GapCause::UpgradeRefused,
            Death::WornOut => GapCause::WornOut,
        }
    }

    /// It is the platform's word: sockets wear out on channels that are there.
    pub(super) fn told(self) -> bool {
        self != Death::WornOut
    }

    /// It may hold topics on the platform all the same: only REST knows what there is.
    pub(super) fn to_be_emptied(self) -> bool {
        self != Death::NotFound
    }
}
