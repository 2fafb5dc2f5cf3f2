//! The token that a client holds, for calls that its caller makes beside it.
//!
//! Invariants: nobody waits longer than it said; once the client is over everybody is told.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Reason};
use base::secret::Secret;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Bearer {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Secret>,
    /// Why there is no token, or no newer one.
    refused: Option<String>,
    over: bool,
}

impl Bearer {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A state is whole whatever happened to another holder.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// A new one was given.
    pub(crate) fn given(&self, token: Secret) {
        self.change(|state| {
            state.token = Some(token);
            state.refused = None;
        });
    }

    /// None was given, for this reason; the one before may be good all the same.
    pub(crate) fn refused(&self, why: &str) {
        self.change(|state| state.refused = Some(why.to_owned()));
    }

    /// There will be no other.
    pub(crate) fn over(&self) {
        self.change(|state| {
            state.over = true;
            state.token = None;
        });
    }

    /// A token that is not `bad`; waits for it until then.
    pub(crate) fn wait(&self, bad: Option<&Secret>, until: Instant) -> Result<Secret, Error> {
        let mut state = self.lock();
        loop {
            if state.over {
                return Err(Error::new(Reason::Closed, "the client is closed"));
            }
            if let Some(token) = state.token.as_ref().filter(|t| Some(*t) != bad) {
                return Ok(token.clone());
            }
            if let Some(why) = &state.refused {
                return Err(Error::new(Reason::Login, why.clone()));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(match bad {
                    Some(_) => Error::new(
                        Reason::Unauthorized,
                        "the platform does not take the token, and no other was given in time",
                    ),
                    None => Error::new(Reason::Login, "no token was given in time"),
                });
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Sleeps; false if the client is over meanwhile.
    pub(crate) fn sleep(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.over || left.is_zero() {
                return !state.over;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn whoever_waits_for_a_token_is_told_when_it_comes_or_cannot() {
        let bearer = Arc::new(Bearer::default());
        let soon = || Instant::now() + Duration::from_millis(20);
        let late = Instant::now() + Duration::from_secs(20);
        let reason = |bad: Option<&Secret>, until| bearer.wait(bad, until).unwrap_err().reason();
        assert_eq!(reason(None, soon()), Reason::Login);
        let other = Arc::clone(&bearer);
        let waits = std::thread::spawn(move || other.wait(None, late).unwrap());
        let first = Secret::new("the first token");
        bearer.given(first.clone());
        assert_eq!(waits.join().unwrap(), first);
        assert_eq!(reason(Some(&first), soon()), Reason::Unauthorized);
        bearer.refused("the secret is wrong");
        assert_eq!(bearer.wait(None, late).unwrap(), first, "it may be good");
        assert_eq!(reason(Some(&first), late), Reason::Login);
        bearer.given(Secret::new("the second token"));
        assert!(bearer.wait(Some(&first), late).is_ok());
        let other = Arc::clone(&bearer);
        let sleeps = std::thread::spawn(move || other.sleep(Duration::from_secs(20)));
        bearer.over();
        assert!(!sleeps.join().unwrap());
        assert_eq!(reason(None, late), Reason::Closed);
    }
}
