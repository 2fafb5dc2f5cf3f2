//! How a shard's client stands with the platform: refused, and for how long.
//!
//! The loop sees every answer go by; whoever decides about shards reads it here. One refusal is
//! an accident, and a secret that was just replaced is refused too until the next SIGHUP; what is
//! refused again and again for a while, with nothing else in between, is meant.
//!
//! Invariant: an answer that grants what was refused ends the refusal at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::CallId;
use proto::rest::{Answer, Failure, OpKind, Outcome};

/// Refusals in a row, and for so long: it is not an accident.
const REFUSALS: u32 = 2;

/// How long refusals last before they are meant. Well below the time in which a conversation that nobody watches is missed.
pub const FOR_GOOD_AFTER: Duration = Duration::from_secs(30);

/// Calls whose answers are waited for; the core has four under way at most.
const ASKED_MAX: usize = 16;

#[derive(Default)]
struct Inner {
    asked: Vec<(CallId, OpKind)>,
    /// Since when, how often, and in what words: for a token, and for a channel.
    token: Option<Refusal>,
    channel: Option<Refusal>,
}

struct Refusal {
    since: Instant,
    times: u32,
    why: String,
}

/// See the [module](self).
#[derive(Default)]
pub struct Standing {
    inner: Mutex<Inner>,
}

impl Standing {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call goes out.
    pub fn asked(&self, call: CallId, kind: OpKind) {
        if matches!(kind, OpKind::Login | OpKind::Creation) {
            let mut inner = self.lock();
            if inner.asked.len() >= ASKED_MAX {
                inner.asked.remove(0);
            }
            inner.asked.push((call, kind));
        }
    }

    /// And is answered.
    pub fn answered(&self, call: CallId, outcome: &Outcome) {
        let mut inner = self.lock();
        let Some(at) = inner.asked.iter().position(|(c, _)| *c == call) else {
            return;
        };
        let (_, kind) = inner.asked.swap_remove(at);
        match (kind, &outcome.result) {
            (OpKind::Login, Ok(Answer::Token { .. })) => inner.token = None,
            (
                OpKind::Login,
                Err(Failure::Login {
                    sentence,
                    soon: false,
                    ..
                }),
            ) => refused(&mut inner.token, sentence),
            (OpKind::Creation, Ok(_)) => inner.channel = None,
            (OpKind::Creation, Err(Failure::Forbidden(why))) => {
                refused(
                    &mut inner.channel,
                    &format!("no channel may be made: {why}"),
                );
            }
            // Whatever else went wrong says nothing about being refused.
            _ => {}
        }
    }

    /// Why no token is given any more, once that is meant.
    #[must_use]
    pub fn no_token(&self) -> Option<String> {
        for_good(self.lock().token.as_ref())
    }

    /// Why no channel may be made any more, once that is meant.
    #[must_use]
    pub fn no_channel(&self) -> Option<String> {
        for_good(self.lock().channel.as_ref())
    }
}

fn refused(refusal: &mut Option<Refusal>, why: &str) {
    let refusal = refusal.get_or_insert_with(|| Refusal {
        since: Instant::now(),
        times: 0,
        why: String::new(),
    });
    refusal.times += 1;
    refusal.why = why.to_owned();
}

fn for_good(refusal: Option<&Refusal>) -> Option<String> {
    let meant = |r: &&Refusal| r.times >= REFUSALS && r.since.elapsed() >= FOR_GOOD_AFTER;
    refusal.filter(meant).map(|r| r.why.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(result: Result<Answer, Failure>) -> Outcome {
        Outcome {
            result,
            limits: None,
            retry_after: None,
        }
    }

    fn refusal(soon: bool) -> Outcome {
        outcome(Err(Failure::Login {
            label: "wrong-secret",
            sentence: "no".into(),
            soon,
            retry_after: None,
        }))
    }

    fn login(standing: &Standing, n: u64, answer: &Outcome) {
        standing.asked(CallId(n), OpKind::Login);
        standing.answered(CallId(n), answer);
    }

    /// As if it had begun so long ago.
    fn long_since(standing: &Standing) {
        if let Some(refusal) = &mut standing.lock().token {
            refusal.since = refusal.since.checked_sub(FOR_GOOD_AFTER).unwrap();
        }
    }

    #[test]
    fn what_is_refused_again_after_a_while_is_meant_and_a_token_ends_it() {
        let standing = Standing::default();
        login(&standing, 1, &refusal(false));
        long_since(&standing);
        assert_eq!(standing.no_token(), None, "once is an accident");
        login(&standing, 2, &refusal(false));
        assert_eq!(standing.no_token().as_deref(), Some("no"));
        assert_eq!(standing.no_channel(), None);
        let token = Answer::Token {
            access_token: base::secret::Secret::new("t"),
            expires_in: Duration::from_secs(60),
        };
        login(&standing, 3, &outcome(Ok(token)));
        assert_eq!(standing.no_token(), None);
    }

    #[test]
    fn what_may_pass_and_what_was_not_asked_counts_for_nothing() {
        let standing = Standing::default();
        for n in 0..5 {
            login(&standing, n, &refusal(true));
            login(&standing, n, &outcome(Err(Failure::Garbled)));
            standing.answered(CallId(99), &refusal(false));
        }
        long_since(&standing);
        assert_eq!(standing.no_token(), None);
    }
}
