//! Owns passwords: text that is never shown, and the hash that stands for it.

use std::fmt;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

/// A password holds at most so many bytes.
const LENGTH_MAX: usize = 1024;
/// What one hash costs: memory in KiB, passes, lanes.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// A stored hash that costs more than this is not verified: memory in KiB, passes.
const MEMORY_KIB_MAX: u32 = 256 << 10;
const PASSES_MAX: u32 = 16;
const SALT_SIZE: usize = 16;
/// How many characters a generated password has: 24 of 54 kinds are 138 bits.
const GENERATED_LENGTH: usize = 24;
/// Letters and digits that are not mistaken for each other.
const ALPHABET: &[u8; 54] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ234567";

/// A password as somebody gave it. Its text is in no output.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// The system gives no random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the system gives no random bytes")]
pub(crate) struct NoRandom;

impl Password {
    /// Takes a password; none when it is empty or longer than 1,024 bytes.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (1..=LENGTH_MAX).contains(&text.len()).then_some(Self(text))
    }

    /// Makes one of 24 random letters and digits; none when the system gives no random bytes.
    pub fn generate() -> Option<Self> {
        let mut text = String::with_capacity(GENERATED_LENGTH);
        while text.len() < GENERATED_LENGTH {
            let mut bytes = [0_u8; GENERATED_LENGTH];
            aws_lc_rs::rand::fill(&mut bytes).ok()?;
            // Six bits each; numbers beyond the alphabet are passed over, so that each letter is as likely.
            let letters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 63)).copied());
            text.extend(letters.take(GENERATED_LENGTH - text.len()).map(char::from));
        }
        Some(Self(text))
    }

    /// The text, for the one who is to be told and for those who compare.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its hash, with a salt of its own. Costs tens of milliseconds and 19 MiB.
    pub(crate) fn hash(&self) -> Result<String, NoRandom> {
        let mut salt = [0; SALT_SIZE];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| NoRandom)?;
        let salt = SaltString::encode_b64(&salt).expect("16 bytes are a salt");
        let hash = hasher().hash_password(self.0.as_bytes(), &salt).expect("the parameters are within bounds");
        Ok(hash.to_string())
    }

    /// Whether this is the password of a hash. Costs as much as making one, also when the hash cannot be read.
    pub(crate) fn is_of(&self, hash: Option<&str>) -> bool {
        let stored = hash.and_then(|text| PasswordHash::new(text).ok()).filter(is_affordable);
        match stored {
            Some(stored) => hasher().verify_password(self.0.as_bytes(), &stored).is_ok(),
            None => {
                // Whoever measures the time must not learn that there is no such user.
                let salt = SaltString::encode_b64(&[0; SALT_SIZE]).expect("16 bytes are a salt");
                drop(hasher().hash_password(self.0.as_bytes(), &salt));
                false
            }
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are within bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Whether verifying a stored hash stays within what hashing may cost here.
fn is_affordable(hash: &PasswordHash<'_>) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX && params.p_cost() <= LANES
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_and_no_other() {
        let password = Password::new("größe: of ✓").unwrap();
        let hash = password.hash().unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(password.is_of(Some(&hash)));
        assert!(!Password::new("größe: of x").unwrap().is_of(Some(&hash)));
        assert_ne!(password.hash().unwrap(), hash, "each hash has a salt of its own");
        assert!(!password.is_of(None) && !password.is_of(Some("")) && !password.is_of(Some("$argon2id$x")));
        assert!(!password.is_of(Some(&hash.replace("m=19456", "m=4194304"))), "a hash that costs too much");
    }

    #[test]
    fn passwords_are_bounded_and_not_shown() {
        assert!(Password::new("").is_none() && Password::new("x".repeat(1025)).is_none());
        let made = Password::generate().unwrap();
        assert_eq!(made.reveal().len(), GENERATED_LENGTH);
        assert_ne!(made, Password::generate().unwrap());
        assert_eq!(format!("{made:?}"), "***");
    }
}
