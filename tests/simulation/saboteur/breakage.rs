//! What can be broken on purpose.

/// What is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Breakage {
    AnswersBeforeTheCommit,
    RefusesWhatIsUnderWay,
    CallsEverythingDurable,
    UnsubscribesAfterTheFirstEvent,
    MissesTheEndOfSockets,
    BelievesWithoutSubscribing,
    SwallowsEvents,
    ChangesTheKeyAtARetry,
    OpensOneChannelMore,
    SubscribesMoreTopics,
    AsksWithoutBudget,
    ForgetsChannelsAtRestart,
    PostsUnderTwoKeys,
    LosesACommit,
    BelievesEmptyAnswers,
    NeverGetsAnswersOfChecks,
    NeverHearsOfCommits,
    IgnoresCallers,
    FinishesTooEarly,
    CallsItDeliveredBefore,
    GivesUpAtTheFirstFailure,
    ShowsASecret,
    OpensASecondSocket,
    PostsBeforeTheCommit,
    LeavesTopicsBehind,
    NeverAsksForASignOfLife,
    NeverLingers,
    LeavesADeadlineInThePast,
    SendsWhatNobodyWaitsFor,
    SaysItIsOpen,
    HidesWhatIsUnknown,
    MakesChannelsForSockets,
    DialsWhereverItIsLed,
    BlamesTheRecordsForAStorm,
    CallsTimeOffPatience,
    LosesOddNotes,
    FilesWhatComesBothWays,
    AnswersEventsBeforeTheCommit,
    HandsOverByAge,
    NeverDials,
}

/// Refusals for good, more than are told apart: none becomes an outage.
pub(super) const REFUSALS: [u16; 12] = [400, 402, 404, 405, 406, 411, 412, 413, 414, 415, 416, 422];
