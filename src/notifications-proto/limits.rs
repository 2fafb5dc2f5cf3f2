//! The numbers of the platform client, in one place, with where they come from.
//!
//! Invariant: the relations between them are checked when the crate is compiled.

use std::time::Duration;

/// After a channel whose `connectUri` was refused, the first pause before the next is made;
/// each counts on the platform for a day, and nobody knows how soon the answers are better.
pub const ASTRAY_PAUSE: Duration = Duration::from_secs(15);

/// And the longest such pause.
pub const ASTRAY_PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// Topics in one subscribe or unsubscribe message. Neither a frame size nor a
/// message rate is published (protocol, section 4.7); 100 topics make 8 KiB.
pub const TOPICS_PER_MESSAGE_MAX: usize = 100;

/// Subscribe and unsubscribe messages unanswered on one socket.
pub const MESSAGES_IN_FLIGHT_MAX: usize = 4;

/// Topics on one channel at most (protocol, section 7).
pub const TOPICS_PER_CHANNEL_MAX: usize = 1000;

/// Channels per user and OAuth client at most (protocol, section 7).
pub const CHANNELS_MAX: u8 = 20;

/// The life of a channel where the platform names none (protocol, section 7).
pub const CHANNEL_LIFE: Duration = Duration::from_secs(24 * 3600);

/// The next channel is opened when fewer places than this are free.
pub const OPEN_AHEAD_PLACES: usize = 100;

/// An empty channel is closed after this long, unless it is the last.
pub const EMPTY_CHANNEL_KEPT: Duration = Duration::from_secs(600);

/// A channel that the platform says is full although we count fewer topics is tried again
/// after this, doubling to [`FULL_PAUSE_MAX`]: places are perhaps freed late.
pub const FULL_PAUSE: Duration = Duration::from_secs(10);

/// The longest pause between two tries at a full channel: one message and one request.
pub const FULL_PAUSE_MAX: Duration = Duration::from_secs(60);

/// A channel that was made for nobody is used within this time or not at all.
pub const SPARE_KEPT: Duration = Duration::from_secs(3600);

/// A retiring channel is given this long to confirm its unsubscribes and close.
pub const RETIRE_PATIENCE: Duration = Duration::from_secs(5);

/// Between the end of one hand-over and the start of the next, at most (jittered from 0).
pub const HANDOVER_PAUSE_MAX: Duration = Duration::from_millis(500);

/// A predecessor stays for this long once its successor has everything: frames may be late.
pub const HANDOVER_LINGER: Duration = Duration::from_secs(2);

/// A successor that has not taken over by then is given up and tried again later.
pub const HANDOVER_PATIENCE: Duration = Duration::from_secs(45);

/// A reconnect is tried after this, doubling to [`RECONNECT_PAUSE_MAX`]; the first one at once.
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause between reconnects of one channel.
pub const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(30);

/// While no socket can be had, the next one is tried after this, doubling.
pub const WAY_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause while upgrades are refused, unless `Retry-After` asks for more.
pub const WAY_REFUSED_PAUSE_MAX: Duration = Duration::from_secs(300);

/// The longest pause while no connection comes about: networks come back without a word.
pub const WAY_UNREACHED_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A successor whose socket could not be had is made again after so many of these pauses,
/// because each costs a place.
pub const WAY_PAUSES_PER_SUCCESSOR: u32 = 4;

/// A channel that could not be reopened this often in a row is replaced by a new one.
pub const RECONNECTS_MAX: u32 = 6;

/// Channels kept from an earlier run must say by then which topics they hold.
pub const REATTACH_PATIENCE: Duration = Duration::from_secs(15);

/// A channel that dies younger than this was probably evicted by a competitor.
pub const YOUNG_CHANNEL: Duration = Duration::from_secs(120);

/// Requests a minute and token, until the headers say otherwise (protocol, section 7).
pub const REST_PER_MINUTE: u32 = 300;

/// The window of the budget, with a margin for what the network delays.
pub const REST_WINDOW: Duration = Duration::from_secs(63);

/// REST calls unanswered at most; the workers' queue holds as many.
pub const CALLS_IN_FLIGHT_MAX: usize = 4;

/// `Retry-After` of the platform is obeyed up to here; longer ones are asked again then.
pub const RATE_HOLD_MAX: Duration = Duration::from_secs(3600);

/// Questions about conversations that may wait or be under way; beyond it they are given back.
pub const FETCHES_MAX: usize = 64;

/// Calls that may wait for their turn: four for each channel, one for each that was given
/// up, the questions, and a few about tokens.
pub const CALLS_WAITING_MAX: usize = CHANNELS_MAX as usize * 16 + ABANDONED_MAX + FETCHES_MAX + 8;

/// Conversations and channels that the platform wants to be left in peace for themselves, at most.
pub const HELD_SUBJECTS_MAX: usize = 64;

/// The token is kept warm at least this often while the idle timeout is unknown:
/// the shortest that can be set is 5 minutes (protocol, section 2.6).
pub const KEEP_WARM: Duration = Duration::from_secs(120);

/// Between two looks at the idle timer, at least.
pub const LOOK_PAUSE: Duration = Duration::from_secs(20);

/// A token is renewed this long before its end, or a tenth of its life if that is less (design, section 6).
pub const TOKEN_LEAD_MAX: Duration = Duration::from_secs(300);

/// A new channel is kept for a restart before anything is subscribed on it; where the
/// store does not manage it within this time, watching is worth more.
pub const NOTING_PATIENCE: Duration = Duration::from_secs(2);

/// Channels given up whose topics are still to be taken off, at most.
pub const ABANDONED_MAX: usize = 64;

/// Between two tries at it for one channel, at most; they go on while the channel may live.
pub const EMPTYING_PAUSE_MAX: Duration = Duration::from_secs(120);

/// From when a channel that was given up is empty until it is looked whether it still is.
/// Platforms have been modelled that obey what was sent before the socket went 15 s later.
pub const EMPTIED_FOR_GOOD: Duration = Duration::from_secs(60);

/// A channel given up takes the place of its successor for this long after the platform
/// was heard again, if it cannot be emptied sooner.
pub const EMPTYING_PRECEDES: Duration = Duration::from_secs(20);

/// A channel on which nothing has been confirmed for this long is asked to confirm one of
/// its topics: one that expired may beat on, and only a request tells (protocol, section 8).
pub const PROBE_AFTER: Duration = Duration::from_secs(120);

/// What a channel of an earlier run holds is asked again after this, first and later.
pub const RESYNC_SOON: Duration = Duration::from_millis(500);
/// The same when that is not likely to pass soon.
pub const RESYNC_PAUSE: Duration = Duration::from_secs(30);

const _: () = assert!(TOPICS_PER_MESSAGE_MAX <= TOPICS_PER_CHANNEL_MAX);
const _: () = assert!(OPEN_AHEAD_PLACES < TOPICS_PER_CHANNEL_MAX);
const _: () = assert!(REST_WINDOW.as_secs() > 60);
const _: () = assert!(KEEP_WARM.as_secs() * 2 < 300);
const _: () = assert!(LOOK_PAUSE.as_secs() < KEEP_WARM.as_secs() / 2);
const _: () = assert!(HANDOVER_PATIENCE.as_secs() < 60);
