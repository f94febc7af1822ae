//! Owns the signature of requests, as the Standard Webhooks specification has it.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_connector::settings::Secret;

/// What a key's text begins with.
const PREFIX: &str = "whsec_";
/// Shorter keys protect nothing; the specification asks for at least so many bytes.
const KEY_BYTES_MIN: usize = 24;

/// Signs requests with one key, or with two while receivers change over.
pub(super) struct Signer {
    keys: Vec<hmac::Key>,
}

impl Signer {
    /// Takes the keys; none when one of them is not valid.
    pub(super) fn new<'a>(secrets: impl Iterator<Item = &'a Secret>) -> Option<Self> {
        let key = |secret: &Secret| {
            let text = secret.expose().trim();
            let bytes = STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text)).ok()?;
            (bytes.len() >= KEY_BYTES_MIN).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        secrets.map(key).collect::<Option<Vec<_>>>().map(|keys| Self { keys })
    }

    /// The value of `webhook-signature` for this id, time (seconds since 1970) and body.
    pub(super) fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let signature = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{seconds}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        self.keys.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_s_example_comes_out() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signer = Signer::new([&secret].into_iter()).unwrap();
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = Signer::new([&secret, &secret].into_iter()).unwrap().sign("a", 1, b"");
        assert_eq!(both.split(' ').count(), 2);
    }

    #[test]
    fn short_and_garbled_keys_are_refused() {
        for wrong in ["whsec_", "whsec_AAAA", "whsec_%%%"] {
            assert!(Signer::new([&Secret::new(wrong)].into_iter()).is_none());
        }
    }
}
