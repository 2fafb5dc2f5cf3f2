//! How many new conversations one caller may report in a minute (`[http]
//! accepts-per-minute`): a bucket for each token, or for each peer where there are
//! none, that fills evenly.
//!
//! Invariant: the table of buckets has a bound, and losing one's bucket to it only
//! ever means a full one.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::auth::sha256;
use super::exchange::Exchange;

const MINUTE: Duration = Duration::from_secs(60);
const BUCKETS_MAX: usize = 1024;

/// Whom a bucket belongs to: a digest of the token, or of the peer's name.
type Whose = [u8; 32];

/// The buckets of one listener.
#[derive(Debug)]
pub(super) struct Quota {
    per_minute: u32,
    /// What is left, in new conversations, and when that was reckoned.
    buckets: Mutex<BTreeMap<Whose, (f64, Instant)>>,
}

impl Quota {
    /// So many a minute; none means no quota.
    pub(super) fn new(per_minute: u32) -> Option<Quota> {
        (per_minute > 0).then(|| Quota {
            per_minute,
            buckets: Mutex::default(),
        })
    }

    /// Takes one.
    ///
    /// # Errors
    /// Nothing is left: how long until there is.
    pub(super) fn take(&self, whose: Whose, now: Instant) -> Result<(), Duration> {
        let most = f64::from(self.per_minute);
        let each = MINUTE.div_f64(most);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&whose) {
            buckets.retain(|_, (left, at)| {
                *left + now.saturating_duration_since(*at).div_duration_f64(each) < most
            });
            if buckets.len() >= BUCKETS_MAX {
                return Err(each);
            }
        }
        let (left, at) = buckets.entry(whose).or_insert((most, now));
        let since = now.saturating_duration_since(*at).div_duration_f64(each);
        *left = (*left + since).min(most);
        *at = now;
        if *left < 1.0 {
            return Err(each.mul_f64(1.0 - *left));
        }
        *left -= 1.0;
        Ok(())
    }

    /// Gives one back: it was not needed.
    pub(super) fn give_back(&self, whose: Whose) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((left, _)) = buckets.get_mut(&whose) {
            *left = (*left + 1.0).min(f64::from(self.per_minute));
        }
    }
}

/// Whose request it is: of a token where one is asked for, else of a peer, as the gate tells peers
/// apart: addresses that one host has for nothing are one, and on a unix socket each user is.
pub(super) fn whose(x: &Exchange, tokens: bool) -> Whose {
    if let Some(token) = x.header("Authorization").filter(|_| tokens) {
        let token = token.split_once(' ').map_or(token, |(_, t)| t.trim());
        return sha256(token.as_bytes());
    }
    let peer = match x.peer.parse::<SocketAddr>() {
        Ok(address) => match address.ip().to_canonical() {
            ip if ip.is_loopback() => String::from("this machine"),
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("{:x}", u128::from(v6) >> 64),
        },
        Err(_) => format!("{} {:?}", x.peer, x.user),
    };
    sha256(peer.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_fills_evenly_and_belongs_to_one() {
        let quota = Quota::new(6).unwrap();
        let now = Instant::now();
        let (one, other) = ([1; 32], [2; 32]);
        for _ in 0..6 {
            assert_eq!(quota.take(one, now), Ok(()));
        }
        assert_eq!(quota.take(one, now), Err(Duration::from_secs(10)));
        assert_eq!(quota.take(other, now), Ok(()));
        quota.give_back(one);
        assert_eq!(quota.take(one, now), Ok(()));
        assert!(quota.take(one, now + Duration::from_secs(9)).is_err());
        assert_eq!(quota.take(one, now + Duration::from_secs(10)), Ok(()));
        assert!(Quota::new(0).is_none());
    }

    #[test]
    fn the_table_of_buckets_is_bounded_and_only_full_ones_are_forgotten() {
        let quota = Quota::new(60).unwrap();
        let now = Instant::now();
        for n in 0..BUCKETS_MAX {
            assert!(quota.take(sha256(&n.to_le_bytes()), now).is_ok());
        }
        assert!(quota.take([9; 32], now).is_err());
        assert!(quota.take([9; 32], now + Duration::from_secs(2)).is_ok());
        assert_eq!(quota.buckets.lock().unwrap().len(), 1);
    }

    #[test]
    fn on_a_unix_socket_each_user_is_a_peer() {
        let of = |peer: &str| whose(&Exchange::default().of_peer(peer), false);
        assert_eq!(of("unix:1000"), of("unix:1000"));
        assert_ne!(of("unix:1000"), of("unix:1001"));
        assert_ne!(of("unix:0"), of("unix"));
        assert_ne!(of("unix:1000"), of("127.0.0.1:1000"));
        let x = Exchange::default().of_peer("unix:7");
        assert_eq!((x.peer.as_str(), x.user), ("unix", Some(7)));
    }

    #[test]
    fn the_loopback_addresses_of_this_machine_are_one_peer_and_tokens_go_first() {
        let from = |peer: &str, token: Option<&str>| Exchange {
            peer: peer.into(),
            headers: token
                .map(|t| ("Authorization".into(), format!("Bearer {t}")))
                .into_iter()
                .collect(),
            ..Exchange::default()
        };
        let machine = whose(&from("127.0.0.1:9", None), false);
        assert_eq!(machine, whose(&from("127.7.7.7:8", Some("t")), false));
        assert_eq!(machine, whose(&from("[::1]:8", None), false));
        assert_ne!(machine, whose(&from("10.0.0.1:8", None), false));
        assert_eq!(
            whose(&from("10.0.0.1:8", Some("t")), true),
            whose(&from("10.0.0.2:9", Some("t")), true)
        );
        assert_eq!(
            whose(&from("[2001:db8::1]:8", None), false),
            whose(&from("[2001:db8::ffff]:9", None), false)
        );
    }
}
