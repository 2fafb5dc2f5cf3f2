//! Tokens of the page for Agent Desktop: short-lived, signed with a key that is made at start, good
//! for the conversations that were reported with them.
//!
//! A token names a chain, which it shares with the tokens before and after it: what was reported
//! with one may be read with the others. A token itself takes no memory here; a chain does once
//! something was reported with it, in a table of bounded size. Where that is full, the chain that
//! was used the longest ago goes: its page is told that its conversations are unknown, reports
//! them again, and reads them again.
//!
//! # Who is given one
//!
//! The page itself: its browser says `Sec-Fetch-Site: same-origin`, which no page can write, and
//! which browsers say only over https or to this machine. A page whose name was made to point
//! here over plain http gets none therefore; over https it fails at the certificate. Programs
//! can say anything: who reaches the listener can get a token.
//!
//! Invariants: what is signed is never kept, and what is kept has a bound; no token appears in
//! `Debug`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::exchange::{Exchange, Reply};
use super::quota;
use crate::shell::problem::Problem;
use base::ids::ConversationId;

/// What a token of a page begins with.
const PREFIX: &str = "page.";
/// How long a token is good (design, section 6).
const LIFETIME: Duration = Duration::from_secs(600);
/// How long after its end a token still names a chain to go on with.
const GRACE: Duration = Duration::from_secs(3600);
/// Tokens for one address in a minute (design, section 6).
const PER_MINUTE: usize = 60;
const MINUTE: Duration = Duration::from_secs(60);
/// Addresses whose tokens are counted at once.
const ADDRESSES_MAX: usize = 1024;
/// Chains with which something was reported.
const CHAINS_MAX: usize = 8192;
/// Conversations of one chain; beyond them the oldest is forgotten.
const OF_CHAIN_MAX: usize = 512;
/// Conversations of all chains.
const CONVERSATIONS_MAX: usize = 65_536;

const CHAIN_LEN: usize = 16;
const SIGNED_LEN: usize = CHAIN_LEN + 8;

/// A row of tokens, each of which followed the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Chain([u8; CHAIN_LEN]);

/// What a token of a page turned out to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Worth {
    Good(Chain),
    /// It was good, until not longer ago than the grace.
    Over(Chain),
    Nothing,
}

/// The tokens of one listener.
pub struct PageTokens {
    key: hmac::Key,
    random: SystemRandom,
    began: Instant,
    lifetime: Duration,
    given: Mutex<BTreeMap<[u8; 32], VecDeque<Instant>>>,
    reported: Mutex<Reported>,
}

impl fmt::Debug for PageTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tokens of pages")
    }
}

/// A token that was just made.
pub(super) struct Given {
    pub(super) token: String,
    pub(super) lifetime: Duration,
}

/// What was reported with which chain.
#[derive(Default)]
struct Reported {
    chains: HashMap<Chain, OfChain>,
    conversations: usize,
    uses: u64,
}

#[derive(Default)]
struct OfChain {
    used: u64,
    oldest_first: VecDeque<ConversationId>,
}

impl Reported {
    fn drop_longest_unused(&mut self, but: Chain) {
        let others = self.chains.iter().filter(|(chain, _)| **chain != but);
        let victim = others
            .min_by_key(|(_, of)| of.used)
            .map(|(chain, _)| *chain);
        if let Some(of) = victim.and_then(|chain| self.chains.remove(&chain)) {
            self.conversations = self.conversations.saturating_sub(of.oldest_first.len());
        }
    }

    fn add(&mut self, chain: Chain, conversation: ConversationId) {
        self.uses += 1;
        let used = self.uses;
        let known = self.chains.get_mut(&chain);
        if let Some(of) = known {
            of.used = used;
            if of.oldest_first.contains(&conversation) {
                return;
            }
            if of.oldest_first.len() >= OF_CHAIN_MAX {
                of.oldest_first.pop_front();
                self.conversations = self.conversations.saturating_sub(1);
            }
        } else if self.chains.len() >= CHAINS_MAX {
            self.drop_longest_unused(chain);
        }
        if self.conversations >= CONVERSATIONS_MAX {
            self.drop_longest_unused(chain);
        }
        let of = self.chains.entry(chain).or_default();
        of.used = used;
        of.oldest_first.push_back(conversation);
        self.conversations += 1;
    }

    fn has(&mut self, chain: Chain, conversation: ConversationId) -> bool {
        self.uses += 1;
        let used = self.uses;
        self.chains.get_mut(&chain).is_some_and(|of| {
            of.used = used;
            of.oldest_first.contains(&conversation)
        })
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PageTokens {
    /// Tokens under a new key; those of another are worth nothing.
    ///
    /// # Errors
    /// The environment gives no random bytes.
    pub fn new() -> Result<PageTokens, ring::error::Unspecified> {
        PageTokens::living(LIFETIME)
    }

    /// The same with another lifetime, for tests.
    ///
    /// # Errors
    /// As [`PageTokens::new`].
    pub fn living(lifetime: Duration) -> Result<PageTokens, ring::error::Unspecified> {
        let random = SystemRandom::new();
        Ok(PageTokens {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &random)?,
            random,
            began: Instant::now(),
            lifetime,
            given: Mutex::default(),
            reported: Mutex::default(),
        })
    }

    /// Milliseconds since the key was made. A clock that somebody sets has no part in this.
    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.began).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn write(&self, chain: Chain, now: Instant) -> String {
        let ends = self.millis(now + self.lifetime);
        let mut bytes = chain.0.to_vec();
        bytes.extend_from_slice(&ends.to_be_bytes());
        let signature = hmac::sign(&self.key, &bytes);
        bytes.extend_from_slice(signature.as_ref());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    fn read(&self, token: &str, now: Instant) -> Worth {
        let bytes = token
            .strip_prefix(PREFIX)
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
            .unwrap_or_default();
        let Some((signed, signature)) = bytes.split_at_checked(SIGNED_LEN) else {
            return Worth::Nothing;
        };
        // Compared in constant time.
        if hmac::verify(&self.key, signed, signature).is_err() {
            return Worth::Nothing;
        }
        let (chain, ends) = signed.split_at(CHAIN_LEN);
        let (Ok(chain), Ok(ends)) = (chain.try_into(), ends.try_into()) else {
            return Worth::Nothing;
        };
        let (chain, ends) = (Chain(chain), u64::from_be_bytes(ends));
        let now = self.millis(now);
        let grace = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
        if now < ends {
            Worth::Good(chain)
        } else if now < ends.saturating_add(grace) {
            Worth::Over(chain)
        } else {
            Worth::Nothing
        }
    }

    /// Whether this is meant to be a token of a page.
    pub(super) fn are_like(token: &str) -> bool {
        token.starts_with(PREFIX)
    }

    /// The chain of a token that is good.
    ///
    /// # Errors
    /// It is not: the answer.
    pub(super) fn admit(&self, token: &str, now: Instant) -> Result<Chain, Reply> {
        match self.read(token, now) {
            Worth::Good(chain) => Ok(chain),
            // No guess: who has it was given it.
            Worth::Over(_) => Err(refusal(
                "page-token-expired",
                "The token of the page has expired",
                "A token of the page is good for ten minutes. The page gets the next one with it.",
                "Bearer realm=\"genesys-gateway\", error=\"invalid_token\", error_description=\"expired\"",
            )),
            Worth::Nothing => Err(refusal(
                "unauthorized",
                "A token is needed",
                "The token was not given by this listener since it started, or ended long ago.",
                "Bearer realm=\"genesys-gateway\", error=\"invalid_token\"",
            )),
        }
    }

    /// The next token of the chain of `before`, or the first of a new one.
    ///
    /// # Errors
    /// This address was given as many as it may in a minute, or too many addresses ask: how long
    /// until it may have one.
    pub(super) fn give(
        &self,
        x: &Exchange,
        before: Option<&str>,
        now: Instant,
    ) -> Result<Given, Duration> {
        self.count(quota::whose(x, false), now)?;
        let chain = match before.map(|token| self.read(token, now)) {
            Some(Worth::Good(chain) | Worth::Over(chain)) => chain,
            _ => {
                let mut chain = [0; CHAIN_LEN];
                self.random.fill(&mut chain).map_err(|_| MINUTE)?;
                Chain(chain)
            }
        };
        Ok(Given {
            token: self.write(chain, now),
            lifetime: self.lifetime,
        })
    }

    /// Never more than [`PER_MINUTE`] in any minute.
    fn count(&self, whose: [u8; 32], now: Instant) -> Result<(), Duration> {
        let mut given = lock(&self.given);
        let past = |at: &Instant| now.saturating_duration_since(*at) >= MINUTE;
        if given.len() >= ADDRESSES_MAX && !given.contains_key(&whose) {
            given.retain(|_, times| times.back().is_some_and(|at| !past(at)));
            if given.len() >= ADDRESSES_MAX {
                return Err(Duration::from_secs(1));
            }
        }
        let times = given.entry(whose).or_default();
        while times.front().is_some_and(past) {
            times.pop_front();
        }
        if times.len() >= PER_MINUTE {
            let first = times.front().copied().unwrap_or(now);
            return Err(MINUTE.saturating_sub(now.saturating_duration_since(first)));
        }
        times.push_back(now);
        Ok(())
    }

    /// From now on this may be read with tokens of the chain.
    pub(super) fn reported(&self, chain: Chain, conversation: ConversationId) {
        lock(&self.reported).add(chain, conversation);
    }

    /// Whether it was reported with a token of the chain.
    pub(super) fn may_read(&self, chain: Chain, conversation: ConversationId) -> bool {
        lock(&self.reported).has(chain, conversation)
    }
}

fn refusal(
    kind: &'static str,
    title: &'static str,
    detail: &'static str,
    challenge: &'static str,
) -> Reply {
    let problem = Problem::new(401, kind, title, detail);
    Reply::problem(&problem).with("WWW-Authenticate", challenge)
}

/// The refusal of what a token of the page is not good for.
pub(super) fn beyond_scope() -> Reply {
    Reply::problem(&Problem::new(
        403,
        "page-token-scope",
        "The token of the page is not good for this",
        "With it conversations may be reported, and read if they were reported with it or with \
         the tokens before it. Anything else needs an API token.",
    ))
}

/// The refusal of what a page of another origin asks, for what is the page's own business.
pub(super) fn refuse_foreign(x: &Exchange, needs_proof: bool) -> Option<Reply> {
    let site = x.header("Sec-Fetch-Site");
    let proven = match site {
        Some(site) => site == "same-origin",
        None => !needs_proof,
    };
    if proven && x.header("Origin").is_none_or(|origin| is_own(x, origin)) {
        return None;
    }
    let detail = match site {
        None => {
            "Only the page of Agent Desktop itself is given a token: its browser says \
             Sec-Fetch-Site: same-origin, and says so only over https or to its own machine. \
             Without https set [agent-desktop] access to \"token\"."
        }
        Some(_) => {
            "Only the page of Agent Desktop itself may do this, and no page of another origin."
        }
    };
    Some(Reply::problem(&Problem::new(
        403,
        "page-token-origin",
        "Not from the page itself",
        detail,
    )))
}

/// Whether an origin is the one under which this listener was asked. A proxy may have written
/// another `Host`, and then says which one it was asked under.
fn is_own(x: &Exchange, origin: &str) -> bool {
    let authority = ["https://", "http://"]
        .iter()
        .find_map(|scheme| origin.strip_prefix(scheme));
    let Some(authority) = authority else {
        return false;
    };
    ["Host", "X-Forwarded-Host"]
        .iter()
        .filter_map(|name| x.header(name))
        .any(|host| !host.is_empty() && host.eq_ignore_ascii_case(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> PageTokens {
        PageTokens::new().unwrap()
    }

    fn from(peer: &str) -> Exchange {
        Exchange::default().of_peer(peer)
    }

    fn chain(n: u64) -> Chain {
        let mut chain = [0; CHAIN_LEN];
        chain[..8].copy_from_slice(&n.to_le_bytes());
        Chain(chain)
    }

    fn conversation(n: u128) -> ConversationId {
        format!("00000000-0000-4000-8000-{n:012x}").parse().unwrap()
    }

    #[test]
    fn a_token_is_good_for_ten_minutes_and_names_its_chain_for_an_hour_more() {
        let tokens = tokens();
        let now = Instant::now();
        let first = tokens.give(&from("10.0.0.1:1"), None, now).unwrap();
        assert_eq!(first.lifetime, Duration::from_secs(600));
        let of = |token: &str, at| match tokens.read(token, at) {
            Worth::Good(chain) => Some((true, chain)),
            Worth::Over(chain) => Some((false, chain)),
            Worth::Nothing => None,
        };
        let (good, chain) = of(&first.token, now).unwrap();
        assert!(good);
        let minutes = |n: u64| now + Duration::from_secs(60 * n);
        assert!(of(&first.token, minutes(9)).is_some_and(|(good, _)| good));
        assert!(of(&first.token, minutes(10)).is_some_and(|(good, _)| !good));
        assert!(of(&first.token, minutes(69)).is_some_and(|(good, _)| !good));
        assert!(of(&first.token, minutes(71)).is_none());
        for (at, same) in [(5, true), (30, true), (71, false)] {
            let next = tokens.give(&from("10.0.0.1:1"), Some(&first.token), minutes(at));
            let next = next.unwrap().token;
            assert_ne!(next, first.token);
            let (good, of_next) = of(&next, minutes(at)).unwrap();
            assert!(good);
            assert_eq!(of_next == chain, same, "after {at} minutes");
        }
        assert_eq!(
            tokens
                .admit(&first.token, minutes(11))
                .err()
                .unwrap()
                .status,
            401
        );
    }

    #[test]
    fn no_other_token_is_worth_anything() {
        let tokens = tokens();
        let now = Instant::now();
        let good = tokens.give(&from("10.0.0.1:1"), None, now).unwrap().token;
        assert!(tokens.admit(&good, now).is_ok());
        let elsewhere = PageTokens::new().unwrap();
        let foreign = elsewhere
            .give(&from("10.0.0.1:1"), None, now)
            .unwrap()
            .token;
        let body = good.strip_prefix(PREFIX).unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(body).unwrap();
        let mut all = vec![
            foreign,
            body.to_owned(),
            String::new(),
            String::from(PREFIX),
            format!("{good}="),
            format!("{good}A"),
            format!("{good} "),
            format!("{PREFIX}{good}"),
            good.to_uppercase(),
            good[..good.len() - 1].to_owned(),
        ];
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            all.push(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&bytes)));
            bytes[at] ^= 1;
        }
        // The signed part alone, and with an empty signature.
        all.push(format!(
            "{PREFIX}{}",
            URL_SAFE_NO_PAD.encode(&bytes[..SIGNED_LEN])
        ));
        for bad in all {
            let refused = tokens.admit(&bad, now).err().expect(&bad);
            assert_eq!(refused.status, 401, "{bad}");
            assert!(refused.is_wrong_token(), "{bad}");
        }
        assert!(!format!("{tokens:?}").contains("Key"));
    }

    #[test]
    fn sixty_in_any_minute_for_one_address_and_no_more() {
        let tokens = tokens();
        let now = Instant::now();
        let at = |ms: u64| now + Duration::from_millis(ms);
        let give = |peer: &str, at| tokens.give(&from(peer), None, at).map(|_| ());
        for n in 0..60 {
            let peer = format!("127.0.0.{n}:1");
            assert_eq!(give(&peer, at(n * 500)), Ok(()));
        }
        // This machine is one, whatever its address; the first was half a minute ago.
        assert_eq!(
            give("127.9.9.9:9", at(30_000)),
            Err(Duration::from_secs(30))
        );
        assert_eq!(give("[::1]:9", at(59_999)), Err(Duration::from_millis(1)));
        assert_eq!(give("127.9.9.9:9", at(60_000)), Ok(()));
        assert!(give("127.9.9.9:9", at(60_000)).is_err());
        assert_eq!(give("10.0.0.1:9", at(30_000)), Ok(()));
        for n in 0..60 {
            let peer = format!("[2001:db8::{n:x}]:1");
            assert_eq!(give(&peer, now), Ok(()));
        }
        assert!(give("[2001:db8::ffff:1]:1", now).is_err());
        assert_eq!(give("[2001:db8:0:1::1]:1", now), Ok(()));
    }

    #[test]
    fn the_table_of_addresses_is_bounded() {
        let tokens = tokens();
        let now = Instant::now();
        let peer = |n: usize| from(&format!("10.{}.{}.1:1", n / 256, n % 256));
        for n in 0..ADDRESSES_MAX {
            assert!(tokens.give(&peer(n), None, now).is_ok());
        }
        assert!(tokens.give(&peer(5000), None, now).is_err());
        assert!(tokens.give(&peer(5), None, now).is_ok());
        assert!(tokens.give(&peer(5000), None, now + MINUTE).is_ok());
        assert_eq!(lock(&tokens.given).len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_longest_unused_goes_first() {
        let mut kept = Reported::default();
        for n in 0..CHAINS_MAX as u64 {
            kept.add(chain(n), conversation(u128::from(n)));
        }
        assert!(kept.has(chain(0), conversation(0)));
        kept.add(chain(u64::MAX), conversation(7));
        assert_eq!(kept.chains.len(), CHAINS_MAX);
        assert!(kept.has(chain(0), conversation(0)), "it was used since");
        assert!(!kept.has(chain(1), conversation(1)));
        // One chain forgets its own.
        for n in 0..=OF_CHAIN_MAX as u128 {
            kept.add(chain(0), conversation(1000 + n));
            kept.add(chain(0), conversation(1000 + n));
        }
        assert!(!kept.has(chain(0), conversation(1000)));
        assert!(kept.has(chain(0), conversation(1000 + OF_CHAIN_MAX as u128)));
        for n in 0..200 {
            for of in 0..OF_CHAIN_MAX as u128 {
                kept.add(chain(100_000 + n), conversation(of));
            }
        }
        assert!(kept.conversations <= CONVERSATIONS_MAX);
        let counted: usize = kept.chains.values().map(|of| of.oldest_first.len()).sum();
        assert_eq!(counted, kept.conversations);
    }

    #[test]
    fn only_the_page_itself_is_believed() {
        let asked = |fields: &[(&str, &str)]| Exchange {
            headers: fields
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            ..Exchange::default()
        };
        let same = ("Sec-Fetch-Site", "same-origin");
        let host = ("Host", "gateway.example");
        for good in [
            vec![same],
            vec![same, host, ("Origin", "https://gateway.example")],
            vec![same, host, ("Origin", "http://Gateway.example")],
            vec![
                same,
                ("Host", "127.0.0.1:8480"),
                ("X-Forwarded-Host", "gateway.example:8443"),
                ("Origin", "https://gateway.example:8443"),
            ],
        ] {
            assert!(refuse_foreign(&asked(&good), true).is_none(), "{good:?}");
        }
        for bad in [
            vec![],
            vec![host, ("Origin", "https://gateway.example")],
            vec![("Sec-Fetch-Site", "none")],
            vec![("Sec-Fetch-Site", "same-site")],
            vec![("Sec-Fetch-Site", "cross-site")],
            vec![("Sec-Fetch-Site", "Same-Origin")],
            vec![same, host, ("Origin", "https://evil.example")],
            vec![same, host, ("Origin", "null")],
            vec![same, host, ("Origin", "")],
            vec![
                same,
                host,
                ("Origin", "https://gateway.example.evil.example"),
            ],
            vec![same, host, ("Origin", "https://gateway.example:444")],
            vec![same, ("Origin", "https://gateway.example")],
            vec![same, ("Host", ""), ("Origin", "https://")],
        ] {
            let refused = refuse_foreign(&asked(&bad), true).expect("refused");
            assert_eq!(refused.status, 403, "{bad:?}");
        }
        // With a token in hand, a browser that says nothing of where it stands is heard.
        assert!(refuse_foreign(&asked(&[]), false).is_none());
        assert!(refuse_foreign(&asked(&[("Sec-Fetch-Site", "cross-site")]), false).is_some());
        assert!(refuse_foreign(&asked(&[host, ("Origin", "https://evil")]), false).is_some());
    }
}
