//! Each breakage with a plan in which it has its occasion, and the check that has to catch it.

use super::breakage::Breakage;
use super::sabotage;
use crate::agenda::HOUR;
use crate::full::Full;
use crate::plan::{Kind, Plan};

/// A plan in which the breakage has its occasion.
fn occasion(what: Breakage, seed: u64) -> Plan {
    let mut plan = Plan::draw(seed, &[]);
    plan.trouble = 4 * HOUR;
    plan.conversations = 150;
    plan.pause = 10 * 60 * 1000;
    plan.talk = 10 * 60 * 1000;
    plan.max_channels = 4;
    plan.topics_per_channel = 50;
    plan.first_event = false;
    plan.workers = 4;
    plan.max_age = 6 * HOUR;
    plan.kinds = match what {
        Breakage::ChangesTheKeyAtARetry => vec![Kind::HistorySlow],
        Breakage::GivesUpAtTheFirstFailure | Breakage::SaysItIsOpen => vec![Kind::HistoryDown],
        Breakage::CallsEverythingDurable => vec![Kind::StopInTrouble],
        Breakage::ForgetsChannelsAtRestart => {
            tokens_last(&mut plan);
            vec![Kind::Kill]
        }
        Breakage::LeavesTopicsBehind => {
            tokens_last(&mut plan);
            // A channel whose socket fails is given up seldom; what it holds has to last.
            plan.max_channels = 1;
            plan.conversations = 40;
            plan.talk = 3 * HOUR;
            vec![Kind::ResetAll, Kind::UpgradeTrouble]
        }
        Breakage::NeverAsksForASignOfLife => {
            let stays = plan.switches.set("channel-expiry", "socket-stays");
            stays.expect("the switch takes this value");
            // Where much is subscribed, the answers to that tell as well.
            plan.conversations = 15;
            plan.talk = 3 * HOUR;
            vec![Kind::ExpireChannel]
        }
        Breakage::MakesChannelsForSockets => vec![Kind::UpgradeRefused],
        Breakage::DialsWhereverItIsLed => vec![Kind::LedAstray],
        Breakage::BlamesTheRecordsForAStorm => {
            // More records than nine for each storm.
            plan.conversations = 600;
            plan.pause = HOUR;
            vec![Kind::HistoryStorm]
        }
        Breakage::CallsTimeOffPatience => {
            vec![Kind::Kill, Kind::HistoryRefuses, Kind::HistoryRefuses]
        }
        Breakage::LosesOddNotes => vec![Kind::OddText],
        Breakage::FilesWhatComesBothWays | Breakage::AnswersEventsBeforeTheCommit => {
            vec![Kind::EventsOverHttp]
        }
        Breakage::NeverDials => {
            plan.talk = 3 * HOUR;
            vec![Kind::ResetOne]
        }
        Breakage::HandsOverByAge => {
            (plan.max_channels, plan.topics_per_channel) = (3, 15);
            plan.pause = 5 * 60 * 1000;
            plan.talk = 3 * HOUR;
            vec![Kind::FullHouse, Kind::RevokeTokens, Kind::Limited]
        }
        Breakage::HidesWhatIsUnknown => {
            (plan.max_channels, plan.topics_per_channel) = (2, 20);
            plan.talk = HOUR;
            vec![Kind::Invented]
        }
        Breakage::NeverLingers => {
            plan.late_acw = true;
            vec![Kind::ResetOne]
        }
        _ => vec![Kind::ResetOne],
    };
    plan
}

/// What hangs on a token stays: nobody has to empty a channel that died with its token.
fn tokens_last(plan: &mut Plan) {
    for (name, value) in [
        ("token-lifetime-seconds", "86400"),
        ("idle-token-timeout-seconds", "0"),
        ("channels-of-other-tokens", "reachable"),
    ] {
        let set = plan.switches.set(name, value);
        set.expect("the switch takes this value");
    }
}

fn caught(what: Breakage, by: &str) {
    let mut told = Vec::new();
    for seed in 1..=3 {
        let plan = occasion(what, seed);
        let mut healthy = Full::new(plan.clone(), false);
        healthy
            .run()
            .unwrap_or_else(|text| panic!("{what:?} seed {seed}, not broken: {text}"));
        let mut world = Full::new(plan, false);
        world.sabotage = Some(sabotage(what));
        match world.run() {
            Ok(()) => told.push(format!(
                "nothing; {} requests, {} in a minute",
                world.net.requests_total, world.net.most_in_a_minute
            )),
            Err(text) if text.contains(by) => return,
            Err(text) => told.push(text),
        }
    }
    panic!("{what:?} was not caught by {by:?}, but by {told:#?}");
}

macro_rules! breakages {
    ($($name:ident: $what:ident by $by:literal;)+) => {
        $(#[test] fn $name() { caught(Breakage::$what, $by); })+
    };
}

breakages! {
    late_wrap_ups_that_are_not_waited_for_are_caught: NeverLingers by "may be wrapped up late";
    an_answer_before_the_commit_is_caught: AnswersBeforeTheCommit by "before its commit";
    a_refusal_of_what_is_under_way_is_caught: RefusesWhatIsUnderWay by "was refused and is done";
    a_false_farewell_is_caught: CallsEverythingDurable by "the farewell is wrong";
    an_unsubscribe_after_the_first_event_is_caught: UnsubscribesAfterTheFirstEvent by "is unsubscribed on";
    a_gap_that_is_missed_is_caught: MissesTheEndOfSockets by "believed live";
    a_topic_believed_live_without_a_subscription_is_caught: BelievesWithoutSubscribing by "believed live";
    a_swallowed_event_is_caught: SwallowsEvents by "was never filed";
    another_key_at_a_retry_is_caught: ChangesTheKeyAtARetry by "filed twice";
    a_channel_too_many_is_caught: OpensOneChannelMore by "a socket for slot";
    a_topic_too_many_is_caught: SubscribesMoreTopics by "topics on a channel";
    a_request_beyond_the_budget_is_caught: AsksWithoutBudget by "REST requests within a minute";
    channels_leaked_at_a_restart_are_caught: ForgetsChannelsAtRestart by "channels are held";
    a_post_under_two_keys_is_caught: PostsUnderTwoKeys by "filed twice";
    a_lost_commit_is_caught: LosesACommit by "its commit";
    a_check_that_sees_nothing_is_caught: BelievesEmptyAnswers by "called finished";
    checks_that_never_see_anything_are_caught: NeverGetsAnswersOfChecks by "REST could tell";
    commits_that_nobody_hears_of_are_caught: NeverHearsOfCommits by "never answered well";
    a_caller_left_without_an_answer_is_caught: IgnoresCallers by "has waited";
    an_interaction_that_ends_too_early_is_caught: FinishesTooEarly by "called finished";
    a_record_called_delivered_before_it_was_filed_is_caught: CallsItDeliveredBefore by "the history manager has it not";
    a_record_given_up_at_the_first_failure_is_caught: GivesUpAtTheFirstFailure by "is dead without a cause";
    a_secret_in_a_notice_is_caught: ShowsASecret by "shows a secret";
    a_second_socket_without_a_notice_is_caught: OpensASecondSocket by "two sockets on one channel";
    a_post_before_the_commit_is_caught: PostsBeforeTheCommit by "before its commit";
    topics_left_on_channels_given_up_are_caught: LeavesTopicsBehind by "channels are held";
    a_channel_never_asked_for_a_sign_of_life_is_caught: NeverAsksForASignOfLife by "believed live";
    a_deadline_in_the_past_is_caught: LeavesADeadlineInThePast by "the core spins";
    a_call_that_nobody_waits_for_is_caught: SendsWhatNobodyWaitsFor by "nobody waits for";
    channels_made_for_sockets_that_are_refused_are_caught: MakesChannelsForSockets by "in which no socket could be had";
    a_socket_to_a_foreign_host_is_caught: DialsWhereverItIsLed by "a socket to a foreign host";
    records_that_die_of_a_storm_are_caught: BlamesTheRecordsForAStorm by "records died of";
    time_off_taken_for_patience_is_caught: CallsTimeOffPatience by "is dead without a cause";
    odd_notes_that_are_lost_are_caught: LosesOddNotes by "come back as";
    a_wrap_up_filed_for_each_way_it_came_is_caught: FilesWhatComesBothWays by "filed twice";
    an_event_answered_before_its_commit_is_caught: AnswersEventsBeforeTheCommit by "before its commit";
    places_kept_by_what_does_not_exist_are_caught: HidesWhatIsUnknown by "has waited for a place";
    a_channel_handed_over_before_one_that_watches_no_more_is_caught: HandsOverByAge by "goes before";
    a_gateway_that_watches_nothing_in_peace_is_caught: NeverDials by "no channel serves";
    a_history_manager_said_to_be_open_while_it_is_not_is_caught: SaysItIsOpen by "is said to be";
}
