//! Owns the decisions: who a request comes from, and whether that one may do what it asks.

use std::sync::Arc;
use std::time::Duration;

use forebay_event::{Clock, StreamName};
use forebay_store::{Direction, EventStore, PageLimit, ReadError, ReadStream, StreamPoint};
use tokio::sync::watch;

use crate::aging::Aging;
use crate::caller::{Caller, Credentials, Member, Who};
use crate::guard::Guard;
use crate::lists::{AccessList, DefaultLists, Right, allows};
use crate::sign_in::{SignIn, SignInError};
use crate::user::UserStreams;
use crate::users::{Users, system_stream};

/// The stream of the default lists; its last event counts.
const SETTINGS: &str = "$settings";
/// So many lists are remembered, for so long: another process may change them.
const LISTS_MAX: usize = 10_000;
const LISTS_FOR: Duration = Duration::from_secs(10);

/// How much is asked of callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether callers are asked who they are; otherwise everybody may everything, and credentials are not looked at.
    pub asks: bool,
    /// Whether `$all` in an access list covers callers without credentials.
    pub anonymous_streams: bool,
}

/// What a caller must be for something that is not a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// A caller who may use streams: signed in, unless callers without credentials may as well.
    Streams,
    /// Signed in.
    SignedIn,
    /// A member of `$ops` or `$admins`.
    Operator,
    /// A member of `$admins`.
    Admin,
}

/// A caller may not do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("access is denied")]
pub struct AccessDenied {
    /// Whether credentials were missing, so that showing some may help.
    pub is_anonymous: bool,
}

/// Why something was not allowed.
#[derive(Debug)]
pub(crate) enum Unjudged {
    /// Its list does not name the caller.
    Denied(AccessDenied),
    /// Its list cannot be read.
    Unread(ReadError),
}

/// The decisions over one store. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    rules: Rules,
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    users: Users,
    sign_in: SignIn,
    lists: Aging<StreamName, Arc<AccessList>>,
    defaults: Aging<(), Arc<DefaultLists>>,
    changes: watch::Sender<u64>,
}

impl Access {
    /// Decides over this store, with the users in these streams of it, by these rules.
    pub fn new(store: Arc<dyn EventStore>, users: UserStreams, clock: Arc<dyn Clock>, rules: Rules) -> Self {
        let (changes, _) = watch::channel(0);
        let users = Users::new(store.clone(), users, clock.clone(), changes.clone());
        let sign_in = SignIn::new(users.clone(), clock.clone());
        let (lists, defaults) = (Aging::new(LISTS_MAX, LISTS_FOR), Aging::new(1, LISTS_FOR));
        Self { inner: Arc::new(Inner { rules, store, clock, users, sign_in, lists, defaults, changes }) }
    }

    /// Asks nobody who they are: everybody may everything.
    pub fn unasked(store: Arc<dyn EventStore>, clock: Arc<dyn Clock>) -> Self {
        Self::new(store, UserStreams::of_the_protocol(), clock, Rules { asks: false, anonymous_streams: true })
    }

    /// How much is asked of callers.
    pub fn rules(&self) -> Rules {
        self.inner.rules
    }

    /// The users.
    pub fn users(&self) -> &Users {
        &self.inner.users
    }

    /// Who a request comes from. Credentials that are not asked for are not looked at.
    pub async fn identify(&self, credentials: Option<&Credentials>) -> Result<Caller, SignInError> {
        match credentials {
            Some(credentials) if self.inner.rules.asks => self.inner.sign_in.verify(credentials).await,
            _ => Ok(self.unknown()),
        }
    }

    /// A caller of whom nothing is known.
    pub fn unknown(&self) -> Caller {
        Caller { who: if self.inner.rules.asks { Who::Anonymous } else { Who::Unasked } }
    }

    /// The store as a caller may use it.
    pub fn guard(&self, caller: Caller) -> Guard {
        Guard::new(self.clone(), caller)
    }

    /// Whether a caller is what something needs.
    pub fn check(&self, caller: &Caller, need: Need) -> Result<(), AccessDenied> {
        let holds = match need {
            Need::Nothing => true,
            Need::Streams => !caller.is_anonymous() || self.inner.rules.anonymous_streams,
            Need::SignedIn => !caller.is_anonymous(),
            Need::Operator => caller.is_operator(),
            Need::Admin => caller.is_admin(),
        };
        if holds { Ok(()) } else { Err(AccessDenied { is_anonymous: caller.is_anonymous() }) }
    }

    /// Whether a caller is the user of this name, or may speak for it.
    pub fn check_self(&self, caller: &Caller, login: &str) -> Result<(), AccessDenied> {
        if caller.login() == Some(login) { Ok(()) } else { self.check(caller, Need::Admin) }
    }

    pub(crate) fn store(&self) -> &Arc<dyn EventStore> {
        &self.inner.store
    }

    /// Whether a caller has a right on a stream; `$all` is a stream here.
    pub(crate) async fn judge(&self, caller: &Caller, stream: &StreamName, right: Right) -> Result<(), Unjudged> {
        if caller.is_admin() {
            return Ok(());
        }
        let (stream, right) = right.decided_by(stream);
        let list = self.list(&stream).await.map_err(Unjudged::Unread)?;
        let defaults = self.defaults().await.map_err(Unjudged::Unread)?;
        if allows(caller, (&stream, right), &list, &defaults, self.inner.rules.anonymous_streams) {
            Ok(())
        } else {
            Err(Unjudged::Denied(AccessDenied { is_anonymous: caller.is_anonymous() }))
        }
    }

    /// The same caller as it is now: a user may be in other groups since, or may be one no more.
    pub(crate) async fn renewed(&self, caller: &Caller) -> Result<Caller, Unjudged> {
        let Some(login) = caller.login() else { return Ok(caller.clone()) };
        let user = self.inner.users.find(login).await.map_err(Unjudged::Unread)?;
        let user = user.filter(|user| !user.disabled).ok_or(Unjudged::Denied(AccessDenied { is_anonymous: false }))?;
        let member = Member { login: user.login.clone(), groups: user.groups.clone() };
        Ok(Caller { who: Who::User(Arc::new(member)) })
    }

    /// Tells of every change to users or lists that is made here; running subscriptions are then judged anew.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Something about this stream was written: what was remembered of it is not true any more.
    pub(crate) fn forget(&self, stream: &StreamName) {
        let described = stream.described_stream();
        self.inner.lists.forget(described.as_ref().unwrap_or(stream));
        if stream.as_str() == SETTINGS {
            self.inner.defaults.forget(&());
        }
        if let Some(login) = self.inner.users.streams.login_of(stream) {
            self.inner.users.forget(login);
        }
        self.inner.changes.send_modify(|count| *count += 1);
    }

    /// Whether writing to a stream may change what is allowed to whom.
    pub(crate) fn follows(&self, stream: &StreamName) -> bool {
        stream.is_metadata() || stream.as_str() == SETTINGS || self.inner.users.streams.login_of(stream).is_some()
    }

    async fn list(&self, stream: &StreamName) -> Result<Arc<AccessList>, ReadError> {
        let now = self.inner.clock.monotonic();
        if let Some(list) = self.inner.lists.get(stream, now) {
            return Ok(list);
        }
        let ticket = self.inner.lists.ticket();
        let list = match self.inner.store.metadata(stream).await {
            Ok((metadata, _)) => AccessList::read(metadata.as_object().get("$acl")),
            // Whoever asks is told that it is deleted, or not there.
            Err(ReadError::StreamDeleted { .. } | ReadError::StreamNotFound { .. }) => AccessList::default(),
            Err(error) => return Err(error),
        };
        let list = Arc::new(list);
        self.inner.lists.put(ticket, stream.clone(), list.clone(), now);
        Ok(list)
    }

    async fn defaults(&self) -> Result<Arc<DefaultLists>, ReadError> {
        let now = self.inner.clock.monotonic();
        if let Some(defaults) = self.inner.defaults.get(&(), now) {
            return Ok(defaults);
        }
        let ticket = self.inner.defaults.ticket();
        let (direction, from, limit) = (Direction::Backward, StreamPoint::End, PageLimit::events(1));
        let read = ReadStream { stream: system_stream(SETTINGS), direction, from, limit };
        let defaults = match self.inner.store.read_stream(read).await {
            Ok(page) => page.events.first().map(|event| DefaultLists::read(event.data_slice())).unwrap_or_default(),
            Err(ReadError::StreamDeleted { .. } | ReadError::StreamNotFound { .. }) => DefaultLists::default(),
            Err(error) => return Err(error),
        };
        let defaults = Arc::new(defaults);
        self.inner.defaults.put(ticket, (), defaults.clone(), now);
        Ok(defaults)
    }
}
