//! Whether two shards are in truth one OAuth client and user.
//!
//! The platform counts channels by both: two such shards would close each other's, again and
//! again. What the configuration tells is looked at when it is read; a command that prints an
//! assertion, or two addresses of one user, only the platform can see through. So each client is
//! asked for once after the start: `GET /api/v2/tokens/me` names the client, `GET
//! /api/v2/users/me` the user. Twins end the gateway: it must not go on like that.
//!
//! Invariants: where there is one shard nobody is asked; nobody waits for the answers.

use std::collections::BTreeMap;
use std::io;
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::Value;

use super::outside::Outside;
use base::secret::Secret;
use base::wire::Request;
use notifications::rest;
use proto::rest::{Answer, Op};

/// Those of whom nothing could be learned are asked for again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// Of the answers to these questions.
const ANSWER_BYTES: usize = 256 * 1024;

/// What the platform says of one client.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Whom {
    /// Its id.
    pub client: String,
    /// The user whom its token acts for, if there is one.
    pub user: Option<String>,
}

/// Two names of one client and user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Twins(pub String, pub String);

impl std::fmt::Display for Twins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the shards {} and {} are the same OAuth client and user: they would close each \
             other's channels; name another client, or another user",
            self.0, self.1
        )
    }
}

/// Whom a token stands for.
///
/// # Errors
/// It cannot be told; a sentence.
pub fn whom(outside: &Outside, token: &Secret) -> Result<Whom, String> {
    let (status, client) = ask(outside, token, "/api/v2/tokens/me?preserveIdleTTL=true")?;
    let client = client["OAuthClient"]["id"].as_str();
    let client = client.ok_or_else(|| format!("the platform answers {status} without a client"))?;
    // A client without a user is told so with some 4xx: what it is matters to nobody.
    let (status, user) = ask(outside, token, "/api/v2/users/me")?;
    let user = user["id"].as_str().filter(|_| status == 200);
    Ok(Whom {
        client: client.to_ascii_lowercase(),
        user: user.map(str::to_ascii_lowercase),
    })
}

fn ask(outside: &Outside, token: &Secret, path: &str) -> Result<(u16, Value), String> {
    let request = Request {
        method: "GET",
        url: format!("{}{path}", outside.endpoints.api_url),
        headers: vec![("Authorization".into(), format!("Bearer {}", token.expose()))],
        body: Vec::new(),
    };
    let answer = rest::perform(
        &outside.agent.get(),
        &request,
        rest::Body::Whole(ANSWER_BYTES),
    )
    .map_err(|why| format!("the platform {}", why.sentence()))?;
    let body = serde_json::from_slice(&answer.body).unwrap_or_default();
    Ok((answer.status, body))
}

/// The first two of these that are one.
#[must_use]
pub fn among(known: &[(String, Whom)]) -> Option<Twins> {
    let mut seen: BTreeMap<&Whom, &str> = BTreeMap::new();
    for (name, whom) in known {
        if let Some(other) = seen.insert(whom, name) {
            return Some(Twins(other.to_owned(), name.clone()));
        }
    }
    None
}

/// Asks for each of them until it is known, beside everything else; tells what it found.
///
/// The thread is not waited for: it holds nothing, and ends with the question it is at.
///
/// # Errors
/// The system gives no thread.
pub fn watch(
    clients: Vec<(String, Outside)>,
    stopped: Receiver<()>,
    found: impl Fn(Twins) + Send + 'static,
) -> io::Result<()> {
    let body = move || {
        let mut asked = clients;
        let mut known = Vec::new();
        loop {
            asked.retain(|(name, outside)| match told(outside) {
                Ok(whom) => {
                    known.push((name.clone(), whom));
                    false
                }
                Err(why) => {
                    log::debug!("shard {name}: whom it stands for is not known: {why}");
                    true
                }
            });
            if let Some(twins) = among(&known) {
                return found(twins);
            }
            let over = stopped.recv_timeout(AGAIN) != Err(RecvTimeoutError::Timeout);
            if asked.is_empty() || over {
                return;
            }
        }
    };
    Builder::new().name("twins".into()).spawn(body).map(|_| ())
}

fn told(outside: &Outside) -> Result<Whom, String> {
    match outside.call(&Op::Token, None).result {
        Ok(Answer::Token { access_token, .. }) => whom(outside, &access_token),
        // Why there is none is told by the shard itself.
        _ => Err("no token".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_are_the_same_client_and_user_and_nobody_else() {
        let whom = |client: &str, user: Option<&str>| Whom {
            client: client.into(),
            user: user.map(Into::into),
        };
        let named = |name: &str, whom: Whom| (name.to_owned(), whom);
        let different = [
            named("main", whom("a", None)),
            named("second", whom("a", Some("u"))),
            named("third", whom("a", Some("v"))),
            named("fourth", whom("b", Some("u"))),
        ];
        assert_eq!(among(&different), None);
        let twins = [
            different.as_slice(),
            &[named("fifth", whom("a", Some("v")))],
        ]
        .concat();
        assert_eq!(among(&twins), Some(Twins("third".into(), "fifth".into())));
    }
}
