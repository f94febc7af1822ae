//! Owns how the server stands towards its network: whether it asks callers who they are, and what it refuses to serve.
//!
//! | address | TLS | `auth` | without `insecure` | with `insecure` |
//! | --- | --- | --- | --- | --- |
//! | loopback | no | not said | asks nobody | asks nobody |
//! | loopback | yes | not said | asks | asks nobody |
//! | other | no | not said | refused | asks nobody |
//! | other | yes | not said | asks | asks nobody |
//! | loopback | either | on, off | as said | as said |
//! | other | no | on | refused: passwords in clear text | asks |
//! | other | yes | on | asks | asks |
//! | other | either | off | refused | asks nobody |

use crate::config::Config;

/// What would be served without protection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found}: expected {expected}")]
pub struct Exposed {
    /// What was found.
    pub found: String,
    /// What is expected.
    pub expected: &'static str,
}

/// Whether callers are asked who they are, or why nothing may be served so.
pub(crate) fn asks(config: &Config) -> Result<bool, Exposed> {
    let Config { listen, insecure, auth, .. } = config;
    let (is_local, has_tls) = (listen.ip().is_loopback(), config.tls.is_some());
    let exposed = |lack: &str| {
        let found = format!("is {listen}, which other machines can reach, {lack}");
        let expected =
            "a loopback address such as 127.0.0.1:2113, TLS with auth on, or --insecure to serve it all the same";
        Err(Exposed { found, expected })
    };
    match (is_local || *insecure, has_tls, auth) {
        (false, false, None | Some(false)) => exposed("without TLS or authentication"),
        (false, false, Some(true)) => exposed("without TLS: passwords would be sent in clear text"),
        (false, true, Some(false)) => exposed("without authentication"),
        (_, _, Some(said)) => Ok(*said),
        (_, has_tls, None) => Ok(has_tls && !insecure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsFiles;

    #[test]
    fn nothing_is_served_to_other_machines_unprotected_unless_the_operator_insists() {
        for (listen, has_tls, insecure, auth, expected) in [
            ("127.0.0.1:2113", false, false, None, Some(false)),
            ("127.0.0.1:2113", false, false, Some(true), Some(true)),
            ("[::1]:2113", false, false, Some(false), Some(false)),
            ("127.0.0.1:2113", false, true, None, Some(false)),
            ("127.0.0.1:2113", false, true, Some(true), Some(true)),
            ("0.0.0.0:2113", false, false, None, None),
            ("0.0.0.0:2113", false, false, Some(true), None),
            ("10.0.0.1:2113", false, false, Some(false), None),
            ("0.0.0.0:2113", false, true, None, Some(false)),
            ("[::]:2113", false, true, Some(true), Some(true)),
            ("0.0.0.0:2113", false, true, Some(false), Some(false)),
            ("127.0.0.1:2113", true, false, None, Some(true)),
            ("127.0.0.1:2113", true, true, None, Some(false)),
            ("127.0.0.1:2113", true, false, Some(false), Some(false)),
            ("0.0.0.0:2113", true, false, None, Some(true)),
            ("0.0.0.0:2113", true, false, Some(true), Some(true)),
            ("0.0.0.0:2113", true, false, Some(false), None),
            ("0.0.0.0:2113", true, true, None, Some(false)),
            ("0.0.0.0:2113", true, true, Some(false), Some(false)),
        ] {
            let tls = has_tls.then(TlsFiles::default);
            let config = Config { listen: listen.parse().unwrap(), tls, insecure, auth, ..Config::default() };
            assert_eq!(asks(&config).ok(), expected, "{listen} {has_tls} {insecure} {auth:?}");
        }
    }
}
