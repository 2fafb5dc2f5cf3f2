//! Lives of conversations as a plan has them, and the platform they happen on.

use base::ids::ConversationId;
use base::rng::Rng;
use simulator::model::{Life, Limits, Media, Platform, Settings as PlatformSettings};

use crate::agenda::{HOUR, MINUTE, SECOND, Time};
use crate::plan::Plan;

pub(crate) fn new_platform(plan: &Plan, telling: bool) -> Platform {
    let settings = PlatformSettings {
        switches: plan.switches.clone(),
        limits: Limits {
            journal: if telling { 4096 } else { 0 },
            ..Limits::default()
        },
        ..PlatformSettings::default()
    };
    Platform::new(settings, plan.seed)
}

/// A life as the plan has them.
pub(crate) fn draw_life(plan: &Plan, rng: &mut Rng) -> Life {
    let media = [
        Media::Voice,
        Media::Message,
        Media::Email,
        Media::Callback,
        Media::Chat,
    ][rng.below(5) as usize];
    Life {
        id: Some(ConversationId(rng.uuid())),
        media,
        inbound: rng.chance(70),
        agents: [1, 1, 1, 1, 2, 2, 3][rng.below(7) as usize],
        acw: rng.chance(95),
        start_after_ms: 0,
        talk_ms: 10 * SECOND + rng.below(plan.talk),
        acw_ms: SECOND + rng.below(plan.acw),
        skip: rng.chance(8),
        late_ms: None,
        rewrap_after_ms: rng.chance(8).then(|| 8 * SECOND + rng.below(5 * MINUTE)),
        reopen_after_ms: rng.chance(8).then(|| MINUTE + rng.below(HOUR)),
    }
}

/// Some agents wrap up late, without being obliged to.
pub(crate) fn make_late(life: &mut Life, plan: &Plan, rng: &mut Rng) {
    if plan.late_acw && rng.chance(40) {
        life.acw = false;
        life.skip = false;
        life.rewrap_after_ms = None;
        // Most of them while they are waited for.
        let most = if rng.chance(80) {
            4 * MINUTE
        } else {
            10 * MINUTE
        };
        life.late_ms = Some(SECOND + rng.below(most));
    }
}

pub(crate) fn life_length(life: &Life) -> Time {
    let talks = life.talk_ms * u64::from(life.agents);
    let again = life.reopen_after_ms.map_or(0, |r| r + life.talk_ms);
    talks + again + life.acw_ms.max(life.late_ms.unwrap_or(0)) + life.rewrap_after_ms.unwrap_or(0)
}
