//! What is promised, and what would notice if it were not so.
//!
//! Ten promises hold whatever fails in between: sockets, the platform, the history manager, the
//! disk, the process. Each is watched in three ways:
//!
//! * a **check of the simulation** (`tests/simulation`): the whole core for a virtual day, against
//!   a platform, a network, a disk and a history manager that fail as a seed decides. The check
//!   looks from outside: at what is ordered, at what is on the disk, at what the platform knows;
//! * a **deliberate breakage** (`tests/simulation/saboteur.rs`), which alters what the core hears or
//!   orders: it shows that the check can fail, and fails for that reason. The same plan without
//!   the breakage has to pass;
//! * **tests of real parts**: the real binary or the real threads, over real sockets and files.
//!
//! A test of this module looks every name up in the sources.
//!
//! | No | Promise | Watched in the simulation by | Broken on purpose by | Shown with real sockets and files by |
//! |---|---|---|---|---|
//! | 1 | No 2xx to a caller before the request is committed to disk. | `answered` | `AnswersBeforeTheCommit` | `killed_at_any_moment_nothing_that_was_accepted_is_missing` |
//! | | | `last_look` | `LosesACommit` | `a_gateway_that_is_killed_again_and_again_loses_and_doubles_nothing` |
//! | | | `check_not_refused` | `RefusesWhatIsUnderWay` | `who_is_refused_during_a_sync_of_eleven_seconds_has_changed_nothing_whatever_he_asked` |
//! | | | `event_answered` | `AnswersEventsBeforeTheCommit` | `an_event_both_ways_is_one_record_in_either_order_and_over_a_kill` |
//! | 2 | No unsubscribe, no "delivered" and no post before the record is committed. | `check_order` | `UnsubscribesAfterTheFirstEvent` | `nothing_is_given_up_before_the_record_is_on_disk_even_if_it_cannot_be_filed` |
//! | | | `check_store` | `CallsItDeliveredBefore` | `a_wrap_up_is_filed_once_with_the_default_body_and_the_topic_given_up_after_that` |
//! | | | `check_post` | `PostsBeforeTheCommit` | `stopped_while_busy_it_ends_in_time_and_goes_on_where_it_was` |
//! | | | `check_farewell` | `CallsEverythingDurable` | `stopped_with_records_in_memory_alone_it_says_how_many_and_the_next_start_rebuilds_them` |
//! | 3 | Never more than 1,000 topics on a channel, never more channels held than configured (20 at most), hand-over included; two sockets on one channel only to hand over. | `check_core` | `SubscribesMoreTopics` | `topics_beyond_a_channel_go_on_the_next_and_beyond_all_they_wait` |
//! | | | `check_open` | `OpensOneChannelMore`, `OpensASecondSocket` | `all_channels_are_used_and_one_more_interaction_waits_for_a_place` |
//! | | | `look` | `ForgetsChannelsAtRestart`, `LeavesTopicsBehind` | `a_restart_without_a_stop_leaks_no_channel` |
//! | | | `check_made` | `MakesChannelsForSockets` | `a_channel_that_is_led_astray_uses_up_no_others_while_it_lasts` |
//! | 4 | A watched conversation is live on a channel, being subscribed, or due for a check over REST; a gap of any cause is followed by a check of every conversation it touched. | `look` | `MissesTheEndOfSockets` | `a_wrap_up_while_the_socket_is_down_is_rebuilt` |
//! | | | `all_twenty_sockets_dropped_with_twenty_thousand_conversations_become_whole_within_the_budget` | `BelievesWithoutSubscribing` | `a_silent_socket_is_found_out_by_its_heartbeat`, `an_evicted_channel_is_replaced_however_its_socket_goes` |
//! | | | `for_two_days_of_short_tokens_every_conversation_is_live_or_due` | `NeverAsksForASignOfLife` | `a_quiet_channel_that_expired_behind_a_beating_socket_is_found_out_by_itself`, `a_revoked_token_costs_nothing_however_the_platform_lets_it_die` |
//! | 5 | One wrap-up of one agent's leg is filed once, under one key: over retries, restarts, frames that come twice, and both a notification and a check that report it. | `check_filed` | `ChangesTheKeyAtARetry` | `frames_that_come_twice_are_filed_once`, `a_late_announcement_of_what_was_rebuilt_is_not_filed_again` |
//! | | | `every_post_may_fail_once_or_for_long` | `PostsUnderTwoKeys` | `an_event_both_ways_is_one_record_in_either_order_and_over_a_kill`, `a_wrap_up_tagged_on_a_callback_and_its_call_is_filed_once` |
//! | | | `check_filed` | `FilesWhatComesBothWays` | `events_that_nobody_reported_are_counted_or_filed_with_an_empty_interaction` |
//! | 6 | Several agents may wrap up one conversation: each wrap-up is filed, and the topic is given up when the conversation is finished, not after the first event. | `check_finished` | `FinishesTooEarly`, `NeverLingers` | `every_agent_of_a_transfer_is_filed_and_the_topic_kept_until_the_last` |
//! | | | `owed` | `SwallowsEvents`, `BelievesEmptyAnswers`, `NeverGetsAnswersOfChecks` | `a_consult_and_a_changed_wrap_up_are_records_of_their_own`, `a_wrap_up_that_nobody_is_obliged_to_is_filed_although_it_comes_late` |
//! | | | `check_filed` | `LosesOddNotes` | `the_platforms_odd_text_is_taken_as_far_as_it_can_be_told` |
//! | 7 | The history manager may be away for days: nothing is lost or given up for that, new interactions are accepted, and the backlog drains by `workers` posts at a time. | `check_store`, `obey` | `GivesUpAtTheFirstFailure` | `a_history_manager_that_is_down_loses_nothing_and_is_not_stampeded` |
//! | | | `days_without_power_and_clocks_that_are_set_give_no_record_up` | `CallsTimeOffPatience` | `after_give_up_after_a_record_is_dead` |
//! | | | `check_storms` | `BlamesTheRecordsForAStorm` | `an_ingress_that_answers_404_to_everything_kills_no_record` |
//! | 8 | Every queue, table, frame, body and log rate has a bound; reaching it is visible and answered, never silence. | `check_core`, `check_store` | `NeverHearsOfCommits` | `a_crowd_that_waits_for_the_disk_leaves_room_for_quick_refusals_and_for_reading` |
//! | | | `look` | `IgnoresCallers` | `silence_from_any_number_of_connections_keeps_nobody_out`, `unfinished_bodies_share_a_bounded_memory_and_a_whole_one_finds_room` |
//! | | | `count` | `AsksWithoutBudget` | `the_platform_may_be_slow_garbled_or_limited_and_it_all_ends_well` |
//! | | | `channels_whose_places_are_freed_late_are_used_again_and_nothing_spins` | `LeavesADeadlineInThePast` | `what_the_outside_can_bring_about_is_said_a_few_times_and_names_what_it_concerns` |
//! | 9 | Secrets are in no log line, error, page or metric; personal data in none above debug level, and erased from the store when it has served. | `check_notice` | `ShowsASecret` | `no_secret_is_in_any_line_page_or_metric_and_nothing_personal_above_debug` |
//! | | | `check_open` | `DialsWhereverItIsLed` | `with_an_api_over_tls_a_channel_leads_over_wss_to_the_platforms_hosts_and_nowhere_else`, `a_stored_connect_uri_is_judged_like_one_of_an_answer` |
//! | | | | | `whatever_the_level_no_library_prints_below_warnings_and_nothing_prints_a_secret`, `bodies_and_members_are_erased_when_they_have_served` |
//! | 10 | A damaged database stops nothing that can go on: what is readable is carried over, the damaged file is kept beside it, and the verdict says so until it is acknowledged. | not simulated | not simulated | `a_damaged_database_is_carried_over_and_said_until_the_old_file_is_taken_away` |
//! | | | | | `damage_found_while_running_ends_with_70_and_the_next_start_makes_up_for_it`, `no_damage_keeps_the_store_from_opening` |
//!
//! The last one is about the pages of a file, and the simulation's disk has rows and no pages.
//! There the breakage is real: the tests overwrite, cut and swap pages of real files.
//!
//! What is not promised, for reasons outside of the gateway, stands in the README.

#[cfg(test)]
mod tests;
