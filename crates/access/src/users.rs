//! Owns the directory of users: finding, listing, and changing them.

use std::sync::Arc;
use std::time::Duration;

use forebay_event::{Clock, ExpectedRevision, ProposedEvent, Revision, StreamName, Timestamp};
use forebay_store::{
    AppendError, AppendRequest, Direction, EventStore, METADATA_TYPE, PageLimit, ReadError, ReadStream, StreamPoint,
};
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use crate::Password;
use crate::aging::Aging;
use crate::caller::ADMINS;
use crate::hasher::{Busy, Hasher};
use crate::password::NoRandom;
use crate::user::{
    CREATED_TYPE, NAMED_TYPE, UPDATED_TYPE, User, UserStreams, check_full_name, check_groups, check_login,
};

/// There are, and were, at most so many users.
const USERS_MAX: usize = 10_000;
/// So many users are remembered, for so long: another process may change them.
const REMEMBERED_MAX: usize = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// A change that another one overtakes is made anew so many times.
const ATTEMPTS_MAX: usize = 3;
/// The names of users are read in pages of so many.
const PAGE_EVENTS: usize = 1000;

/// A user to be.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The name to sign in with.
    pub login: String,
    /// The name for people.
    pub full_name: String,
    /// The groups it is in.
    pub groups: Vec<String>,
    /// What it signs in with.
    pub password: Password,
}

/// Why something about users was not done.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is no such user.
    #[error("there is no user {login:?}")]
    NotFound {
        /// Which.
        login: String,
    },
    /// There is one already, or others change it at the same time.
    #[error("the user {login:?} is there already, or is being changed by somebody else")]
    Conflict {
        /// Which.
        login: String,
    },
    /// A part of the user is not valid.
    #[error("{field} of the user is not valid: {expected}")]
    Invalid {
        /// Which part.
        field: &'static str,
        /// What is expected.
        expected: &'static str,
    },
    /// The present password is another one.
    #[error("the present password of {login:?} is another one")]
    WrongPassword {
        /// Whose.
        login: String,
    },
    /// There are as many users as there may be, those deleted included.
    #[error("there are {limit} users, the most this server takes")]
    TooMany {
        /// The bound.
        limit: usize,
    },
    /// Too many passwords are waiting to be verified.
    #[error("too many passwords are being verified")]
    Busy,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log cannot be written.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<Busy> for UserError {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

impl From<NoRandom> for UserError {
    fn from(_: NoRandom) -> Self {
        Self::NoRandom
    }
}

/// All users of a store. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) streams: Arc<UserStreams>,
    clock: Arc<dyn Clock>,
    remembered: Arc<Aging<String, Option<Arc<User>>>>,
    pub(crate) hasher: Arc<Hasher>,
    changes: watch::Sender<u64>,
}

impl Users {
    /// Users of this store; `changes` counts what may change decisions.
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        streams: UserStreams,
        clock: Arc<dyn Clock>,
        changes: watch::Sender<u64>,
    ) -> Self {
        let remembered = Arc::new(Aging::new(REMEMBERED_MAX, REMEMBERED_FOR));
        Self { store, streams: Arc::new(streams), clock, remembered, hasher: Arc::new(Hasher::new()), changes }
    }

    /// A user as it is now.
    pub async fn details(&self, login: &str) -> Result<User, UserError> {
        self.fresh(login).await?.ok_or_else(|| UserError::NotFound { login: login.to_owned() })
    }

    /// All users, in the order in which they came.
    pub async fn list(&self) -> Result<Vec<User>, UserError> {
        let mut users = Vec::new();
        for login in self.logins().await? {
            users.extend(self.fresh(&login).await?);
        }
        Ok(users)
    }

    /// Adds a user.
    pub async fn create(&self, new: NewUser) -> Result<(), UserError> {
        let NewUser { login, full_name, groups, password } = new;
        let stream = self.checked_stream(&login)?;
        check("fullName", check_full_name(&full_name))?;
        check("groups", check_groups(&groups))?;
        if self.fresh(&login).await?.is_some() {
            return Err(UserError::Conflict { login });
        }
        let hash = Some(self.hash(password).await?);
        let (updated, revision) = (Timestamp::default(), Revision::FIRST);
        let user = User { login, full_name, groups, disabled: false, updated, hash, revision };
        // Named first: a name without a user is passed over, a user without a name would not be found again.
        let named = self.logins().await?;
        if !named.contains(&user.login) {
            if named.len() >= USERS_MAX {
                return Err(UserError::TooMany { limit: USERS_MAX });
            }
            let named = ProposedEvent::json(Uuid::new_v4(), NAMED_TYPE, user.login.clone());
            self.append(self.streams.names(), ExpectedRevision::Any, named).await?;
        }
        let access = ProposedEvent::json(Uuid::new_v4(), METADATA_TYPE, admins_alone());
        self.append(stream.metadata_stream(), ExpectedRevision::Any, access).await?;
        let expected = self.vacancy(&stream).await?.ok_or_else(|| UserError::Conflict { login: user.login.clone() })?;
        self.write(stream, &user, (CREATED_TYPE, expected)).await
    }

    /// On what condition a user may move into a stream; none when one lives there. A user who had the name before has
    /// left revisions behind.
    async fn vacancy(&self, stream: &StreamName) -> Result<Option<ExpectedRevision>, ReadError> {
        let (direction, from, limit) = (Direction::Backward, StreamPoint::End, PageLimit::events(1));
        match self.store.read_stream(ReadStream { stream: stream.clone(), direction, from, limit }).await {
            Ok(page) => Ok(page.events.is_empty().then_some(ExpectedRevision::Exact(page.last_revision))),
            Err(ReadError::StreamNotFound { .. }) => Ok(Some(ExpectedRevision::NoStream)),
            Err(error) => Err(error),
        }
    }

    /// Gives a user another full name and other groups.
    pub async fn update(&self, login: &str, full_name: String, groups: Vec<String>) -> Result<(), UserError> {
        check("fullName", check_full_name(&full_name))?;
        check("groups", check_groups(&groups))?;
        self.change(login, |user| User { full_name: full_name.clone(), groups: groups.clone(), ..user }).await
    }

    /// Lets a user sign in, or does not.
    pub async fn set_disabled(&self, login: &str, disabled: bool) -> Result<(), UserError> {
        self.change(login, |user| User { disabled, ..user }).await
    }

    /// Removes a user. Another one may have the name later.
    pub async fn delete(&self, login: &str) -> Result<(), UserError> {
        self.details(login).await?;
        let stream = self.checked_stream(login)?;
        let (users, login) = (self.clone(), login.to_owned());
        let deleting = tokio::spawn(async move {
            let deleted = users.store.delete(&stream, ExpectedRevision::Any).await;
            users.forget(&login);
            deleted
        });
        deleting.await.map_err(|_| broken_off()).and_then(|deleted| deleted)?;
        Ok(())
    }

    /// Gives a user another password, whatever the present one is.
    pub async fn reset_password(&self, login: &str, password: Password) -> Result<(), UserError> {
        self.details(login).await?;
        let hash = self.hash(password).await?;
        self.change(login, |user| User { hash: Some(hash.clone()), ..user }).await
    }

    /// Gives a user another password if the present one is known.
    pub async fn change_password(&self, login: &str, current: Password, new: Password) -> Result<(), UserError> {
        let user = self.details(login).await?;
        let present = user.hash.clone();
        let is_right = self.hasher.run(|| None, move || current.is_of(present.as_deref())).await?;
        if !is_right || user.disabled {
            return Err(UserError::WrongPassword { login: login.to_owned() });
        }
        let hash = self.hash(new).await?;
        let changed = User { hash: Some(hash), ..user };
        let expected = ExpectedRevision::Exact(changed.revision);
        self.write(self.checked_stream(login)?, &changed, (UPDATED_TYPE, expected)).await
    }

    /// A user as it was not long ago; none when there is none of this name.
    pub(crate) async fn find(&self, login: &str) -> Result<Option<Arc<User>>, ReadError> {
        let now = self.clock.monotonic();
        let key = login.to_owned();
        if let Some(user) = self.remembered.get(&key, now) {
            return Ok(user);
        }
        let ticket = self.remembered.ticket();
        let user = self.fresh(login).await?.map(Arc::new);
        self.remembered.put(ticket, key, user.clone(), now);
        Ok(user)
    }

    /// A user may have changed.
    pub(crate) fn forget(&self, login: &str) {
        self.remembered.forget(&login.to_owned());
        self.changes.send_modify(|count| *count += 1);
    }

    async fn fresh(&self, login: &str) -> Result<Option<User>, ReadError> {
        let Some(stream) = self.streams.of(login) else { return Ok(None) };
        let (direction, from, limit) = (Direction::Backward, StreamPoint::End, PageLimit::events(1));
        match self.store.read_stream(ReadStream { stream, direction, from, limit }).await {
            Ok(page) => Ok(page.events.first().and_then(|event| User::of_event(login, event))),
            Err(ReadError::StreamNotFound { .. } | ReadError::StreamDeleted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn checked_stream(&self, login: &str) -> Result<StreamName, UserError> {
        check("loginName", check_login(login))?;
        self.streams.of(login).ok_or_else(|| UserError::NotFound { login: login.to_owned() })
    }

    /// The names of all users there ever were.
    pub(crate) async fn logins(&self) -> Result<Vec<String>, ReadError> {
        let mut logins: Vec<String> = Vec::new();
        let (direction, limit) = (Direction::Forward, PageLimit::events(PAGE_EVENTS));
        let mut from = Some(StreamPoint::Start);
        while let Some(point) = from
            && logins.len() < USERS_MAX
        {
            let read = ReadStream { stream: self.streams.names(), direction, from: point, limit };
            let page = match self.store.read_stream(read).await {
                Ok(page) => page,
                Err(ReadError::StreamNotFound { .. } | ReadError::StreamDeleted { .. }) => break,
                Err(error) => return Err(error),
            };
            let named = page.events.iter().filter_map(|event| std::str::from_utf8(event.data_slice()).ok());
            for login in named.filter(|login| check_login(login).is_ok()) {
                if !logins.iter().any(|known| known == login) {
                    logins.push(login.to_owned());
                }
            }
            from = page.next.map(StreamPoint::At);
        }
        Ok(logins)
    }

    async fn hash(&self, password: Password) -> Result<String, UserError> {
        Ok(self.hasher.run(|| None, move || password.hash()).await??)
    }

    /// Changes a user, again if somebody else was faster.
    async fn change(&self, login: &str, change: impl Fn(User) -> User) -> Result<(), UserError> {
        for _ in 0..ATTEMPTS_MAX {
            let user = self.details(login).await?;
            let expected = ExpectedRevision::Exact(user.revision);
            let changed = change(user);
            match self.write(self.checked_stream(login)?, &changed, (UPDATED_TYPE, expected)).await {
                Err(UserError::Conflict { .. }) => {}
                done => return done,
            }
        }
        Err(UserError::Conflict { login: login.to_owned() })
    }

    async fn write(
        &self,
        stream: StreamName,
        user: &User,
        (event_type, expected): (&str, ExpectedRevision),
    ) -> Result<(), UserError> {
        let event = ProposedEvent::json(Uuid::new_v4(), event_type, user.to_data());
        let (users, login) = (self.clone(), user.login.clone());
        // A task of its own: what was remembered is forgotten also when whoever asked has gone.
        let writing = tokio::spawn(async move {
            let written = users.append(stream, expected, event).await;
            users.forget(&login);
            written
        });
        match writing.await.map_err(|_| broken_off()).and_then(|written| written) {
            Err(AppendError::WrongExpectedRevision { .. }) => Err(UserError::Conflict { login: user.login.clone() }),
            other => Ok(other?),
        }
    }

    async fn append(
        &self,
        stream: StreamName,
        expected: ExpectedRevision,
        event: ProposedEvent,
    ) -> Result<(), AppendError> {
        self.store.append(AppendRequest { stream, expected, events: vec![event] }).await.map(drop)
    }
}

fn broken_off() -> AppendError {
    AppendError::Unavailable { reason: "the write broke off".to_owned() }
}

/// The metadata of a user's stream.
pub(crate) fn admins_alone() -> String {
    json!({ "$acl": { "$r": ADMINS, "$w": ADMINS, "$d": ADMINS, "$mr": ADMINS, "$mw": ADMINS } }).to_string()
}

pub(crate) fn system_stream(name: &str) -> StreamName {
    StreamName::new(name).expect("the name is not empty")
}

fn check(field: &'static str, checked: Result<(), &'static str>) -> Result<(), UserError> {
    checked.map_err(|expected| UserError::Invalid { field, expected })
}
