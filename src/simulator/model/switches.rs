//! The switches: what nobody outside of the platform knows, made selectable.
//!
//! Each switch has a name in kebab case, a default, and a closed set of values
//! or a range of numbers (protocol, section 14, and the contradictions of
//! section 13). [`TABLE`] is the list for people; [`Switches`] is what the model
//! reads.
//!
//! Invariant: a value that is not in the table cannot be set.

use std::fmt;

/// One switch, for the list that people read.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name in kebab case.
    pub name: &'static str,
    /// The value a new simulator has.
    pub default: &'static str,
    /// The values it takes.
    pub values: Values,
    /// What it decides, in one sentence.
    pub doc: &'static str,
}

/// The values a switch takes.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// One of these words.
    Words(&'static [&'static str]),
    /// A whole number in this range, both ends included.
    Number(u64, u64),
}

/// A switch was not set (blame: the operator).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SwitchError {
    /// No switch has that name.
    Unknown(String),
    /// The switch does not take that value.
    Value {
        /// The switch.
        name: &'static str,
        /// What was given.
        given: String,
        /// What it takes, as text.
        takes: String,
    },
}

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SwitchError::Unknown(name) => write!(f, "there is no switch named {name}"),
            SwitchError::Value { name, given, takes } => {
                write!(f, "the switch {name} takes {takes}, not {given}")
            }
        }
    }
}

impl std::error::Error for SwitchError {}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Values::Words(words) => f.write_str(&words.join(", ")),
            Values::Number(low, high) => write!(f, "a number from {low} to {high}"),
        }
    }
}

macro_rules! switches {
    (
        words { $( $field:ident $name:literal $doc:literal : $ty:ident = $default:literal
            { $first:ident $first_value:literal $first_doc:literal $( , $variant:ident $value:literal $vdoc:literal )* $(,)? } )+ }
        numbers { $( $nfield:ident $nname:literal $ndoc:literal = $ndefault:literal, $low:literal to $high:literal; )+ }
    ) => {
        $(
            #[doc = $doc]
            #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
            pub enum $ty {
                #[doc = $first_doc]
                #[default]
                $first,
                $( #[doc = $vdoc] $variant, )*
            }
        )+

        /// The position of every switch.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct Switches {
            $( #[doc = $doc] pub $field: $ty, )+
            $( #[doc = $ndoc] pub $nfield: u64, )+
        }

        impl Default for Switches {
            fn default() -> Self {
                Switches { $( $field: $ty::default(), )+ $( $nfield: $ndefault, )+ }
            }
        }

        /// Every switch there is.
        pub const TABLE: &[Row] = &[
            $( Row { name: $name, default: $default,
                values: Values::Words(&[$first_value $(, $value)*]), doc: $doc }, )+
            $( Row { name: $nname, default: stringify!($ndefault),
                values: Values::Number($low, $high), doc: $ndoc }, )+
        ];

        impl Switches {
            /// Puts one switch to a value given as text.
            ///
            /// # Errors
            /// No such switch, or a value that it does not take.
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), SwitchError> {
                match name {
                    $( $name => self.$field = match value {
                        $first_value => $ty::$first,
                        $( $value => $ty::$variant, )*
                        _ => return Err(refused(name, value)),
                    }, )+
                    $( $nname => self.$nfield = match value.parse::<u64>() {
                        Ok(n) if ($low..=$high).contains(&n) => n,
                        _ => return Err(refused(name, value)),
                    }, )+
                    _ => return Err(SwitchError::Unknown(name.to_owned())),
                }
                Ok(())
            }

            /// The present value of a switch, as text; `None` if there is no such switch.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<String> {
                match name {
                    $( $name => Some(match self.$field {
                        $ty::$first => $first_value,
                        $( $ty::$variant => $value, )*
                    }.to_owned()), )+
                    $( $nname => Some(self.$nfield.to_string()), )+
                    _ => None,
                }
            }
        }
    };
}

fn refused(name: &str, given: &str) -> SwitchError {
    match TABLE.iter().find(|row| row.name == name) {
        Some(row) => SwitchError::Value {
            name: row.name,
            given: given.to_owned(),
            takes: row.values.to_string(),
        },
        None => SwitchError::Unknown(name.to_owned()),
    }
}

switches! {
    words {
        failure_body "ws-failure-body" "How a refused WebSocket request is answered.": FailureBody = "failure" {
            Failure "failure" "Result \"400\" and status `failure`, with correlation id and topics.",
            ErrorStatus "error" "The status is `error` instead.",
            WithoutCorrelationId "without-correlation-id" "The correlation id is left out.",
            NumericResult "numeric-result" "The result is a number instead of a string.",
        }
        over_limit "ws-over-limit" "What a WebSocket subscribe beyond the topic limit does.": OverLimit = "refuse" {
            Refuse "refuse" "400, nothing is added.",
            Partial "partial" "As many as fit are added and confirmed, the rest is answered with 400.",
        }
        unsubscribe_unknown "unsubscribe-unknown" "How unsubscribing a topic that is not subscribed is answered.": UnsubscribeUnknown = "200" {
            Ok "200" "As if it had been subscribed.",
            Refuse "400" "With a failure; nothing is removed.",
        }
        partial_permission "ws-partial-permission" "What one refused topic does to a WebSocket subscribe of many.": PartialPermission = "whole" {
            Whole "whole" "The whole request fails.",
            PerTopic "per-topic" "The good topics are confirmed, the bad ones are answered with 400.",
        }
        token_death "token-death" "What becomes of a socket when the token of its channel dies.": TokenDeath = "stays" {
            Stays "stays" "The socket stays, requests get 404, an upgrade gets 401.",
            Close "close" "The socket is closed at once.",
            Silent "silent" "Nothing comes any more; the link stays.",
            NoticeThenClose "notice-then-close" "A `token_revoked` frame, then a close.",
            Deaf "deaf" "Heartbeats go on, events stop, requests get 404.",
        }
        eviction "eviction" "What becomes of the socket of a channel that the limit evicts.": Eviction = "closed" {
            Closed "closed" "It is closed; a later upgrade gets 404.",
            Silent "silent" "No frames and no close.",
            NoLongerSubscribed "no-longer-subscribed" "A `no_longer_subscribed` frame, then silence.",
        }
        eviction_choice "eviction-choice" "Which channel the limit evicts; unconnected ones always go first.": EvictionChoice = "oldest-used" {
            OldestUsed "oldest-used" "The one whose last use is longest ago.",
            OldestCreated "oldest-created" "The one that was created first.",
        }
        close_code "close-code" "The code with which the platform closes a socket.": CloseCode = "1001" {
            Away "1001" "Going away.",
            Normal "1000" "Normal.",
            Abnormal "1006" "No close frame: the connection is reset.",
            Internal "1011" "Internal error.",
            Restart "1012" "Service restart.",
        }
        second_socket "second-socket" "How the first socket goes when a second is opened on its channel.": SecondSocket = "close" {
            Close "close" "It is closed.",
            Reset "reset" "It is reset.",
        }
        closing_notice "closing-notice" "How a maintenance close goes.": ClosingNotice = "notice-then-close" {
            NoticeThenClose "notice-then-close" "Notice, then a close when the time is over.",
            CloseAtOnce "close-at-once" "Notice and close together.",
            NoticeTwice "notice-twice" "The notice is repeated at half time.",
            NoticeOnly "notice-only" "No close follows.",
        }
        subscribe_extends "ws-subscribe-extends" "Whether a WebSocket subscribe extends the life of the channel.": SubscribeExtends = "yes" {
            Yes "yes" "Yes, to its full length from now.",
            No "no" "No, only REST does.",
        }
        channel_expiry "channel-expiry" "What becomes of the socket of an expired channel.": ChannelExpiry = "socket-stays" {
            SocketStays "socket-stays" "Heartbeats go on, events stop, requests get 404.",
            Close "close" "It is closed.",
        }
        foreign_channels "channels-of-other-tokens" "Whether REST reaches a channel that another token of the same user and client made.": ForeignChannels = "reachable" {
            Reachable "reachable" "Yes, if its id is known.",
            NotFound "not-found" "No: 404.",
        }
        event_delivery "event-delivery" "What happens to event frames, besides delivery.": EventDelivery = "in-order" {
            InOrder "in-order" "Nothing.",
            Repeat "repeat" "They come twice.",
            Swap "swap" "One is held back until the next has passed, for two seconds at most.",
            Delay "delay" "They come late by `event-fault-delay-ms`.",
            Drop "drop" "They do not come.",
        }
        event_against_reply "event-against-reply" "The order of events and the replies to requests about their topic.": EventAgainstReply = "reply-first" {
            ReplyFirst "reply-first" "The reply comes first.",
            EventFirst "event-first" "The subscription is live half a second before its reply.",
            EventAfterUnsubscribe "event-after-unsubscribe" "The subscription stays live for a second after the unsubscribe reply.",
        }
        skipped_acw "skipped-acw" "Whether skipped after-call work gives an event.": SkippedAcw = "event" {
            Event "event" "Yes, with the code ININ-WRAP-UP-SKIPPED.",
            NoEvent "no-event" "No; REST shows flags and no wrap-up.",
        }
        optional_acw "optional-acw" "How REST shows after-call work that an agent may do and need not.": OptionalAcw = "prompt" {
            Prompt "prompt" "With `wrapupPrompt` optional, and `notApplicable` until it is done.",
            Unknown "unknown" "With `wrapupPrompt` optional, and `unknown` until it is done.",
            Bare "bare" "Not at all until it is done.",
            NotApplicable "not-applicable" "As `notApplicable` alone, as if none could be done.",
        }
        callback_wrapup "callback-wrapup" "Whether a callback leads to a call, and on which of both its wrap-up is tagged.": CallbackWrapup = "both" {
            Both "both" "On both; one event.",
            NoCall "no-call" "It leads to none.",
            One "one" "On the callback; REST shows the call without a wrap-up.",
            TwoEvents "two-events" "On both, each with an event of its own.",
        }
        rewrap "re-wrap" "Whether a changed wrap-up gives another event.": Rewrap = "second-event" {
            SecondEvent "second-event" "Yes, with a newer event time.",
            NoEvent "none" "No; the code changes in place.",
        }
        wrapup_level "wrapup-level" "Where `GET /conversations/{id}` shows the wrap-up.": WrapupLevel = "both" {
            Both "both" "On the participant and on the communication.",
            Participant "participant" "On the participant only, as in older organisations.",
            Communication "communication" "On the communication only.",
        }
        invalid_client_status "invalid-client-status" "The status of `invalid_client`.": InvalidClientStatus = "401" {
            S401 "401" "401.",
            S400 "400" "400.",
        }
        assertion_replay "assertion-replay" "Whether an assertion may be used twice.": AssertionReplay = "accepted" {
            Accepted "accepted" "Yes, while it is valid.",
            Refused "refused" "No.",
        }
        delete_status "delete-subscriptions-status" "The status of `DELETE …/subscriptions`.": DeleteStatus = "200" {
            S200 "200" "200.",
            S202 "202" "202.",
            S204 "204" "204.",
        }
        malformed_topic "malformed-topic" "How REST answers a malformed topic with `ignoreErrors=true`.": MalformedTopic = "400" {
            Refuse "400" "400 for the whole request.",
            Rejected "rejected" "With a `Rejected` entity.",
        }
        analytics_wrapup "analytics-wrapup" "Whether analytics show the wrap-up as soon as the conversation.": AnalyticsWrapup = "with-conversation" {
            WithConversation "with-conversation" "Yes.",
            MissingAtFirst "missing-at-first" "No, five minutes later.",
        }
        analytics_over "analytics-over-max-ids" "The status of too many ids in `details?id=`.": AnalyticsOver = "400" {
            S400 "400" "400.",
            S413 "413" "413.",
        }
        rate_headers "rate-limit-headers" "Which answers carry the `inin-ratelimit-` headers.": RateHeaders = "always" {
            Always "always" "All, refusals and server errors included.",
            GoodOnly "good-only" "Good ones only.",
            Never "never" "None.",
        }
        idle_reset "idle-reset" "Which API calls reset the idle timer of a token.": IdleReset = "all" {
            All "all" "All but those with `preserveIdleTTL`.",
            Some "some" "Only those about conversations: calls about the token do not.",
        }
        rate_retry_after "rate-limit-retry-after" "Whether 429 says when to come back.": RateRetryAfter = "with" {
            With "with" "Yes, in `Retry-After`.",
            Without "without" "No: the code is `too.many.requests`.",
        }
        metadata_key "metadata-key" "How the metadata member of an event is spelled.": MetadataKey = "CorrelationId" {
            Upper "CorrelationId" "As in real samples.",
            Lower "correlationId" "As in one library.",
            Absent "absent" "There is no metadata.",
        }
    }
    numbers {
        heartbeat_seconds "heartbeat-seconds" "Seconds between heartbeats; 0 stops them while the link stays." = 30, 0 to 60;
        reply_delay_ms "reply-delay-ms" "Milliseconds until a WebSocket request is answered; it takes effect at once." = 0, 0 to 60000;
        event_fault_percent "event-fault-percent" "How many event frames in a hundred `event-delivery` touches." = 100, 0 to 100;
        event_fault_delay_ms "event-fault-delay-ms" "How late delayed event frames come, in milliseconds." = 5000, 1 to 600000;
        event_time_skew_ms "event-time-skew-ms" "How far at most the end of a wrap-up in REST lies before the event time, in milliseconds." = 200, 0 to 2000;
        closing_seconds "closing-seconds" "Seconds from the closing notice to the close." = 60, 1 to 60;
        channel_life_seconds "channel-life-seconds" "Seconds that a channel lives without renewal." = 86400, 5 to 86400;
        channels_max "channels-max" "Channels per user and OAuth client." = 20, 1 to 20;
        topics_max "topics-max" "Topics per channel." = 1000, 1 to 1000;
        places_freed_seconds "places-freed-seconds" "Seconds for which a removed topic is still counted on its channel." = 0, 0 to 3600;
        token_lifetime_seconds "token-lifetime-seconds" "Seconds that a token lives; the platform allows 300 and more." = 86400, 5 to 172800;
        idle_timeout_seconds "idle-token-timeout-seconds" "Seconds without an API call after which a token is revoked; 0 is never, the platform allows 300 and more." = 0, 0 to 28800;
        rest_per_minute "rest-per-minute" "REST requests per token and minute." = 300, 1 to 100000;
        analytics_latency_seconds "analytics-latency-seconds" "Seconds until analytics show what happened." = 60, 0 to 600;
        analytics_max_ids "analytics-max-ids" "Ids that `details?id=` takes." = 50, 1 to 1000;
    }
}

impl CloseCode {
    /// The code, or `None` for a reset without a close frame.
    #[must_use]
    pub fn number(self) -> Option<u16> {
        match self {
            CloseCode::Away => Some(1001),
            CloseCode::Normal => Some(1000),
            CloseCode::Abnormal => None,
            CloseCode::Internal => Some(1011),
            CloseCode::Restart => Some(1012),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_in_the_table_is_the_default_of_a_new_simulator() {
        let s = Switches::default();
        for row in TABLE {
            assert_eq!(
                s.get(row.name).as_deref(),
                Some(row.default),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn every_value_in_the_table_can_be_set_and_read_back() {
        let mut s = Switches::default();
        for row in TABLE {
            let values: Vec<String> = match row.values {
                Values::Words(words) => words.iter().map(|w| (*w).to_owned()).collect(),
                Values::Number(low, high) => vec![low.to_string(), high.to_string()],
            };
            for value in values {
                s.set(row.name, &value).unwrap();
                assert_eq!(s.get(row.name), Some(value));
            }
        }
    }

    #[test]
    fn values_and_names_outside_of_the_table_are_refused_with_what_is_taken() {
        let mut s = Switches::default();
        assert_eq!(
            s.set("heartbeat", "1"),
            Err(SwitchError::Unknown("heartbeat".into()))
        );
        let error = s.set("heartbeat-seconds", "61").unwrap_err();
        assert!(error.to_string().contains("from 0 to 60"), "{error}");
        let error = s.set("re-wrap", "maybe").unwrap_err();
        assert!(error.to_string().contains("second-event, none"), "{error}");
        assert_eq!(s, Switches::default());
    }
}
