//! Owns who asks: nobody in particular, somebody without credentials, or a user with groups.

use std::fmt;
use std::sync::Arc;

use crate::Password;

/// The group whose members may everything.
pub(crate) const ADMINS: &str = "$admins";
/// The group whose members operate the server.
pub(crate) const OPERATORS: &str = "$ops";

/// What a request says about who asks.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The login name.
    pub login: String,
    /// The password.
    pub password: Password,
}

/// Who asks. Only [`Access`](crate::Access) makes callers that may something.
#[derive(Clone)]
pub struct Caller {
    pub(crate) who: Who,
}

/// The kinds of callers.
#[derive(Clone)]
pub(crate) enum Who {
    /// The server asks nobody who they are.
    Unasked,
    /// Somebody without credentials.
    Anonymous,
    /// A user who has shown a password.
    User(Arc<Member>),
}

/// A user as decisions see one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) login: String,
    pub(crate) groups: Vec<String>,
}

impl Caller {
    /// Somebody without credentials.
    pub fn anonymous() -> Self {
        Self { who: Who::Anonymous }
    }

    /// The login name; none for callers who are no users.
    pub fn login(&self) -> Option<&str> {
        match &self.who {
            Who::User(member) => Some(&member.login),
            Who::Unasked | Who::Anonymous => None,
        }
    }

    /// Whether the caller has shown no credentials although the server asks for them.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.who, Who::Anonymous)
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.is_of(ADMINS)
    }

    pub(crate) fn is_operator(&self) -> bool {
        self.is_of(OPERATORS) || self.is_admin()
    }

    fn is_of(&self, group: &str) -> bool {
        match &self.who {
            Who::Unasked => true,
            Who::Anonymous => false,
            Who::User(member) => member.groups.iter().any(|own| own == group),
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Unasked => f.write_str("Unasked"),
            Who::Anonymous => f.write_str("Anonymous"),
            Who::User(member) => f.debug_tuple("User").field(&member.login).finish(),
        }
    }
}
