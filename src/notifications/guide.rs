//! From other clients to this one, side by side.
//!
//! Each row names the test that shows it: those of one channel are in
//! `tests/notifications/one_channel.rs` and, for what takes hours or chance, in
//! `src/notifications-proto/single/tests`, those of [`Client`](crate::Client) in
//! `tests/notifications/client.rs`.
//!
//! # From `genesys-notifications` 1.3 (Python)
//!
//! That library manages one channel that somebody made, and says that it leaves out the token,
//! several channels, the limits of 20 channels and 1,000 topics, and that there is one connection
//! for each channel. [`Channel`](crate::Channel) is its counterpart;
//! [`Client`](crate::Client) does what it leaves out.
//!
//! | There | Here | Shown by |
//! |---|---|---|
//! | `Channel(uri, topics)`, then `await` it | `Channel::connect(uri, topics)?` | `what_is_announced_on_a_topic_comes_exactly_as_it_was_sent` |
//! | `async for` over it | `for item in &channel`, `recv_timeout`, `receiver()` for `select!` | `what_is_announced_on_a_topic_comes_exactly_as_it_was_sent` |
//! | reconnects, `reconnect=False` to leave that | reconnects and tells a [`Gap`](crate::Item::Gap); `give_up_after` says for how long | `a_lost_socket_is_a_gap_and_comes_back_with_its_topics` |
//! | `autoextend`, `lifetime=82800` | extends an hour before the end; `extend_before`, `manual` | `a_channel_lives_on_by_subscribing_again_an_hour_before_its_end` |
//! | `extend()` | `extend()` | `a_channel_lives_on_by_subscribing_again_an_hour_before_its_end` |
//! | `rollover(uri)` | `rollover(uri)`, under flow, without loss or repetition | `a_roll_over_under_flow_misses_nothing_and_tells_nothing_twice` |
//! | `ChannelExpiring` is raised | [`Item::Expiring`](crate::Item::Expiring), [`Item::Closing`](crate::Item::Closing) with `manual`; else it is seen to | `by_hand_the_end_and_the_closing_are_told_and_nothing_is_done` |
//! | `connected`, `expired` | `is_connected()`, `expires()` | `what_is_announced_on_a_topic_comes_exactly_as_it_was_sent` |
//! | `close()` | `close()`, or dropping it | `a_dropped_handle_ends_its_threads_within_a_second` |
//! | topics of the constructor | `subscribe`, `unsubscribe` at any time | `topics_are_subscribed_once_it_is_open_and_told_live_once_confirmed` |
//! | a topic that is refused is a `SubscriptionFailure` | [`Item::Refused`](crate::Item::Refused); the others are subscribed | `a_topic_that_the_platform_refuses_is_told_and_spoils_no_other` |
//! | why a topic is refused is not told | `missing` of [`Item::Refused`](crate::Item::Refused) names the permissions, `detail` has the platform's words | `the_permission_that_a_refused_topic_lacks_is_told_by_its_name` |
//! | events while it reconnects are lost without a word | told as a gap of these topics | `whatever_happens_an_event_of_a_live_topic_is_told_once_or_covered_by_a_gap` |
//! | a reader that does not read | memory bounded in number and bytes, [`Item::Overflow`](crate::Item::Overflow) | `a_reader_that_sleeps_loses_notifications_and_hears_which` |
//! | the token is not refreshed | [`Client`](crate::Client) | `a_revoked_token_is_replaced_under_flow` |
//! | one channel, 1,000 topics | [`Client`](crate::Client): 20 channels, 20,000 topics | `a_thousand_and_one_topics_are_one_stream_from_several_channels` |
//! | one connection for each channel is not seen to | [`Reason::Replaced`](crate::Reason::Replaced) | `two_who_take_a_channel_from_each_other_are_told_so` |
//!
//! Its exceptions and reasons, as values of [`Reason`](crate::Reason):
//!
//! | There | Here | Shown by |
//! |---|---|---|
//! | `ConnectionClosed`, `ReceiveFailure` | a gap, and another try; `Closed` once it is over | `a_lost_socket_is_a_gap_and_comes_back_with_its_topics` |
//! | `InvalidHandshake`, `ConnectionFailure` | `Handshake` | `each_failure_has_its_reason` |
//! | `InvalidStatusCode` | `Status(n)` | `each_failure_has_its_reason` |
//! | `HTTPUnauthorized`, `AuthorizationFailure` | `Unauthorized` | `each_failure_has_its_reason` |
//! | `HTTPForbidden` | `Forbidden` | `each_failure_has_its_reason` |
//! | `InvalidURI` | `BadUri` | `each_failure_has_its_reason` |
//! | `InvalidMessage` | a frame that is no JSON is passed over and logged; a peer that is no notification channel is `BadMessage` | `a_frame_over_the_limit_is_misbehaviour` |
//! | `ChannelExpired` | `Expired` | `an_end_of_the_channel_is_a_gap_and_says_which` |
//! | `ChannelClosing` | `Closing`, with `manual` | `by_hand_the_closing_is_told_and_then_the_end` |
//! | `Ambiguous` | `Ambiguous`: subscribes are not answered | `what_is_not_answered_is_asked_again_and_told_if_it_lasts` |
//! | `InitializationFailure` | what `connect` returns | `what_never_connects_is_over_at_once_and_what_is_not_had_again_after_the_patience` |
//! | `SubscriptionFailure` | [`Item::Refused`](crate::Item::Refused); `RefusedTopic` before the platform is asked | `each_failure_has_its_reason` |
//! | `LifetimeExtensionFailure` | `ExtensionFailed`; it goes on | `an_extension_that_is_refused_is_told_and_the_channel_goes_on` |
//! | `ReconnectFailure` | `ReconnectFailed` | `what_never_connects_is_over_at_once_and_what_is_not_had_again_after_the_patience` |
//! | `RolloverFailure` | `RolloverFailed`; the channel before goes on | `a_roll_over_that_fails_leaves_the_channel_as_it_was` |
//!
//! # From the `NotificationHandler` of the official Java and .NET SDKs
//!
//! It makes one channel over REST, changes subscriptions over REST, and calls back. After a
//! closing notice it closes the socket and connects again; what happens in between is lost, and
//! so is what happens after an abrupt end.
//!
//! | There | Here | Shown by |
//! |---|---|---|
//! | builder or constructor, with or without a channel, with a proxy | [`Client::builder`](crate::Client::builder); [`Channel::connect`](crate::Channel::connect) for a channel that there is | `a_thousand_and_one_topics_are_one_stream_from_several_channels` |
//! | `addSubscription`, `addSubscriptions` | `subscribe` | `what_is_lost_is_a_gap_and_is_had_again` |
//! | `addHandlerNoSubscribe`, `addHandlersNoSubscribe` | everything that comes on the socket is an item, subscribed by whomever | `what_is_announced_on_a_topic_comes_exactly_as_it_was_sent` |
//! | `ignoreErrors=true` of the API: a topic that is refused leaves the others alone | so unless said otherwise, on both levels, with or without REST | `a_topic_that_is_refused_says_which_permission_is_missing_and_spoils_no_other` |
//! | `ignoreErrors=false`, the API's default: all topics of a call or none | `ignore_errors(false)` of the builders | `where_errors_are_not_ignored_a_refused_topic_takes_its_call_along` |
//! | a subscribe answered 429 is thrown at the caller | told as [`Reason::Status`](crate::Reason::Status), and made again when the platform wants it | `a_subscribe_that_the_platform_puts_off_is_told_and_asked_again_when_it_wants` |
//! | `removeSubscription`, `removeAllSubscriptions` | `unsubscribe` | `topics_that_are_given_up_say_nothing_any_more` |
//! | a type for each topic | the body as text, byte for byte: any JSON library reads it | `what_is_announced_on_a_topic_comes_exactly_as_it_was_sent` |
//! | `sendPing` | `ping()` | `a_ping_is_answered_by_a_heartbeat` |
//! | `setWebSocketListener`: connected, disconnected, error | `is_connected()`, [`Item::Live`](crate::Item::Live), [`Item::Gap`](crate::Item::Gap) | `what_is_lost_is_a_gap_and_is_had_again` |
//! | `channel.metadata`, `v2.system.socket_closing` | [`Item::Heartbeat`](crate::Item::Heartbeat), [`Item::Closing`](crate::Item::Closing) | `after_a_closing_notice_what_is_not_told_is_covered_by_a_gap` |
//! | `getNotificationsAvailabletopics` of the API beside it | [`Client::available_topics`](crate::Client::available_topics) | `the_topics_that_the_platform_offers_come_with_the_permissions_that_they_require` |
//! | `disconnect`, `Dispose` | `close()`, or dropping it | `a_dropped_client_ends_its_threads_within_a_second` |
//!
//! # What a client costs
//!
//! Measured by `a_client_with_twenty_thousand_topics_whose_reader_sleeps_is_small_and_quiet`, in a
//! process that does nothing else (Linux on x86-64, two processors, a debug build; the test prints
//! the figures with `--nocapture`):
//!
//! | | |
//! |---|---|
//! | 20,000 topics live on 20 channels | 19 MiB more than before `connect` |
//! | the same, its reader asleep, 200 MB of notifications of 500 KiB and 5,000 small ones come | 52 MiB more than before `connect`, of which 16 MiB are the [limit](crate::ClientBuilder::capacity_bytes) |
//! | threads | 23: a driver, two for REST, one for each socket; never one for a reader |
//! | the driver while its reader sleeps | wakes for what comes from the platform, and for nothing else: 1 to 7 times in five seconds, for the signs of life of 20 sockets |
//! | from `drop` until the last thread has ended | 41 to 183 ms |
//!
//! What waits for a reader is bounded in number ([`capacity`](crate::ClientBuilder::capacity)) and
//! in bytes ([`capacity_bytes`](crate::ClientBuilder::capacity_bytes)); what is remembered of that
//! which found no room is bounded by 32 MiB. Between the sockets and the driver 64 frames of up to
//! a MiB may wait, after which sockets are not read.

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    fn sources(below: &Path, all: &mut String) {
        for entry in fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, all);
            } else if path.extension().is_some_and(|e| e == "rs") {
                all.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn every_test_that_the_tables_name_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut all = String::new();
        for below in ["../../tests/notifications", "../../tests/channel_thread"] {
            sources(&root.join(below), &mut all);
        }
        sources(&root.join("../notifications-proto/single"), &mut all);
        let mut rows = 0;
        for line in include_str!("guide.rs").lines() {
            if line == "//! # What a client costs" {
                break;
            }
            let Some(row) = line
                .strip_prefix("//! | ")
                .filter(|r| !r.starts_with("There"))
            else {
                continue;
            };
            let shown = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
            let name = shown.trim_matches('`');
            assert!(all.contains(&format!("fn {name}()")), "{name}");
            rows += 1;
        }
        assert!(rows >= 40, "{rows}");
    }
}
