//! The tables `[[genesys.additional-oauth]]`: more OAuth clients, each with a name.
//!
//! Invariant: that of `check`; a `None` has left a problem behind.

use super::check_genesys;
use super::raw::{RawClient, RawValue};
use super::reader::Reader;
use super::{AdditionalOauth, MAIN_SHARD, OauthConfig};

/// More than this on one machine is a slip: each has up to 20 sockets with a thread each.
const CLIENTS_MAX: usize = 15;

/// Letters of a name at most: it stands in thread names and labels.
const NAME_MAX: usize = 16;

pub(super) fn additional(
    r: &mut Reader<'_>,
    main: Option<&OauthConfig>,
) -> Option<Vec<AdditionalOauth>> {
    let clients = r.additional();
    let mut whole = true;
    if let Some(beyond) = clients.get(CLIENTS_MAX) {
        let rule = format!("there may be at most {CLIENTS_MAX} of these tables");
        r.client_problem(
            &(CLIENTS_MAX + 1).to_string(),
            beyond.line,
            &rule,
            "take some out",
        );
        return None;
    }
    let names: Vec<Option<String>> = clients.iter().map(name_of).collect();
    let shown = names.iter().flatten().map(|name| format!("\"{name}\""));
    r.clients_written(shown.collect(), &clients);
    let mut seen: Vec<(String, String)> = Vec::new();
    if let Some(main) = main {
        seen.push((MAIN_SHARD.to_owned(), main.identity()));
    }
    let mut taken: Vec<String> = vec![MAIN_SHARD.to_owned()];
    let mut all = Vec::new();
    for (at, (client, name)) in clients.into_iter().zip(names).enumerate() {
        let called = name.clone().unwrap_or_else(|| (at + 1).to_string());
        let line = client.line;
        match &name {
            None => {
                let hint =
                    "it names the shard in store, status, metrics and log, as in name = \"second\"";
                let rule = format!(
                    "name is required: 1 to {NAME_MAX} of the characters a to z, 0 to 9 and -"
                );
                r.client_problem(&called, line, &rule, hint);
            }
            Some(name) if taken.contains(name) => {
                let hint = match name.as_str() {
                    MAIN_SHARD => "main is the shard of [genesys.oauth]",
                    _ => "two shards of one name cannot be told apart",
                };
                r.client_problem(&called, line, "name is taken", hint);
                whole = false;
            }
            Some(name) => taken.push(name.clone()),
        }
        let oauth = r.inside(client, &called, check_genesys::oauth);
        let (Some(name), Some(oauth)) = (name, oauth) else {
            whole = false;
            continue;
        };
        let identity = oauth.identity();
        if let Some((other, _)) = seen.iter().find(|(_, before)| *before == identity) {
            let rule = format!("is the same client and user as {other}");
            let hint = "the platform counts channels by client and user: two shards of one would \
                        close each other's; name another client, or another user";
            r.client_problem(&called, line, &rule, hint);
            whole = false;
        }
        seen.push((name.clone(), identity));
        all.push(AdditionalOauth { name, oauth });
    }
    whole.then_some(all)
}

/// The name, if it is one.
fn name_of(client: &RawClient) -> Option<String> {
    let RawValue::Text(name) = &client.name.as_ref()?.value else {
        return None;
    };
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    ((1..=NAME_MAX).contains(&name.len()) && name.bytes().all(fits)).then(|| name.clone())
}
