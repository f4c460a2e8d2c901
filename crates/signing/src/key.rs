//! OpenPGP keys (RFC 9580, and RFC 4880 before it).

use std::fmt;

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, Deserializable, EncryptionCaps, KeyType,
    SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Password, PublicParams, Tag, Timestamp};

use crate::Error;

/// A public key, which verifies.
#[derive(Clone)]
pub struct Key(pub(crate) SignedPublicKey);

/// A secret key, which signs.
#[derive(Clone)]
pub struct Secret(pub(crate) SignedSecretKey);

/// The algorithm of a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519: a short and fast key.
    Ed25519,
    /// RSA with this number of bits.
    Rsa(u32),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.fingerprint()).finish()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret")
            .field(&self.public().fingerprint())
            .finish()
    }
}

fn failed(key: &str) -> impl Fn(pgp::errors::Error) -> Error {
    let key = key.to_owned();
    move |error| Error::Key {
        key: key.clone(),
        reason: error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

impl Key {
    /// Returns the key's fingerprint, in upper-case hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let fingerprint = self.0.primary_key.fingerprint();
        digits(fingerprint.as_bytes())
    }

    /// Returns the first twenty bytes of the fingerprint: the whole fingerprint for a key of
    /// version 4.
    pub(crate) fn entity(&self) -> [u8; 20] {
        let mut entity = [0; 20];
        let fingerprint = self.0.primary_key.fingerprint();
        for (to, from) in entity.iter_mut().zip(fingerprint.as_bytes()) {
            *to = *from;
        }
        entity
    }

    /// Returns the key's first user id, as its owner wrote it.
    #[must_use]
    pub fn user(&self) -> String {
        let first = self.0.details.users.first();
        first.map_or_else(String::new, |user| {
            String::from_utf8_lossy(user.id.id()).into_owned()
        })
    }

    /// Returns when the key was made, in seconds since 1970.
    #[must_use]
    pub fn created(&self) -> i64 {
        i64::from(self.0.primary_key.created_at().as_secs())
    }

    /// Returns the key's length, in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        use pgp::crypto::public_key::PublicKeyAlgorithm as A;
        match (
            self.0.primary_key.public_params(),
            self.0.primary_key.algorithm(),
        ) {
            (PublicParams::RSA(_), _) => {
                let length = self.0.primary_key.public_params().to_bytes();
                // The modulus comes first, and begins with its length in bits.
                length.map_or(0, |bytes| match bytes.as_slice() {
                    [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
                    _ => 0,
                })
            }
            (_, A::Ed448) => 456,
            _ => 256,
        }
    }

    /// Returns the key in ASCII armor, for use in mail.
    ///
    /// # Errors
    ///
    /// Fails when the key cannot be written.
    pub fn armored(&self) -> Result<String, Error> {
        let armored = self.0.to_armored_string(ArmorOptions::default());
        armored.map_err(failed(&self.fingerprint()))
    }

    /// Returns the key in binary form.
    ///
    /// # Errors
    ///
    /// Fails when the key cannot be written.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        self.0.to_bytes().map_err(failed(&self.fingerprint()))
    }

    /// Whether the key has this fingerprint, given in full or by its last digits.
    #[must_use]
    pub fn is(&self, fingerprint: &str) -> bool {
        let wanted = fingerprint.trim_start_matches("0x").to_uppercase();
        wanted.len() >= 8 && self.fingerprint().ends_with(&wanted)
    }

    /// Checks that the key made one of the signatures of a text, and that it is reliable.
    pub(crate) fn check(&self, message: &CleartextSignedMessage) -> Result<(), &'static str> {
        let text = message.signed_text();
        let now = Timestamp::now().as_secs();
        let signatures = message.signatures().iter().filter(|one| is_sound(one, now));
        let primary = &self.0.primary_key;
        let subkeys: Vec<_> = self
            .0
            .public_subkeys
            .iter()
            .filter(|subkey| {
                let bindings = subkey
                    .signatures
                    .iter()
                    .filter(|one| one.verify_subkey_binding(primary, &subkey.key).is_ok());
                // A subkey that signs must itself confirm that it belongs to the primary key.
                let agrees = |binding: &Signature| {
                    binding.embedded_signature().is_some_and(|own| {
                        own.verify_primary_key_binding(&subkey.key, primary).is_ok()
                    })
                };
                let created = subkey.key.created_at().as_secs();
                newest_binding(bindings, created, now).is_some_and(agrees)
            })
            .collect();
        let made = signatures.into_iter().any(|signature| {
            signature.verify(primary, text.as_bytes()).is_ok()
                || subkeys
                    .iter()
                    .any(|subkey| signature.verify(&subkey.key, text.as_bytes()).is_ok())
        });
        match made {
            true => self.is_reliable(now),
            false => Err("did not sign this text"),
        }
    }

    /// Checks that the key has a user, and is neither revoked nor expired. Statements of other keys
    /// about it are ignored.
    fn is_reliable(&self, now: u32) -> Result<(), &'static str> {
        let primary = &self.0.primary_key;
        let details = &self.0.details;
        let revoked = details.revocation_signatures.iter();
        if revoked
            .into_iter()
            .any(|one| one.verify_key(primary).is_ok())
        {
            return Err("has been revoked");
        }
        let own: Vec<&Signature> = details
            .users
            .iter()
            .filter_map(|user| {
                let own = user.signatures.iter().filter(|one| {
                    one.verify_certification(primary, Tag::UserId, &user.id)
                        .is_ok()
                });
                let newest = own.max_by_key(|one| made(one))?;
                // A user whose newest signature is a revocation does not count.
                newest.is_certification().then_some(newest)
            })
            .collect();
        if own.is_empty() {
            return Err("is not bound to its user");
        }
        let direct = details.direct_signatures.iter();
        let direct = direct.filter(|one| one.verify_key(primary).is_ok());
        let newest = own.into_iter().chain(direct).max_by_key(|one| made(one));
        let created = primary.created_at().as_secs();
        match newest.is_some_and(|one| has_expired(one, created, now)) {
            true => Err("has expired"),
            false => Ok(()),
        }
    }

    /// Reads keys in ASCII armor or in binary form.
    pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Self>, String> {
        read::<SignedPublicKey>(bytes).map(|all| all.into_iter().map(Self).collect())
    }
}

impl Secret {
    /// Returns the public key that verifies this key's signatures.
    #[must_use]
    pub fn public(&self) -> Key {
        Key(self.0.to_public_key())
    }

    /// Makes a new key. `password` encrypts it; an empty password leaves it unencrypted.
    ///
    /// # Errors
    ///
    /// Fails when no key can be made with these parameters.
    pub fn generate(user: &str, algorithm: Algorithm, password: &str) -> Result<Self, Error> {
        let mut random = rand::thread_rng();
        let (signs, encrypts) = match algorithm {
            Algorithm::Ed25519 => (
                KeyType::Ed25519Legacy,
                KeyType::ECDH(ECCCurve::Curve25519Legacy),
            ),
            Algorithm::Rsa(bits) => (KeyType::Rsa(bits), KeyType::Rsa(bits)),
        };
        let lock = (!password.is_empty()).then(|| password.to_owned());
        let of_builder = |reason: String| Error::Key {
            key: user.to_owned(),
            reason,
        };
        let mut subkey = SubkeyParamsBuilder::default();
        subkey
            .key_type(encrypts)
            .can_encrypt(EncryptionCaps::All)
            .passphrase(lock.clone());
        let subkey = subkey
            .build()
            .map_err(|error| of_builder(error.to_string()))?;
        let mut params = SecretKeyParamsBuilder::default();
        params
            .key_type(signs)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id(user.to_owned())
            .passphrase(lock)
            .subkeys(vec![subkey]);
        let params = params
            .build()
            .map_err(|error| of_builder(error.to_string()))?;
        let key = params.generate(&mut random).map_err(failed(user))?;
        Ok(Self(key))
    }

    /// Whether the key is encrypted with a password.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.primary_key.secret_params().is_encrypted()
    }

    /// Signs a text.
    pub(crate) fn sign(&self, text: &str, password: &str) -> Result<String, Error> {
        let fingerprint = self.public().fingerprint();
        let signed = CleartextSignedMessage::sign(
            rand::thread_rng(),
            text,
            &self.0.primary_key,
            &Password::from(password),
        );
        signed
            .and_then(|message| message.to_armored_string(ArmorOptions::default()))
            .map_err(|error| match self.is_locked() {
                true => Error::Key {
                    key: fingerprint.clone(),
                    reason: "it cannot be unlocked with this password".to_owned(),
                },
                false => failed(&fingerprint)(error),
            })
    }

    /// Returns the key in ASCII armor. Anyone who has it and its password can sign in its user's
    /// name.
    ///
    /// # Errors
    ///
    /// Fails when the key cannot be written.
    pub fn armored(&self) -> Result<String, Error> {
        let armored = self.0.to_armored_string(ArmorOptions::default());
        armored.map_err(failed(&self.public().fingerprint()))
    }

    /// Returns the key in binary form.
    ///
    /// # Errors
    ///
    /// Fails when the key cannot be written.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        self.0
            .to_bytes()
            .map_err(failed(&self.public().fingerprint()))
    }

    /// Reads keys in ASCII armor or in binary form.
    pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Self>, String> {
        read::<SignedSecretKey>(bytes).map(|all| all.into_iter().map(Self).collect())
    }
}

/// Returns bytes in upper-case hexadecimal digits, as fingerprints are written.
pub(crate) fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Returns when a signature was made.
fn made(signature: &Signature) -> u32 {
    signature.created().map_or(0, Timestamp::as_secs)
}

/// Whether a signature is a signature of a text, uses a hash that cannot be forged, and has not
/// expired.
fn is_sound(signature: &Signature, now: u32) -> bool {
    let hash = matches!(
        signature.hash_alg(),
        Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
    );
    let kind = matches!(
        signature.typ(),
        Some(SignatureType::Binary | SignatureType::Text)
    );
    let lasts = signature
        .signature_expiration_time()
        .map(pgp::types::Duration::as_secs);
    let lasts = lasts.filter(|after| *after > 0);
    let expired = lasts.is_some_and(|after| made(signature).saturating_add(after) < now);
    hash && kind && !expired
}

/// Whether a key has expired, according to a signature on it.
fn has_expired(signature: &Signature, created: u32, now: u32) -> bool {
    let after = signature
        .key_expiration_time()
        .map(pgp::types::Duration::as_secs);
    after
        .filter(|after| *after > 0)
        .is_some_and(|after| created.saturating_add(after) < now)
}

/// Returns the newest binding of a subkey that may sign. Any revocation invalidates the subkey.
fn newest_binding<'a>(
    bindings: impl Iterator<Item = &'a Signature>,
    created: u32,
    now: u32,
) -> Option<&'a Signature> {
    let bindings: Vec<&Signature> = bindings.collect();
    let revoked = Some(SignatureType::SubkeyRevocation);
    if bindings.iter().any(|one| one.typ() == revoked) {
        return None;
    }
    let newest = bindings.into_iter().max_by_key(|one| made(one))?;
    (newest.key_flags().sign() && !has_expired(newest, created, now)).then_some(newest)
}

fn read<T: Deserializable>(bytes: &[u8]) -> Result<Vec<T>, String> {
    const ARMOR: &[u8] = b"-----BEGIN PGP";
    let words = |error: pgp::errors::Error| {
        error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
    let start = bytes.get(start.unwrap_or(0)..).unwrap_or_default();
    if start.is_empty() {
        return Ok(Vec::new());
    }
    if start.starts_with(ARMOR) {
        let (all, _) = T::from_armor_many(start).map_err(words)?;
        return all.collect::<Result<_, _>>().map_err(words);
    }
    let all = T::from_bytes_many(bytes).map_err(words)?;
    all.collect::<Result<_, _>>().map_err(words)
}
