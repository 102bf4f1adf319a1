//! Passwords: Argon2id, off the async threads, a bounded number at once.

use std::{
    cmp, fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, PasswordHash, Salt},
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};
use unicode_normalization::UnicodeNormalization;

use crate::error::Error;

/// 19 MiB, two passes, one lane: the first choice of OWASP's Password Storage Cheat Sheet for Argon2id.
const LIVE: (u32, u32, u32) = (19_456, 2, 1);
/// The most that a stored hash may ask for: what the service before this one used (m=65536, t=3, p=4) and
/// then some. A hash that asks for more would be a way to run a function out of memory.
const MOST: (u32, u32, u32) = (262_144, 10, 16);

/// Blocks of 1 KiB, of which so many at once come from the system and go back to it: more than 32 MiB are always
/// mapped by the C library, never cut from its heap (`DEFAULT_MMAP_THRESHOLD_MAX` of glibc).
const GIVEN_BACK: usize = 33 * 1024;
/// Longest wait for a turn: half of what a request may take.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// What is believed of the pace until a hash was timed, in nanoseconds for a block and pass.
const FIRST_PACE: u64 = 500;

/// The passwords that are tried first, a line each, in order: those of the crate `passwords` 3.1.19 that are long
/// enough to be chosen here. The crate links all its 99,838 as a table of addresses, which took 5 MB of a binary
/// and 0.6 ms of each start.
const COMMON: &str = include_str!("password/common.txt");

/// What this service is called, less spaces and signs.
const SERVICE_NAMES: [&str; 2] = ["socialmediaapi", "socialmedia"];

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

    /// Why it is among the first that somebody would try for the account with this address: `None` where it is not.
    pub fn guessed_by(&self, email: &str) -> Option<&'static str> {
        let tried = folded(&self.0);
        let (local, domain) = email.rsplit_once('@').unwrap_or((email, ""));
        let untagged = local.split('+').next().unwrap_or_default();
        let ascii_domain = idna::domain_to_ascii(domain).unwrap_or_default();
        let is = |guess: &str| tried == folded(guess);
        if is(email) || is(&format!("{local}@{ascii_domain}")) {
            Some("This password is the email address of the account")
        } else if is(local) || is(untagged) {
            Some("This password is the local part of the email address of the account")
        } else {
            None
        }
    }

    /// Whether it is the name of this service, however written.
    pub(crate) fn is_service_name(&self) -> bool {
        let letters: String = self.0.chars().filter(|c| c.is_alphanumeric()).collect();
        SERVICE_NAMES.contains(&folded(&letters).as_str())
    }

    /// Whether it reads like another one.
    pub fn reads_like(&self, other: &Self) -> bool {
        self.0.nfc().eq(other.0.nfc())
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

/// A text without regard to case, to white space around it, and to how its characters are composed.
fn folded(text: &str) -> String {
    text.trim().to_lowercase().nfc().collect()
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
            cmp::Ordering::Less => text = text.get(end + 1..).unwrap_or_default(),
            cmp::Ordering::Equal => return true,
            cmp::Ordering::Greater => text = &text[..begin],
        }
    }
    false
}

/// What became of a password that was held against a stored hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the right one.
    Right,
    /// It is the right one, and its hash is of another kind or has other parameters than new ones get: this is the
    /// one to store instead.
    RightButOutdated(String),
    /// It is not.
    Wrong,
}

/// Hashes and verifies passwords. Cheap to clone.
#[derive(Clone)]
pub struct Passwords(Arc<Hashing>);

/// What all who hash share.
struct Hashing {
    /// The parameters of new hashes.
    live: Params,
    /// Everybody's queue. Memory is the price of a hash: as many at once as there are permits, and no more.
    all: Arc<Queue>,
    /// The queue before it of those that take more memory than new hashes: one of them at a time.
    large: Arc<Queue>,
    /// The memory of each permit that nobody has right now. It is used again and never given back: blocks are
    /// aligned, and the allocator finds no room for one where another was, so that each hash would grow the process.
    memory: Mutex<Vec<Vec<Block>>>,
    /// What a unit of work takes, in nanoseconds, as the last ones did.
    pace: AtomicU64,
}

/// Whoever waits for a permit, in order.
struct Queue {
    permits: Arc<Semaphore>,
    at_once: u64,
    /// The work of those that have a permit or wait for one.
    work: AtomicU64,
}

/// A place in a queue, until it is dropped.
struct Place {
    queue: Arc<Queue>,
    work: u64,
    permit: Option<OwnedSemaphorePermit>,
}

/// A permit to hash one password, now. It goes along with the work, so that a client who hangs up does not free it
/// while the work goes on.
struct Turn {
    hashing: Arc<Hashing>,
    work: u64,
    _places: Vec<Place>,
}

/// A permit to hash one new password, now.
pub struct TurnToHash(Turn);

/// A permit to verify one password, now.
pub(crate) struct TurnToVerify {
    turn: Turn,
    stored: Stored,
    is_known: bool,
}

impl Passwords {
    /// Prepares for `at_once` hashes at a time.
    pub fn new(at_once: usize) -> Result<Self, Error> {
        let live = Params::new(LIVE.0, LIVE.1, LIVE.2, None).map_err(Error::internal)?;
        Ok(Self(Arc::new(Hashing {
            live,
            all: Queue::of(at_once),
            large: Queue::of(1),
            memory: Mutex::default(),
            pace: AtomicU64::new(FIRST_PACE),
        })))
    }

    /// The PHC string to store for a password, with a new random salt. 503 where its turn would come too late.
    pub async fn hash(&self, password: Password) -> Result<String, Error> {
        self.turn_to_hash().await?.hash(password).await
    }

    /// Waits for the turn to hash a password. 503 where it would come too late.
    pub async fn turn_to_hash(&self) -> Result<TurnToHash, Error> {
        self.turn(&self.0.live).await.map(TurnToHash)
    }

    /// Waits for the turn to hold a password against a stored hash, or against nobody's where there is none: that
    /// has the parameters of `stand_in`, the beginning of some account's hash, so that an unknown user costs the
    /// time of a known one. A stored hash that is malformed, or that asks for more than it may, is a wrong password
    /// and an error in the log. 503 where the turn would come too late.
    pub(crate) async fn turn_to_verify(
        &self,
        stored_hash: Option<&str>,
        stand_in: Option<&str>,
    ) -> Result<TurnToVerify, Error> {
        let known = stored_hash.map(Stored::parse).transpose();
        if let Err(reason) = known {
            tracing::error!(reason, "a stored password hash cannot be used");
        }
        let (stored, is_known) = match known {
            Ok(Some(stored)) => (stored, true),
            Ok(None) => (Stored::nobodys(stand_in)?, false),
            Err(_) => (Stored::nobodys(None)?, false),
        };
        let turn = self.turn(&stored.params).await?;
        Ok(TurnToVerify {
            turn,
            stored,
            is_known,
        })
    }

    async fn turn(&self, params: &Params) -> Result<Turn, Error> {
        let hashing = &self.0;
        let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
        let pace = hashing.pace.load(Ordering::Relaxed);
        let mut places = Vec::new();
        if params.m_cost() > LIVE.0 {
            places.push(hashing.large.line_up(work, pace)?);
        }
        places.push(hashing.all.line_up(work, pace)?);
        let wait = async {
            for place in &mut places {
                let permits = Arc::clone(&place.queue.permits);
                place.permit = Some(permits.acquire_owned().await.map_err(Error::internal)?);
            }
            Ok(())
        };
        timeout(LONGEST_WAIT, wait)
            .await
            .unwrap_or_else(|_| Err(too_many_wait()))?;
        Ok(Turn {
            hashing: Arc::clone(hashing),
            work,
            _places: places,
        })
    }
}

impl Queue {
    fn of(at_once: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(at_once)),
            at_once: at_once.max(1) as u64,
            work: AtomicU64::new(0),
        })
    }

    /// A place at the end, or 503 where that is too far from the beginning.
    fn line_up(self: &Arc<Self>, work: u64, nanos_a_unit: u64) -> Result<Place, Error> {
        let before = self.work.fetch_add(work, Ordering::Relaxed);
        let place = Place {
            queue: Arc::clone(self),
            work,
            permit: None,
        };
        let wait = Duration::from_nanos(before.saturating_mul(nanos_a_unit) / self.at_once);
        if wait > LONGEST_WAIT {
            return Err(too_many_wait());
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.work.fetch_sub(self.work, Ordering::Relaxed);
    }
}

fn too_many_wait() -> Error {
    Error::unavailable("too many passwords wait to be hashed")
}

impl Turn {
    /// Runs Argon2 on a thread of its own, in the memory of the permit.
    async fn run<T: Send + 'static>(
        self,
        argon2: impl FnOnce(&mut Vec<Block>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        spawn_blocking(move || {
            let hashing = &self.hashing;
            let mut memory = hashing.lock_memory().pop().unwrap_or_default();
            let begun = Instant::now();
            let result = argon2(&mut memory);
            hashing.note_pace(self.work, begun.elapsed());
            hashing.lock_memory().push(memory);
            drop(self);
            result
        })
        .await
        .map_err(Error::internal)?
    }
}

impl Hashing {
    fn lock_memory(&self) -> MutexGuard<'_, Vec<Vec<Block>>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moving average: one hash that was slow makes nobody wait in vain.
    fn note_pace(&self, work: u64, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / work.max(1);
        let before = self.pace.load(Ordering::Relaxed);
        let pace = before.saturating_mul(7).saturating_add(took) / 8;
        self.pace.store(pace.max(1), Ordering::Relaxed);
    }
}

impl TurnToHash {
    /// The PHC string to store for a password, with a new random salt.
    pub async fn hash(self, password: Password) -> Result<String, Error> {
        let params = self.0.hashing.live.clone();
        let hash = move |memory: &mut Vec<Block>| hash(memory, params, &password);
        self.0.run(hash).await
    }
}

impl TurnToVerify {
    /// Holds a password against the hash.
    pub(crate) async fn verify(self, password: Password) -> Result<Verdict, Error> {
        let Self {
            turn,
            stored,
            is_known,
        } = self;
        let live = turn.hashing.live.clone();
        turn.run(move |memory| {
            let is_right = stored.is_of(memory, &password)?;
            if !(is_right && is_known) {
                return Ok(Verdict::Wrong);
            }
            if stored.is_live {
                return Ok(Verdict::Right);
            }
            hash(memory, live, &password).map(Verdict::RightButOutdated)
        })
        .await
    }
}

/// A stored hash that can be computed.
struct Stored {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Salt,
    output: Output,
    /// Whether it is what new ones are.
    is_live: bool,
}

impl Stored {
    /// Reads a hash, if it is Argon2 within bounds.
    fn parse(stored_hash: &str) -> Result<Self, &'static str> {
        let hash = PasswordHash::new(stored_hash).map_err(|_| "it is no PHC string")?;
        let (Ok(algorithm), Some(salt), Some(output)) =
            (hash.algorithm.as_str().parse(), hash.salt, hash.hash)
        else {
            return Err("it is no Argon2 hash");
        };
        let version = hash.version.map(Version::try_from).transpose();
        let version = version
            .map_err(|_| "its version is unknown")?
            .unwrap_or_default();
        let params = Params::try_from(&hash).map_err(|_| "its parameters are malformed")?;
        let costs = (params.m_cost(), params.t_cost(), params.p_cost());
        if costs.0 > MOST.0 || costs.1 > MOST.1 || costs.2 > MOST.2 {
            return Err("its parameters are beyond bounds");
        }
        let is_live = algorithm == Algorithm::Argon2id
            && hash.version == Some(Version::V0x13.into())
            && costs == LIVE;
        Ok(Self {
            algorithm,
            version,
            params,
            salt,
            output,
            is_live,
        })
    }

    /// The hash of nobody's password: with the parameters with which another hash begins, or with the live ones. Its
    /// salt and its hash need no secret, only the form and the cost of real ones.
    fn nobodys(stand_in: Option<&str>) -> Result<Self, Error> {
        let with = |parameters: &str| {
            Self::parse(&format!(
                "{parameters}$c29tZSBkdW1teSBzYWx0IQ${}",
                "A".repeat(43)
            ))
        };
        if let Some(Ok(stored)) = stand_in.map(with) {
            return Ok(stored);
        }
        let (memory, time, lanes) = LIVE;
        with(&format!("$argon2id$v=19$m={memory},t={time},p={lanes}")).map_err(Error::internal)
    }

    /// Whether it is the hash of this password. The comparison takes as long wherever the two differ.
    fn is_of(&self, memory: &mut Vec<Block>, password: &Password) -> Result<bool, Error> {
        let mut bytes = [0; Output::MAX_LENGTH];
        let computed = bytes
            .get_mut(..self.output.len())
            .ok_or_else(|| Error::internal("a stored password hash is too long"))?;
        let argon2 = Argon2::new(self.algorithm, self.version, self.params.clone());
        fill(memory, &argon2, password, &self.salt, computed)?;
        let computed = Output::new(computed).map_err(Error::internal)?;
        Ok(computed == self.output)
    }
}

fn hash(memory: &mut Vec<Block>, params: Params, password: &Password) -> Result<String, Error> {
    let mut salt = [0; Salt::RECOMMENDED_LENGTH];
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| Error::internal("no random bytes"))?;
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    fill(memory, &argon2, password, &salt, &mut output)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: argon2.params().try_into().map_err(Error::internal)?,
        salt: Some(Salt::new(&salt).map_err(Error::internal)?),
        hash: Some(Output::new(&output).map_err(Error::internal)?),
    };
    Ok(hash.to_string())
}

/// Computes a hash in the memory of a permit. What takes more than new hashes do has memory of its own, which is
/// given back at once.
fn fill(
    memory: &mut Vec<Block>,
    argon2: &Argon2<'_>,
    password: &Password,
    salt: &[u8],
    output: &mut [u8],
) -> Result<(), Error> {
    let blocks = argon2.params().block_count();
    let mut large = Vec::new();
    let memory = if blocks > LIVE.0 as usize {
        large.reserve_exact(blocks.max(GIVEN_BACK));
        large.resize(blocks, Block::new());
        &mut large
    } else {
        memory.resize(LIVE.0 as usize, Block::new());
        memory
    };
    argon2
        .hash_password_into_with_memory(
            password.reveal().as_bytes(),
            salt,
            output,
            memory.as_mut_slice(),
        )
        .map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::{FutureExt, future::join_all};

    use super::*;

    /// Hashes of `opal-lantern-42` with these parameters, less salt and hash.
    const OLD: &str = "$argon2id$v=19$m=65536,t=3,p=4";

    fn password() -> Password {
        Password::new("opal-lantern-42".to_owned())
    }

    /// Somebody who waits for a turn.
    type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Turn, Error>> + 'a>>;

    /// How many permits there are right now.
    fn free(passwords: &Passwords) -> (usize, usize) {
        let Hashing { all, large, .. } = &*passwords.0;
        (
            all.permits.available_permits(),
            large.permits.available_permits(),
        )
    }

    #[test]
    fn nobodys_hash_has_the_parameters_of_the_one_that_it_stands_in_for() {
        let costs = |stand_in| {
            let stored = Stored::nobodys(stand_in).unwrap();
            let params = &stored.params;
            let costs = (params.m_cost(), params.t_cost(), params.p_cost());
            assert_eq!(stored.is_live, costs == LIVE);
            costs
        };
        assert_eq!(costs(None), LIVE);
        assert_eq!(costs(Some("$argon2id$v=19$m=19456,t=2,p=1")), LIVE);
        assert_eq!(costs(Some(OLD)), (65_536, 3, 4));
        // As a known user's that cannot be used.
        for unusable in ["", "!", "$2b$12", "$argon2id$v=19$m=4294967295,t=3,p=4"] {
            assert_eq!(costs(Some(unusable)), LIVE, "{unusable}");
        }
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
            Stored::parse(absurd).err(),
            Some("its parameters are beyond bounds")
        );
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_frees_no_permit_while_the_work_goes_on() {
        let passwords = Passwords::new(1).unwrap();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let turn = passwords.turn(&passwords.0.live).await.unwrap();
        let work = turn.run(move |_| Ok(ended.recv()));
        // It has begun, and now nobody waits for it any more.
        assert!(work.now_or_never().is_none());
        assert_eq!(free(&passwords), (0, 1));
        end.send(()).unwrap();
        assert!(passwords.hash(password()).await.is_ok());
        assert_eq!(free(&passwords), (1, 1));
    }

    #[tokio::test]
    async fn whoever_would_wait_too_long_is_refused_at_once_and_the_others_are_served() {
        let passwords = Passwords::new(2).unwrap();
        let params = passwords.0.live.clone();
        let held = [
            passwords.turn(&params).await.unwrap(),
            passwords.turn(&params).await.unwrap(),
        ];
        // So slow that a hash takes a second: two at a time, ten seconds are twenty hashes.
        let second = 1_000_000_000 / u64::from(LIVE.0 * LIVE.1);
        passwords.0.pace.store(second, Ordering::Relaxed);
        let turn = || -> Waiting<'_> { Box::pin(passwords.turn(&params)) };
        let mut waiting: Vec<_> = (0..30).map(|_| turn()).collect();
        let refused = |waiting: &mut Vec<Waiting<'_>>| {
            let mut refused = 0;
            waiting.retain_mut(|turn| match turn.as_mut().now_or_never() {
                None => true,
                Some(Ok(_)) => panic!("nobody has left"),
                Some(Err(error)) => {
                    assert_eq!(error.status(), 503);
                    refused += 1;
                    false
                }
            });
            refused
        };
        assert_eq!(refused(&mut waiting), 11);
        // Whoever leaves makes room.
        waiting.truncate(18);
        waiting.push(turn());
        waiting.push(turn());
        assert_eq!(refused(&mut waiting), 1);
        drop(held);
        for turn in waiting {
            assert!(turn.await.is_ok());
        }
        assert_eq!(passwords.0.all.work.load(Ordering::Relaxed), 0);
        assert_eq!(free(&passwords), (2, 1));
    }

    #[tokio::test]
    async fn large_hashes_are_computed_one_at_a_time_and_leave_a_permit_to_others() {
        let passwords = Passwords::new(2).unwrap();
        let first = passwords.turn_to_verify(None, Some(OLD)).await.unwrap();
        assert!(
            passwords
                .turn_to_verify(None, Some(OLD))
                .now_or_never()
                .is_none()
        );
        assert_eq!(free(&passwords), (1, 0));
        assert!(passwords.hash(password()).await.is_ok());
        assert_eq!(first.verify(password()).await.unwrap(), Verdict::Wrong);
        assert_eq!(free(&passwords), (2, 1));
    }

    #[tokio::test]
    async fn memory_is_used_again_and_that_of_large_hashes_given_back() {
        let passwords = Passwords::new(2).unwrap();
        let verify = async |stand_in| {
            let turn = passwords.turn_to_verify(None, stand_in).await.unwrap();
            assert_eq!(turn.verify(password()).await.unwrap(), Verdict::Wrong);
        };
        let hashes = (0..6).map(|_| passwords.hash(password()));
        for hash in join_all(hashes).await {
            let hash = hash.unwrap();
            let turn = passwords.turn_to_verify(Some(&hash), None).await.unwrap();
            assert_eq!(turn.verify(password()).await.unwrap(), Verdict::Right);
        }
        verify(Some(OLD)).await;
        verify(Some("$argon2id$v=19$m=8,t=1,p=1")).await;
        let memory = passwords.0.lock_memory();
        assert!((1..=2).contains(&memory.len()));
        for blocks in memory.iter() {
            assert_eq!(blocks.len(), LIVE.0 as usize);
            assert_eq!(blocks.capacity(), LIVE.0 as usize);
        }
    }
}
