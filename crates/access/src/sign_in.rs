//! Owns verifying credentials: each pair costs its hash once, not once per request.
//!
//! A pair that was verified is remembered by a keyed hash of it, together with the stored hash that it was verified
//! against. A change of the password changes that, and disabling is looked up each time, so neither is overlooked.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use forebay_event::Clock;
use forebay_store::ReadError;

use crate::aging::Aging;
use crate::caller::{Caller, Credentials, Member, Who};
use crate::hasher::Busy;
use crate::users::Users;

/// So many pairs of a login and its password are remembered, for so long.
const RIGHT_MAX: usize = 10_000;
const RIGHT_FOR: Duration = Duration::from_secs(3600);
/// So many pairs that are wrong are remembered, for so long: a client that is set up wrongly asks again and again.
const WRONG_MAX: usize = 1_000;
const WRONG_FOR: Duration = Duration::from_secs(60);
const KEY_SIZE: usize = 32;

/// Why credentials let nobody in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// They are wrong; which part of them is not said.
    #[error("the login name or the password is wrong")]
    Wrong,
    /// Too many passwords are waiting to be verified.
    #[error("too many passwords are being verified")]
    Busy,
    /// Users cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<Busy> for SignInError {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

/// Verifies credentials.
pub(crate) struct SignIn {
    users: Users,
    clock: Arc<dyn Clock>,
    key: hmac::Key,
    right: Arc<Aging<Pair, Option<String>>>,
    wrong: Arc<Aging<Pair, Option<String>>>,
}

/// The keyed hash of a login and a password.
type Pair = [u8; KEY_SIZE];

impl SignIn {
    pub(crate) fn new(users: Users, clock: Arc<dyn Clock>) -> Self {
        let mut secret = [0; KEY_SIZE];
        aws_lc_rs::rand::fill(&mut secret).expect("the system gives random bytes, or nothing here is safe");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let (right, wrong) = (Arc::new(Aging::new(RIGHT_MAX, RIGHT_FOR)), Arc::new(Aging::new(WRONG_MAX, WRONG_FOR)));
        Self { users, clock, key, right, wrong }
    }

    /// The user who has shown these credentials.
    pub(crate) async fn verify(&self, credentials: &Credentials) -> Result<Caller, SignInError> {
        let user = self.users.find(&credentials.login).await?;
        let hash = user.as_ref().filter(|user| !user.disabled).and_then(|user| user.hash.clone());
        let is_right = match self.remembered(&self.pair(credentials), &hash) {
            Some(is_right) => is_right,
            None => self.work_out(credentials, hash).await?,
        };
        match user.filter(|_| is_right) {
            Some(user) => {
                let member = Member { login: user.login.clone(), groups: user.groups.clone() };
                Ok(Caller { who: Who::User(Arc::new(member)) })
            }
            None => Err(SignInError::Wrong),
        }
    }

    async fn work_out(&self, credentials: &Credentials, hash: Option<String>) -> Result<bool, SignInError> {
        let (pair, password, stored) = (self.pair(credentials), credentials.password.clone(), hash.clone());
        let known = || self.remembered(&pair, &hash);
        let is_right = self.users.hasher.run(known, move || password.is_of(stored.as_deref())).await?;
        let place = if is_right { &self.right } else { &self.wrong };
        place.put(place.ticket(), pair, hash, self.clock.monotonic());
        Ok(is_right)
    }

    /// What was found out about this pair and this stored hash before.
    fn remembered(&self, pair: &Pair, hash: &Option<String>) -> Option<bool> {
        let now = self.clock.monotonic();
        let holds = |place: &Aging<Pair, Option<String>>| place.get(pair, now).is_some_and(|known| known == *hash);
        if hash.is_some() && holds(&self.right) {
            Some(true)
        } else if holds(&self.wrong) {
            Some(false)
        } else {
            None
        }
    }

    fn pair(&self, Credentials { login, password }: &Credentials) -> Pair {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&login.len().to_le_bytes());
        context.update(login.as_bytes());
        context.update(password.reveal().as_bytes());
        let mut pair = [0; KEY_SIZE];
        for (to, from) in pair.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        pair
    }
}
