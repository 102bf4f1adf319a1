//! Passwords: Argon2id, off the async threads, a bounded number at once.

use std::{cmp::Ordering, fmt, sync::Arc};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::phc::PasswordHash,
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::error::Error;

/// 19 MiB, two passes, one lane: the first choice of OWASP's Password Storage Cheat Sheet for Argon2id.
const LIVE: (u32, u32, u32) = (19_456, 2, 1);
/// The most that a stored hash may ask for: what the service before this one used (m=65536, t=3, p=4) and
/// then some. A hash that asks for more would be a way to run a function out of memory.
const MOST: (u32, u32, u32) = (262_144, 10, 16);

/// The passwords that are tried first, a line each, in order: those of the crate `passwords` 3.1.19 that are long
/// enough to be chosen here. The crate links all its 99,838 as a table of addresses, which took 5 MB of a binary
/// and 0.6 ms of each start.
const COMMON: &str = include_str!("password/common.txt");

/// A password as it came. It is used exactly as received, and never shown.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Wraps a text that input has already measured.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether it is among the passwords that are tried first, in any case.
    pub(crate) fn is_common(&self) -> bool {
        is_line_of(COMMON, &self.0) || is_line_of(COMMON, &self.0.to_lowercase())
    }

    /// The password itself, for the one place that judges it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[password]")
    }
}

/// Whether a text whose lines are in order has this one: half of what is left goes at each look.
fn is_line_of(mut text: &str, wanted: &str) -> bool {
    while !text.is_empty() {
        let middle = text.len() / 2;
        let bytes = text.as_bytes();
        let is_end = |byte: &u8| *byte == b'\n';
        let begin = bytes[..middle]
            .iter()
            .rposition(is_end)
            .map_or(0, |end| end + 1);
        let end = bytes[middle..].iter().position(is_end);
        let end = end.map_or(text.len(), |length| middle + length);
        match text[begin..end].cmp(wanted) {
            Ordering::Less => text = text.get(end + 1..).unwrap_or_default(),
            Ordering::Equal => return true,
            Ordering::Greater => text = &text[..begin],
        }
    }
    false
}

/// What became of a password that was held against a stored hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the right one.
    Right,
    /// It is the right one, and its hash is of another kind or has other parameters than new ones get.
    RightButOutdated,
    /// It is not.
    Wrong,
}

/// Hashes and verifies passwords. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    argon2: Argon2<'static>,
    /// Memory is the price of a hash: as many at once as there are permits, and no more.
    permits: Arc<Semaphore>,
    /// The hash of nobody's password, with the live parameters: verifying against it takes as long as against
    /// a user's.
    dummy_hash: Arc<str>,
}

impl Passwords {
    /// Prepares for `at_once` hashes at a time.
    pub fn new(at_once: usize) -> Result<Self, Error> {
        let params = Params::new(LIVE.0, LIVE.1, LIVE.2, None).map_err(Error::internal)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        // The salt and the hash of a dummy need no secret, only the form and the cost of a real one.
        let dummy_hash = format!(
            "$argon2id$v=19$m={},t={},p={}$c29tZSBkdW1teSBzYWx0IQ${}",
            LIVE.0,
            LIVE.1,
            LIVE.2,
            "A".repeat(43)
        );
        Ok(Self {
            argon2,
            permits: Arc::new(Semaphore::new(at_once)),
            dummy_hash: dummy_hash.into(),
        })
    }

    /// The PHC string to store for a password, with a new random salt.
    pub async fn hash(&self, password: Password) -> Result<String, Error> {
        let argon2 = self.argon2.clone();
        self.work(move || {
            let hash: PasswordHash = argon2
                .hash_password(password.reveal().as_bytes())
                .map_err(Error::internal)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Holds a password against a stored hash, or against nobody's where there is none: unknown users cost
    /// the same time. A stored hash that is malformed, or that asks for more than it may, is a wrong password
    /// and an error in the log.
    pub async fn verify(
        &self,
        password: Password,
        stored_hash: Option<String>,
    ) -> Result<Verdict, Error> {
        let argon2 = self.argon2.clone();
        let dummy_hash = Arc::clone(&self.dummy_hash);
        self.work(move || {
            let is_known = stored_hash.is_some();
            let (hash, is_live) = match stored_hash.as_deref().map(parse).transpose() {
                Ok(Some(parsed)) => parsed,
                Ok(None) => parse(&dummy_hash).map_err(Error::internal)?,
                Err(reason) => {
                    tracing::error!(reason, "a stored password hash cannot be used");
                    parse(&dummy_hash).map_err(Error::internal)?
                }
            };
            let is_right = argon2
                .verify_password(password.reveal().as_bytes(), &hash)
                .is_ok();
            Ok(match (is_right && is_known, is_live) {
                (false, _) => Verdict::Wrong,
                (true, true) => Verdict::Right,
                (true, false) => Verdict::RightButOutdated,
            })
        })
        .await
    }

    /// Runs Argon2 on a thread of its own. The permit goes along, so that a client who hangs up does not
    /// free it while the work goes on.
    async fn work<T: Send + 'static>(
        &self,
        argon2: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(Error::internal)?;
        spawn_blocking(move || {
            let result = argon2();
            drop(permit);
            result
        })
        .await
        .map_err(Error::internal)?
    }
}

/// A stored hash, if it is Argon2 within bounds, and whether it is what new ones are.
fn parse(stored_hash: &str) -> Result<(PasswordHash, bool), &'static str> {
    let hash = PasswordHash::new(stored_hash).map_err(|_| "it is no PHC string")?;
    if !hash.algorithm.as_str().starts_with("argon2") || hash.hash.is_none() || hash.salt.is_none()
    {
        return Err("it is no Argon2 hash");
    }
    let params = Params::try_from(&hash).map_err(|_| "its parameters are malformed")?;
    let params = (params.m_cost(), params.t_cost(), params.p_cost());
    if params.0 > MOST.0 || params.1 > MOST.1 || params.2 > MOST.2 {
        return Err("its parameters are beyond bounds");
    }
    let is_live = hash.algorithm == Algorithm::Argon2id.ident()
        && hash.version == Some(Version::V0x13.into())
        && params == LIVE;
    Ok((hash, is_live))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_dummy_hash_parses_and_has_the_live_parameters() {
        let passwords = Passwords::new(1).unwrap();
        let (_, is_live) = parse(&passwords.dummy_hash).unwrap();
        assert!(is_live);
    }

    #[test]
    fn each_common_password_is_found_and_nothing_between_them() {
        let lines: Vec<_> = COMMON.lines().collect();
        assert!(lines.len() > 40_000 && lines.is_sorted());
        for line in lines {
            assert!(line.chars().count() >= 8, "{line}");
            assert!(is_line_of(COMMON, line), "{line}");
            let next = format!("{line}\u{1}");
            assert!(!is_line_of(COMMON, &next), "{next:?}");
        }
        for none in ["", "\n", "\u{10ffff}", "!@#$%^&*\n!@#$%^&*("] {
            assert!(!is_line_of(COMMON, none), "{none:?}");
        }
    }

    #[test]
    fn a_hash_that_asks_for_too_much_is_refused_before_it_is_computed() {
        let absurd = "$argon2id$v=19$m=4294967295,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$DS4msqMhbqDjX+tNh2asmLCod1doKV3YspCZ610EHEA";
        assert_eq!(
            parse(absurd).unwrap_err(),
            "its parameters are beyond bounds"
        );
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_frees_no_permit_while_the_work_goes_on() {
        let passwords = Passwords::new(1).unwrap();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let work = passwords.work(move || Ok(ended.recv()));
        // It has begun, and now nobody waits for it any more.
        assert!(work.now_or_never().is_none());
        assert_eq!(passwords.permits.available_permits(), 0);
        end.send(()).unwrap();
        let hash = passwords.hash(Password::new("opal-lantern-42".to_owned()));
        assert!(hash.await.is_ok());
    }
}
