//! Tokens: access tokens (JWT) that say who is calling, refresh tokens that buy the next pair.

use std::{
    fmt,
    ops::RangeInclusive,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::ErrorKind,
};
use ring::{
    aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hmac,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use serde_json::{Map, Value};
use signature::{Signer, Verifier};
use tokio::sync::Mutex;

use crate::{
    caller::Caller,
    clock::Moment,
    config::{MIN_SECRET_KEY_BYTES, ManagedSecret, Secret, Signing},
    error::Error,
    secrets::SecretValue,
};

/// A token longer than this is none of ours and is not looked at.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// A token that names a key we do not know makes us look for that key no more often than this.
const REFETCH_AFTER: Duration = Duration::from_mins(1);
/// Most times that we look for keys, whatever they are called, within [`FEW_WITHIN`]: names can be made up, and
/// must neither cost a fetch each nor keep us from a key that was rotated in.
const FEW: usize = 3;
const FEW_WITHIN: Duration = Duration::from_secs(10);
/// How many bytes the id of a version has in Secrets Manager (`ClientRequestToken` of `PutSecretValue`).
const VERSION_ID_BYTES: RangeInclusive<usize> = 32..=64;
/// How far ahead of ours the clock of the instance that signed a token may be: AWS keeps its clocks within
/// milliseconds, a machine of one's own drifts by seconds.
const CLOCK_SKEW_SECONDS: f64 = 60.0;

/// Where the keys come from: the settings, or Secrets Manager, which rotates them. Cheap to clone.
#[derive(Clone)]
pub struct Keys(Arc<Source>);

struct Source {
    algorithm: Algorithm,
    secret: Option<ManagedSecret>,
    /// The last good set, kept while a refetch fails.
    set: RwLock<Option<Arc<KeySet>>>,
    /// Held while the keys are fetched, so that one does it for all: for which keys we looked lately.
    looks: Mutex<Vec<Look>>,
    /// How often the keys were fetched, or could not be.
    fetches: AtomicU64,
}

/// A fetch for a token whose key was not known.
struct Look {
    /// What the key is called; none where nobody could say whether there is one.
    key_id: Option<String>,
    at: Moment,
}

/// The keys that sign and verify access tokens, and whatever else must come back unchanged.
#[derive(Debug)]
pub struct KeySet {
    algorithm: Algorithm,
    current: Key,
    previous: Option<Key>,
}

/// A key and what tokens call it: the version of its secret.
#[derive(Debug)]
struct Key {
    id: String,
    secret: Secret,
}

#[derive(Serialize)]
struct Claims {
    user_id: i64,
    exp: u64,
    iat: u64,
    #[serde(rename = "type")]
    kind: &'static str,
    /// A text, as the registered claim is (OpenID Connect Front-Channel Logout 1.0, section 3).
    sid: String,
}

impl Keys {
    /// The keys of the settings. Managed ones are fetched at first use, or by [`Keys::warm`].
    pub fn new(signing: &Signing) -> Self {
        // The provider is the same for everyone, so whoever came first is right.
        let _ = PROVIDER.install_default();
        let set = signing.secret.is_none().then(|| {
            Arc::new(KeySet {
                algorithm: signing.algorithm,
                current: Key::of_settings(&signing.key),
                previous: signing.previous_key.as_ref().map(Key::of_settings),
            })
        });
        Self(Arc::new(Source {
            algorithm: signing.algorithm,
            secret: signing.secret.clone(),
            set: RwLock::new(set),
            looks: Mutex::default(),
            fetches: AtomicU64::new(0),
        }))
    }

    /// Fetches managed keys ahead of the first request. A failure is left for that request to report.
    pub async fn warm(&self) {
        if let Err(error) = self.set().await {
            tracing::warn!(
                ?error,
                "the signing keys could not be fetched ahead of the first request"
            );
        }
    }

    /// The keys as they are known; 503 while there are none.
    pub async fn set(&self) -> Result<Arc<KeySet>, Error> {
        if let Some(set) = self.known() {
            return Ok(set);
        }
        let before = self.fetches();
        let _fetching = self.0.looks.lock().await;
        if let Some(set) = self.known() {
            // Somebody else fetched them meanwhile.
            return Ok(set);
        }
        if self.fetches() != before {
            // Somebody else could not. Were everybody to try in turn, the last would wait for all.
            return Err(Error::unavailable(
                "the signing keys could not be fetched, as another request found",
            ));
        }
        self.fetch().await
    }

    /// The caller whom an access token names, if it is valid at `now` in every way but those that only the
    /// database knows. A token signed by a key that is not known may be by one that was rotated in: the keys
    /// are fetched again for it, once a minute at most for each. 503 while there are no keys.
    pub async fn verify_access_token(
        &self,
        token: &str,
        now: u64,
    ) -> Result<Option<Caller>, Error> {
        // A token this long is none of ours, and is not looked at.
        if token.len() > MAX_TOKEN_BYTES {
            return Ok(None);
        }
        // Only keys that are managed can be others than those that are known.
        let named = match self.0.secret {
            Some(_) => match jsonwebtoken::decode_header(token) {
                Ok(header) => header.kid,
                Err(_) => return Ok(None),
            },
            None => None,
        };
        let mut set = self.set().await?;
        if let Some(id) = named
            && !set.knows(&id)
        {
            set = self.look_for(id, set).await;
        }
        Ok(set.verify_access_token(token, now))
    }

    /// The keys with the one that is called so, or those that there are where it is not found, or was not to
    /// be looked for.
    async fn look_for(&self, key_id: String, set: Arc<KeySet>) -> Arc<KeySet> {
        if !VERSION_ID_BYTES.contains(&key_id.len()) {
            return set;
        }
        let before = self.fetches();
        let mut looks = self.0.looks.lock().await;
        let set = self.known().unwrap_or(set);
        if set.knows(&key_id) {
            return set;
        }
        looks.retain(|look| look.at.elapsed() < REFETCH_AFTER);
        let lately = looks.iter().filter(|look| look.at.elapsed() < FEW_WITHIN);
        if self.fetches() != before
            || lately.count() >= FEW
            || looks
                .iter()
                .any(|look| look.key_id.as_ref() == Some(&key_id))
        {
            return set;
        }
        looks.push(Look {
            key_id: None,
            at: Moment::now(),
        });
        match self.fetch().await {
            Ok(renewed) => {
                if let Some(look) = looks.last_mut() {
                    look.key_id = Some(key_id);
                }
                renewed
            }
            Err(error) => {
                tracing::warn!(?error, "the signing keys could not be fetched again");
                set
            }
        }
    }

    fn fetches(&self) -> u64 {
        self.0.fetches.load(Ordering::Relaxed)
    }

    fn known(&self) -> Option<Arc<KeySet>> {
        self.0
            .set
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn fetch(&self) -> Result<Arc<KeySet>, Error> {
        let Some(ManagedSecret { secrets, arn }) = &self.0.secret else {
            return Err(Error::internal("there are no signing keys"));
        };
        let fetched = tokio::try_join!(secrets.current(arn), secrets.previous(arn));
        self.0.fetches.fetch_add(1, Ordering::Relaxed);
        let (current, previous) = fetched.map_err(|error| Error::unavailable(error.0))?;
        let set = Arc::new(KeySet {
            algorithm: self.0.algorithm,
            current: Key::managed(current)?,
            // One that is too short verifies nothing, and must not be in the way of the good one that
            // replaced it.
            previous: previous.and_then(|value| Key::managed(value).ok()),
        });
        *self.0.set.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&set));
        Ok(set)
    }
}

impl Key {
    /// A key without versions is called by a digest that tells nothing of it.
    fn of_settings(secret: &Secret) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
        let id = URL_SAFE_NO_PAD.encode(&hmac::sign(&key, b"the name of this key").as_ref()[..9]);
        Self {
            id,
            secret: secret.clone(),
        }
    }

    fn managed(value: SecretValue) -> Result<Self, Error> {
        if value.text.reveal().len() < MIN_SECRET_KEY_BYTES {
            return Err(Error::unavailable(
                "a signing key in Secrets Manager is too short",
            ));
        }
        Ok(Self {
            id: value.version_id,
            secret: value.text,
        })
    }
}

impl KeySet {
    /// An access token for a session of a user, valid from `now` for `life`, both in seconds (RFC 7519).
    pub fn sign_access_token(
        &self,
        user_id: i64,
        session_id: i64,
        now: u64,
        life: u64,
    ) -> Result<String, Error> {
        let claims = Claims {
            user_id,
            exp: now + life,
            iat: now,
            kind: "access",
            sid: session_id.to_string(),
        };
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.current.id.clone());
        let key = EncodingKey::from_secret(self.current.secret.reveal().as_bytes());
        jsonwebtoken::encode(&header, &claims, &key).map_err(Error::internal)
    }

    /// The crate that checks a token lets much pass by default; each of these is closed here (RFC 8725): one
    /// algorithm only, `crit`, another `typ`, an expiry that is now, an `iat` or `nbf` ahead of any clock's skew,
    /// any audience, a registered claim of a wrong type. The name of a key is no more than a name: any key may have signed.
    fn verify_access_token(&self, token: &str, now: u64) -> Option<Caller> {
        let verify = |key: &Key| {
            let key = DecodingKey::from_secret(key.secret.reveal().as_bytes());
            jsonwebtoken::decode::<Map<String, Value>>(token, &key, &self.validation()).ok()
        };
        let decoded = verify(&self.current).or_else(|| self.previous.as_ref().and_then(verify))?;
        let is_jwt = |typ: &String| typ.eq_ignore_ascii_case("JWT");
        if has_crit(token)? || !decoded.header.typ.as_ref().is_none_or(is_jwt) {
            return None;
        }
        caller_of(&decoded.claims, now)
    }

    /// Only the signature and the algorithm: the claims are judged by [`caller_of`], all in one place.
    fn validation(&self) -> Validation {
        let mut validation = Validation::new(self.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation
    }

    fn knows(&self, id: &str) -> bool {
        self.current.id == id || self.previous.as_ref().is_some_and(|key| key.id == id)
    }

    /// A digest of something that others could guess: without the key it can be neither made nor compared.
    pub fn digest(&self, purpose: &str, bytes: &[u8]) -> Vec<u8> {
        keyed_digest(&self.current, purpose, bytes)
    }

    /// The digests of the same by each key in use, the current one first.
    pub fn digests(&self, purpose: &str, bytes: &[u8]) -> Vec<Vec<u8>> {
        let keys = [Some(&self.current), self.previous.as_ref()];
        let keys = keys.into_iter().flatten();
        keys.map(|key| keyed_digest(key, purpose, bytes)).collect()
    }

    /// Packs bytes into a text that only we can make, for clients to hand back as they got it.
    pub fn seal(&self, purpose: &str, bytes: &[u8]) -> String {
        let mut packed = self.digest(purpose, bytes);
        packed.extend_from_slice(bytes);
        URL_SAFE_NO_PAD.encode(packed)
    }

    /// The bytes that [`KeySet::seal`] packed for the same purpose, or `None` for a text that it did not make.
    pub fn unseal(&self, purpose: &str, text: &str) -> Option<Vec<u8>> {
        let packed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (tag, bytes) = packed.split_at_checked(digest::SHA256_OUTPUT_LEN)?;
        let is_ours = |key: &Key| hmac::verify(&purpose_key(key, purpose), bytes, tag).is_ok();
        let is_ours = is_ours(&self.current) || self.previous.as_ref().is_some_and(is_ours);
        is_ours.then(|| bytes.to_vec())
    }
}

fn keyed_digest(key: &Key, purpose: &str, bytes: &[u8]) -> Vec<u8> {
    hmac::sign(&purpose_key(key, purpose), bytes)
        .as_ref()
        .to_vec()
}

/// A key of its own for each purpose, so that nothing sealed can ever be taken for a signature.
fn purpose_key(key: &Key, purpose: &str) -> hmac::Key {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.secret.reveal().as_bytes());
    hmac::Key::new(
        hmac::HMAC_SHA256,
        hmac::sign(&key, purpose.as_bytes()).as_ref(),
    )
}

/// Whether the header names extensions that must be understood (RFC 7515, section 4.1.11): we understand none.
/// The crate reads `crit` and does nothing about it, and takes a null for its absence.
fn has_crit(token: &str) -> Option<bool> {
    #[derive(Deserialize)]
    struct Extensions {
        #[serde(default, deserialize_with = "is_there")]
        crit: bool,
    }
    fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
        IgnoredAny::deserialize(value).map(|_| true)
    }
    let (header, _) = token.split_once('.')?;
    let header = URL_SAFE_NO_PAD.decode(header).ok()?;
    let header: Extensions = serde_json::from_slice(&header).ok()?;
    Some(header.crit)
}

/// The caller of a token whose signature is good, if all its claims are.
fn caller_of(claims: &Map<String, Value>, now: u64) -> Option<Caller> {
    let is_text = |name: &str| claims.get(name).is_none_or(Value::is_string);
    // NumericDate may have a fraction (RFC 7519, section 2); one that is no number is of the wrong type.
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since 1970 are exact in 53 bits"
    )]
    let now = now as f64;
    // Another instance may be ahead, and its token is presented here at once. An expiry needs no such leeway.
    let has_begun = |name: &str| {
        claims.get(name).is_none_or(|time| {
            time.as_f64()
                .is_some_and(|time| time <= now + CLOCK_SKEW_SECONDS)
        })
    };
    let is_live = claims.get("exp")?.as_f64()? > now
        && has_begun("iat")
        && has_begun("nbf")
        && claims.get("type")?.as_str()? == "access"
        && !claims.contains_key("aud")
        && ["iss", "sub", "jti"].into_iter().all(is_text);
    let session_id = match claims.get("sid") {
        None => None,
        Some(sid) => Some(sid.as_str()?.parse().ok()?),
    };
    is_live.then_some(Caller {
        user_id: claims.get("user_id")?.as_i64()?,
        session_id,
    })
}

/// A refresh token: 32 random bytes, shown as 43 characters of URL-safe base64, stored as a SHA-256 only. One
/// that the service before this one issued is whatever text that was.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken(String);

impl RefreshToken {
    /// A new one.
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| Error::internal("no random bytes"))?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Reads what may be one: any text at all, since nobody knows what form the tokens had that were taken over
    /// from elsewhere. An empty text is none.
    pub fn parse(text: String) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    /// The token itself, for its owner.
    pub fn reveal(&self) -> String {
        self.0.clone()
    }

    /// Another token, sealed so that only a holder of this one can read it.
    pub fn seal(&self, successor: &Self) -> Result<Vec<u8>, Error> {
        let mut sealed = successor.0.clone().into_bytes();
        self.sealing_key()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key([0; NONCE_LEN]),
                Aad::empty(),
                &mut sealed,
            )
            .map_err(|_| Error::internal("a token could not be sealed"))?;
        Ok(sealed)
    }

    /// The token that [`RefreshToken::seal`] sealed under this one.
    pub fn unseal(&self, mut sealed: Vec<u8>) -> Result<Self, Error> {
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let successor = self
            .sealing_key()?
            .open_in_place(nonce, Aad::empty(), &mut sealed);
        let successor = successor
            .ok()
            .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        successor
            .map(Self)
            .ok_or_else(|| Error::internal("a sealed token could not be opened"))
    }

    /// A key of this token's own, which nobody can derive from what is stored of it. It seals one token once,
    /// so that its nonce may be constant.
    fn sealing_key(&self) -> Result<LessSafeKey, Error> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        let key = hmac::sign(&key, b"the key that seals the successor");
        let key = UnboundKey::new(&aead::AES_256_GCM, key.as_ref());
        key.map(LessSafeKey::new)
            .map_err(|_| Error::internal("a sealing key has a wrong length"))
    }

    /// What is stored of it: the SHA-256 of its text. 256 random bits need no salt.
    pub fn digest(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, self.0.as_bytes())
            .as_ref()
            .to_vec()
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[refresh token]")
    }
}

/// HMAC on ring, for the JWT crate: its own backends bring RSA and forty more crates, or aws-lc.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Hmac::new(*algorithm, key.as_bytes())?)),
    verifier_factory: |algorithm, key| {
        Ok(Box::new(Hmac::new(*algorithm, key.try_get_as_bytes()?)?))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct Hmac {
    algorithm: Algorithm,
    key: hmac::Key,
}

impl Hmac {
    fn new(algorithm: Algorithm, secret: &[u8]) -> jsonwebtoken::errors::Result<Self> {
        let hash = match algorithm {
            Algorithm::HS256 => hmac::HMAC_SHA256,
            Algorithm::HS384 => hmac::HMAC_SHA384,
            Algorithm::HS512 => hmac::HMAC_SHA512,
            _ => return Err(ErrorKind::InvalidAlgorithm.into()),
        };
        Ok(Self {
            algorithm,
            key: hmac::Key::new(hash, secret),
        })
    }
}

impl Signer<Vec<u8>> for Hmac {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(hmac::sign(&self.key, message).as_ref().to_vec())
    }
}

impl JwtSigner for Hmac {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Hmac {
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> Result<(), signature::Error> {
        hmac::verify(&self.key, message, tag).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Hmac {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
