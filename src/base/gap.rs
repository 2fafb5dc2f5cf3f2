//! Why topics are out of sight for a while: said by the platform client, counted by whoever
//! watches.

use crate::words;

words! {
    /// The cause of a gap: whatever was announced on the topics in it may be lost.
    GapCause {
        /// The connection broke.
        Broken = "broken",
        /// The platform no longer knows the channel.
        ChannelGone = "channel-gone",
        /// The platform closed the socket.
        Closed = "closed",
        /// After a closing notice the channel could not be replaced in time.
        Closing = "closing",
        /// A successor did not take over in time.
        HandoverOverdue = "handover-overdue",
        /// The channel's life could not be renewed.
        LifeEnding = "life-ending",
        /// Frames beyond the limits, or not WebSocket.
        Misbehaved = "misbehaved",
        /// The platform said that the channel is no longer subscribed.
        NoLongerSubscribed = "no-longer-subscribed",
        /// A ping stayed without its pong.
        NoPong = "no-pong",
        /// No connection to the streaming host.
        NotConnected = "not-connected",
        /// REST does not know the channel.
        NotFound = "not-found",
        /// A successor could not be made.
        NotMade = "not-made",
        /// We had the socket closed.
        Ordered = "ordered",
        /// No sign of life in time.
        Silent = "silent",
        /// The token that made the channel is over.
        TokenEnded = "token-ended",
        /// The token that made the channel ends soon.
        TokenEnding = "token-ending",
        /// The platform said that it revoked the token.
        TokenRevoked = "token-revoked",
        /// The upgrade to WebSocket was refused.
        UpgradeRefused = "upgrade-refused",
        /// Sockets of the channel ended too often.
        WornOut = "worn-out",
        /// A channel that was given up did not confirm that it let go, and may have been gone
        /// before.
        NotConfirmed = "not-confirmed",
        /// A successor could not take over some of the topics.
        NotHandedOver = "not-handed-over",
        /// A second socket took over, and the first may have been gone before.
        Reopened = "reopened",
    }
}
