//! Owns who a request comes from, and the gate before each route.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use forebay_access::{Access, Caller, Credentials, Need, Password, SignInError};
use http::request::Parts;
use http::{Extensions, HeaderMap, header};

use crate::grpc;
use crate::status::Refusal;
use crate::status::grpc as grpc_status;

/// What the value of the header begins with; the rest is `login:password` in base64.
const SCHEME: &str = "basic ";
/// Paths where credentials are not looked at: whoever probes with a password that was changed, or while users cannot be
/// read, must not take a node that works for a broken one.
const PROBES: [&str; 2] = ["/health/live", "/health/ready"];
/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Finds out who asks and lays it next to the request. The header goes no further, so nothing can repeat it.
///
/// Wrong credentials are refused wherever they are shown, also where none are needed: so does the original, and a client
/// learns early that its password is wrong.
pub(crate) async fn identify(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let is_probe = PROBES.contains(&request.uri().path());
    let caller = if is_probe { Ok(access.unknown()) } else { caller(&access, request.headers()).await };
    match caller {
        Ok(caller) => {
            request.headers_mut().remove(header::AUTHORIZATION);
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) if grpc::is_call(request.headers()) => grpc_status::of_sign_in(error).into_http(),
        Err(error) => Refusal::from(error).into_response(),
    }
}

/// Lets in whoever is what the route needs.
pub(crate) async fn let_in(State((access, need)): State<(Access, Need)>, request: Request, next: Next) -> Response {
    match access.check(&caller_of(&access, request.extensions()), need) {
        Ok(()) => next.run(request).await,
        Err(denied) => Refusal::from(denied).into_response(),
    }
}

/// The caller that was laid next to a request; one of whom nothing is known when none was.
pub(crate) fn caller_of(access: &Access, extensions: &Extensions) -> Caller {
    extensions.get::<Caller>().cloned().unwrap_or_else(|| access.unknown())
}

/// Who asks, for handlers that decide by it.
pub(crate) struct Asking(pub(crate) Caller);

impl FromRequestParts<Access> for Asking {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, access: &Access) -> Result<Self, Infallible> {
        Ok(Self(caller_of(access, &parts.extensions)))
    }
}

async fn caller(access: &Access, headers: &HeaderMap) -> Result<Caller, SignInError> {
    if !access.rules().asks {
        return Ok(access.unknown());
    }
    match headers.get(header::AUTHORIZATION) {
        None => access.identify(None).await,
        Some(value) => {
            let credentials = value.to_str().ok().and_then(basic).ok_or(SignInError::Wrong)?;
            access.identify(Some(&credentials)).await
        }
    }
}

fn basic(value: &str) -> Option<Credentials> {
    let (scheme, encoded) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    let (login, password) = text.split_once(':')?;
    Some(Credentials { login: login.to_owned(), password: Password::new(password)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_the_header_has_them() {
        let read = |value| basic(value).map(|read| (read.login, read.password.reveal().to_owned()));
        let expected = Some(("ops".to_owned(), "p:ß".to_owned()));
        for value in ["Basic b3BzOnA6w58=", "basic b3BzOnA6w58", "BASIC  b3BzOnA6w58="] {
            assert_eq!(read(value), expected, "{value}");
        }
        for wrong in
            ["", "Basic", "Basic ", "Bearer b3BzOnA6w58=", "Basic b3Bz", "Basic b3BzOg==", "Basic ?", "Bäsic x"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
