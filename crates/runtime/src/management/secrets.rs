//! Owns secrets in settings: which they are, how they are sealed for storage, and how they are masked in answers.
//!
//! A sealed value is text: `sealed:v1:<key id>:<base64url of nonce, cipher text, tag>`, AES-256-GCM bound to the
//! connector's id and the setting's key, so that a sealed value copied elsewhere does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forebay_connector::Catalog;
use forebay_connector::settings::{MASK, SettingDescription, SettingError, SettingsErrors, SettingsMap};

const SEALED_PREFIX: &str = "sealed:v1:";
const KEY_ID_BYTES: usize = 4;

/// Secrets shorter than this, in bytes, are not looked for in texts: they would be found everywhere.
const REDACTED_BYTES_MIN: usize = 4;

/// Parts of a name that tell a credential, where the name is the user's own choice.
const CREDENTIAL_WORDS: [&str; 10] = [
    "authorization",
    "cookie",
    "apikey",
    "accesskey",
    "privatekey",
    "token",
    "password",
    "passwd",
    "secret",
    "credential",
];

/// Which settings are secret: those that the kind describes so, and what looks like a credential.
pub(crate) struct Secrecy {
    descriptions: Vec<SettingDescription>,
}

impl Secrecy {
    /// The rules that hold for these settings.
    pub(crate) fn of(settings: &SettingsMap, catalog: &Catalog) -> Self {
        let kind = settings.get("instanceTypeName").and_then(|name| catalog.find(name));
        Self { descriptions: kind.map(|kind| (kind.settings)()).unwrap_or_default() }
    }

    /// Whether a value is never shown and never stored in clear.
    pub(crate) fn covers(&self, key: &str, value: &str) -> bool {
        if value.starts_with(SEALED_PREFIX) || has_password_in_url(value) {
            return true;
        }
        let levels: Vec<&str> = key.split(':').map(|level| level.trim_start_matches('_')).collect();
        let found = self.descriptions.iter().find(|description| key_fits(&description.key, &levels));
        match found {
            Some(description) if description.secret => true,
            Some(description) if !description.key.contains('*') => false,
            _ => levels.last().is_some_and(|name| looks_like_credential(name)),
        }
    }

    /// The same settings, secrets masked.
    pub(crate) fn masked(&self, settings: &SettingsMap) -> SettingsMap {
        let mask = |(key, value): (&str, &str)| {
            let shown = if !value.is_empty() && self.covers(key, value) { MASK } else { value };
            (key.to_owned(), shown.to_owned())
        };
        SettingsMap::from_flat(settings.iter().map(mask))
    }

    /// A text with every secret of these opened settings masked.
    pub(crate) fn redacted(&self, plain: &SettingsMap, text: String) -> String {
        plain
            .iter()
            .filter(|(key, value)| value.len() >= REDACTED_BYTES_MIN && self.covers(key, value))
            .fold(text, |text, (_, secret)| text.replace(secret, MASK))
    }
}

fn key_fits(pattern: &str, levels: &[&str]) -> bool {
    let pattern: Vec<&str> = pattern.split(':').collect();
    let open_ended = pattern.last() == Some(&"*");
    (pattern.len() == levels.len() || (open_ended && levels.len() > pattern.len()))
        && pattern.iter().zip(levels).all(|(known, level)| *known == "*" || known.eq_ignore_ascii_case(level))
}

fn looks_like_credential(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    CREDENTIAL_WORDS.iter().any(|word| plain.contains(word))
}

fn has_password_in_url(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// Seals and opens secrets with the operator's key.
pub(crate) struct Vault {
    key: RandomizedNonceKey,
    key_id: String,
}

/// A stored secret does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored secret {key} cannot be opened: {reason}")]
pub(crate) struct UnopenedSecret {
    key: String,
    reason: &'static str,
}

impl Vault {
    /// Takes the operator's key.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let id: String =
            digest(&SHA256, key).as_ref().iter().take(KEY_ID_BYTES).map(|byte| format!("{byte:02x}")).collect();
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).expect("AES-256 takes 32 bytes");
        Self { key, key_id: id }
    }

    /// The same settings with every secret sealed; a secret that did not change keeps its sealed form.
    pub(crate) fn seal(
        &self,
        id: &str,
        plain: &SettingsMap,
        stored: Option<&SettingsMap>,
        secrecy: &Secrecy,
    ) -> SettingsMap {
        let seal = |(key, value): (&str, &str)| {
            if value.is_empty() || !secrecy.covers(key, value) {
                return (key.to_owned(), value.to_owned());
            }
            let kept = stored.and_then(|stored| stored.get(key)).filter(|sealed| {
                sealed.starts_with(SEALED_PREFIX) && self.open_value(id, key, sealed).as_deref() == Ok(value)
            });
            (key.to_owned(), kept.map_or_else(|| self.seal_value(id, key, value), ToOwned::to_owned))
        };
        SettingsMap::from_flat(plain.iter().map(seal))
    }

    /// The same settings with every sealed value opened.
    pub(crate) fn open(&self, id: &str, sealed: &SettingsMap) -> Result<SettingsMap, UnopenedSecret> {
        let mut plain = sealed.clone();
        for (key, value) in sealed.iter().filter(|(_, value)| value.starts_with(SEALED_PREFIX)) {
            plain.insert(key, &self.open_value(id, key, value)?);
        }
        Ok(plain)
    }

    /// The same settings with every sealed value opened; those that do not open are left out.
    pub(crate) fn open_readable(&self, id: &str, sealed: &SettingsMap) -> SettingsMap {
        SettingsMap::from_flat(sealed.iter().filter_map(|(key, value)| {
            let is_sealed = value.starts_with(SEALED_PREFIX);
            let plain = if is_sealed { self.open_value(id, key, value).ok()? } else { value.to_owned() };
            Some((key.to_owned(), plain))
        }))
    }

    fn seal_value(&self, id: &str, key: &str, value: &str) -> String {
        let mut bytes = value.as_bytes().to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(binding(id, key), &mut bytes)
            .expect("values are far shorter than the cipher's limit");
        let sealed = [nonce.as_ref().as_slice(), &bytes].concat();
        format!("{SEALED_PREFIX}{}:{}", self.key_id, URL_SAFE_NO_PAD.encode(sealed))
    }

    fn open_value(&self, id: &str, key: &str, sealed: &str) -> Result<String, UnopenedSecret> {
        let fail = |reason| UnopenedSecret { key: key.to_owned(), reason };
        let text = sealed.strip_prefix(SEALED_PREFIX).ok_or_else(|| fail("it is not sealed"))?;
        let (key_id, text) = text.split_once(':').ok_or_else(|| fail("it names no key"))?;
        if key_id != self.key_id {
            return Err(fail("it was sealed with another key than this server has"));
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| fail("it is not base64"))?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN).ok_or_else(|| fail("it is too short"))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| fail("it is too short"))?;
        let plain = self
            .key
            .open_in_place(nonce, binding(id, key), sealed)
            .map_err(|_| fail("it was changed, or belongs to another connector or key"))?;
        String::from_utf8(plain.to_vec()).map_err(|_| fail("it is not text"))
    }
}

fn binding(id: &str, key: &str) -> Aad<String> {
    Aad::from(format!("{id}\n{}", key.to_ascii_lowercase()))
}

/// Puts stored secrets in the place of masks; `stored` is opened. A mask with nothing behind it is refused.
pub(crate) fn unmask(
    given: &SettingsMap,
    stored: Option<&SettingsMap>,
    secrecy: &Secrecy,
) -> Result<SettingsMap, SettingsErrors> {
    let mut plain = given.clone();
    let mut errors = Vec::new();
    for (key, value) in given.iter().filter(|(_, value)| *value == MASK) {
        match stored.and_then(|stored| stored.get(key)) {
            Some(secret) => plain.insert(key, secret),
            None if !secrecy.covers(key, value) => {}
            None => errors.push(SettingError {
                key: key.to_owned(),
                found: "is the mask, but there is no stored value to keep".to_owned(),
                expected: "the secret itself".to_owned(),
            }),
        }
    }
    SettingsErrors::check(errors).map(|()| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> SettingsMap {
        SettingsMap::from_flat(entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
    }

    fn secrecy() -> Secrecy {
        let described = |key: &str, secret| SettingDescription {
            key: key.to_owned(),
            value: forebay_connector::settings::ValueKind::Text,
            expected: "text".to_owned(),
            default: None,
            required: false,
            secret,
            words: Vec::new(),
            doc: String::new(),
        };
        Secrecy {
            descriptions: vec![
                described("authentication:basic:password", true),
                described("tokenEndpoint", false),
                described("defaultHeaders:*", false),
            ],
        }
    }

    #[test]
    fn described_secrets_and_what_looks_like_a_credential_are_covered() {
        let secrecy = secrecy();
        for (key, value, covered) in [
            ("Authentication:Basic:PASSWORD", "x", true),
            ("_authentication:basic:password", "x", true),
            ("tokenEndpoint", "x", false),
            ("defaultHeaders:Authorization", "x", true),
            ("defaultHeaders:X-Api-Key", "x", true),
            ("defaultHeaders:Set-Cookie", "x", true),
            ("defaultHeaders:X-Auth-Token", "x", true),
            ("defaultHeaders:Accept", "x", false),
            ("url", "https://host/path?a=b@c:d", false),
            ("url", "https://user:word@host/", true),
            ("unknown:clientSecret", "x", true),
        ] {
            assert_eq!(secrecy.covers(key, value), covered, "{key}");
        }
    }

    #[test]
    fn sealed_values_open_only_where_they_belong() {
        let vault = Vault::new(&[7; 32]);
        let plain = map(&[("defaultHeaders:Authorization", "Bearer hunter2"), ("url", "http://host")]);
        let sealed = vault.seal("orders", &plain, None, &secrecy());
        assert!(!format!("{sealed:?}").contains("hunter2"));
        assert_eq!(sealed.get("url"), Some("http://host"));
        assert_eq!(vault.open("orders", &sealed), Ok(plain));
        assert!(vault.open("others", &sealed).unwrap_err().to_string().contains("another connector"));
        let other_key = Vault::new(&[8; 32]).open("orders", &sealed).unwrap_err();
        assert!(other_key.to_string().contains("another key"));
        let moved = map(&[("defaultHeaders:Cookie", sealed.get("defaultHeaders:Authorization").unwrap())]);
        assert!(vault.open("orders", &moved).is_err());
        assert!(vault.open("orders", &map(&[("a", "sealed:v1:x")])).is_err());
    }

    #[test]
    fn texts_are_cleared_of_secrets() {
        let plain = map(&[("password", "hunter2"), ("defaultHeaders:Cookie", "a"), ("url", "http://host")]);
        let text = "http://host refused a:hunter2".to_owned();
        assert_eq!(secrecy().redacted(&plain, text), format!("http://host refused a:{MASK}"));
    }

    #[test]
    fn an_unchanged_secret_keeps_its_sealed_form() {
        let vault = Vault::new(&[7; 32]);
        let plain = map(&[("password", "hunter2")]);
        let sealed = vault.seal("orders", &plain, None, &secrecy());
        assert_eq!(vault.seal("orders", &plain, Some(&sealed), &secrecy()), sealed);
        assert_ne!(vault.seal("orders", &plain, None, &secrecy()), sealed);
    }

    #[test]
    fn a_value_that_reads_like_a_sealed_one_is_sealed_as_any_other() {
        let vault = Vault::new(&[7; 32]);
        let plain = map(&[("topic", "sealed:v1:mine")]);
        let sealed = vault.seal("orders", &plain, None, &secrecy());
        assert_eq!(vault.open("orders", &sealed), Ok(plain));
    }

    #[test]
    fn a_mask_keeps_what_is_stored_and_is_refused_where_nothing_is() {
        let stored = map(&[("password", "hunter2")]);
        let given = map(&[("password", MASK), ("topic", MASK)]);
        let plain = unmask(&given, Some(&stored), &secrecy()).unwrap();
        assert_eq!((plain.get("password"), plain.get("topic")), (Some("hunter2"), Some(MASK)));
        assert!(unmask(&given, None, &secrecy()).unwrap_err().to_string().starts_with("setting password is the mask"));
        assert_eq!(secrecy().masked(&map(&[("password", "x"), ("a", "b")])), map(&[("password", MASK), ("a", "b")]));
    }
}
