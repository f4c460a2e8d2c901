//! OpenPGP keys (RFC 9580, and RFC 4880 before it).

use std::fmt;

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, Deserializable, EncryptionCaps, KeyType,
    SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::Signature;
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Password, PublicParams, Timestamp};

use crate::Error;

/// A key to verify with.
#[derive(Clone)]
pub struct Key(pub(crate) SignedPublicKey);

/// A key to sign with.
#[derive(Clone)]
pub struct Secret(pub(crate) SignedSecretKey);

/// How a new key is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Short and fast.
    Ed25519,
    /// Of so many bits.
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
    /// Returns its fingerprint, in capital digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let fingerprint = self.0.primary_key.fingerprint();
        fingerprint
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect()
    }

    /// Returns the first twenty bytes of its fingerprint: all of it, for a key of version 4.
    pub(crate) fn entity(&self) -> [u8; 20] {
        let mut entity = [0; 20];
        let fingerprint = self.0.primary_key.fingerprint();
        for (to, from) in entity.iter_mut().zip(fingerprint.as_bytes()) {
            *to = *from;
        }
        entity
    }

    /// Returns whose it is, as they say.
    #[must_use]
    pub fn user(&self) -> String {
        let first = self.0.details.users.first();
        first.map_or_else(String::new, |user| {
            String::from_utf8_lossy(user.id.id()).into_owned()
        })
    }

    /// Returns when it was made, in seconds since 1970.
    #[must_use]
    pub fn created(&self) -> i64 {
        i64::from(self.0.primary_key.created_at().as_secs())
    }

    /// Returns how many bits it has.
    #[must_use]
    pub fn bits(&self) -> usize {
        use pgp::crypto::public_key::PublicKeyAlgorithm as A;
        match (
            self.0.primary_key.public_params(),
            self.0.primary_key.algorithm(),
        ) {
            (PublicParams::RSA(_), _) => {
                let length = self.0.primary_key.public_params().to_bytes();
                // The modulus comes first, with its length in bits.
                length.map_or(0, |bytes| match bytes.as_slice() {
                    [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
                    _ => 0,
                })
            }
            (_, A::Ed448) => 456,
            _ => 256,
        }
    }

    /// Returns it in letters, to be mailed.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written.
    pub fn armored(&self) -> Result<String, Error> {
        let armored = self.0.to_armored_string(ArmorOptions::default());
        armored.map_err(failed(&self.fingerprint()))
    }

    /// Returns it in bytes.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        self.0.to_bytes().map_err(failed(&self.fingerprint()))
    }

    /// Whether it is the key of a fingerprint, given in whole or by its end.
    #[must_use]
    pub fn is(&self, fingerprint: &str) -> bool {
        let wanted = fingerprint.trim_start_matches("0x").to_uppercase();
        wanted.len() >= 8 && self.fingerprint().ends_with(&wanted)
    }

    /// Checks a signed text. Returns the text.
    pub(crate) fn check(&self, message: &CleartextSignedMessage) -> Result<(), &'static str> {
        let text = message.signed_text();
        let holds = |signature: &Signature| {
            let subkeys = self.0.public_subkeys.iter().filter(|subkey| {
                let bound = subkey.verify_bindings(&self.0.primary_key).is_ok();
                bound && subkey.signatures.iter().any(|one| one.key_flags().sign())
            });
            signature
                .verify(&self.0.primary_key, text.as_bytes())
                .is_ok()
                || subkeys
                    .into_iter()
                    .any(|subkey| signature.verify(&subkey.key, text.as_bytes()).is_ok())
        };
        let sound = |signature: &&Signature| {
            matches!(
                signature.hash_alg(),
                Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
            )
        };
        let Some(_) = message
            .signatures()
            .iter()
            .filter(sound)
            .find(|one| holds(one))
        else {
            return Err("did not sign this text");
        };
        self.is_reliable()
    }

    /// Whether the key is bound to its user, neither revoked nor expired.
    fn is_reliable(&self) -> Result<(), &'static str> {
        if !self.0.details.revocation_signatures.is_empty() {
            return Err("has been revoked");
        }
        if self.0.details.verify_bindings(&self.0.primary_key).is_err() {
            return Err("is not bound to its user");
        }
        let now = Timestamp::now().as_secs();
        let created = self.0.primary_key.created_at().as_secs();
        let users = self.0.details.users.iter();
        let own = users.flat_map(|user| user.signatures.iter());
        let latest = own
            .chain(&self.0.details.direct_signatures)
            .max_by_key(|one| one.created().map_or(0, Timestamp::as_secs));
        let expires = latest
            .and_then(Signature::key_expiration_time)
            .map(pgp::types::Duration::as_secs)
            .filter(|after| *after > 0);
        match expires {
            Some(after) if created.saturating_add(after) < now => Err("has expired"),
            _ => Ok(()),
        }
    }

    /// Reads keys, in letters or in bytes.
    pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Self>, String> {
        read::<SignedPublicKey>(bytes).map(|all| all.into_iter().map(Self).collect())
    }
}

impl Secret {
    /// Returns the key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> Key {
        Key(self.0.to_public_key())
    }

    /// Makes a new key. `password` locks it; an empty one does not.
    ///
    /// # Errors
    ///
    /// Fails when the numbers make no key.
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

    /// Whether a password is needed.
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

    /// Returns it in letters. Who has it and its password is whom it says.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written.
    pub fn armored(&self) -> Result<String, Error> {
        let armored = self.0.to_armored_string(ArmorOptions::default());
        armored.map_err(failed(&self.public().fingerprint()))
    }

    /// Returns it in bytes.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        self.0
            .to_bytes()
            .map_err(failed(&self.public().fingerprint()))
    }

    /// Reads keys, in letters or in bytes.
    pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Self>, String> {
        read::<SignedSecretKey>(bytes).map(|all| all.into_iter().map(Self).collect())
    }
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
