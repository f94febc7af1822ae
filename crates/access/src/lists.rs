//! Owns access lists: how they are read from metadata and from `$settings`, and whom they let in.
//!
//! ```text
//!  the stream's `$acl`  ─ says nothing about the right ─▶  `$settings`  ─ says nothing ─▶  everybody, or for system
//!                                                                                          streams administrators
//! ```

use forebay_event::StreamName;
use serde_json::{Map, Value};

use crate::caller::{ADMINS, Caller, Who};

/// The name in a list that stands for all who have signed in.
const EVERYBODY: &str = "$all";

/// What somebody may do with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Read its events.
    Read,
    /// Append events.
    Write,
    /// Delete it, softly or for good.
    Delete,
    /// Read its metadata.
    ReadMetadata,
    /// Write its metadata.
    WriteMetadata,
}

impl Right {
    const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Delete, Self::ReadMetadata, Self::WriteMetadata];

    const fn key(self) -> &'static str {
        match self {
            Self::Read => "$r",
            Self::Write => "$w",
            Self::Delete => "$d",
            Self::ReadMetadata => "$mr",
            Self::WriteMetadata => "$mw",
        }
    }

    /// The stream whose list decides, and on which right: a metadata stream has no list of its own.
    pub(crate) fn decided_by(self, stream: &StreamName) -> (StreamName, Self) {
        match (stream.described_stream(), self) {
            (Some(described), Self::Read | Self::ReadMetadata) => (described, Self::ReadMetadata),
            (Some(described), Self::Write | Self::Delete | Self::WriteMetadata) => (described, Self::WriteMetadata),
            (None, right) => (stream.clone(), right),
        }
    }
}

/// What a list may say instead of names: that the stream is to be like one of the users', or of the system's.
const LIKE_USER: &str = "$userStreamAcl";
const LIKE_SYSTEM: &str = "$systemStreamAcl";

/// Names of users and groups, for each right that is spoken of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccessList {
    by_right: [Option<Vec<String>>; 5],
    like_system: Option<bool>,
}

impl AccessList {
    /// Reads a list as metadata holds it. What is not a list of names names nobody.
    pub(crate) fn read(value: Option<&Value>) -> Self {
        let names = |right: Right| match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => names(object, right.key()),
            Some(_) => Some(Vec::new()),
        };
        match value.and_then(Value::as_str) {
            Some(LIKE_USER) => Self { like_system: Some(false), ..Self::default() },
            Some(LIKE_SYSTEM) => Self { like_system: Some(true), ..Self::default() },
            _ => Self { by_right: Right::ALL.map(names), like_system: None },
        }
    }

    fn names(&self, right: Right) -> Option<&[String]> {
        let [read, write, delete, read_metadata, write_metadata] = &self.by_right;
        let names = match right {
            Right::Read => read,
            Right::Write => write,
            Right::Delete => delete,
            Right::ReadMetadata => read_metadata,
            Right::WriteMetadata => write_metadata,
        };
        names.as_deref()
    }
}

fn names(object: &Map<String, Value>, key: &str) -> Option<Vec<String>> {
    match object.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(vec![name.clone()]),
        Some(Value::Array(items)) => {
            let names: Option<Vec<_>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            Some(names.unwrap_or_default())
        }
        Some(_) => Some(Vec::new()),
    }
}

/// The lists of streams that say nothing themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DefaultLists {
    user: AccessList,
    system: AccessList,
}

impl DefaultLists {
    /// Reads the data of an event of `$settings`; what is not JSON says nothing.
    pub(crate) fn read(data: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(data).unwrap_or_default();
        Self { user: AccessList::read(value.get(LIKE_USER)), system: AccessList::read(value.get(LIKE_SYSTEM)) }
    }
}

/// Whether a caller has a right on a stream. A metadata stream is decided by the stream it describes, see
/// [`Right::decided_by`]. `$all` in a list covers callers without credentials only if `anonymous_streams` says so.
pub(crate) fn allows(
    caller: &Caller,
    (stream, right): (&StreamName, Right),
    list: &AccessList,
    defaults: &DefaultLists,
    anonymous_streams: bool,
) -> bool {
    let (of_kind, built_in) = if list.like_system.unwrap_or(stream.is_system()) {
        (&defaults.system, ADMINS)
    } else {
        (&defaults.user, EVERYBODY)
    };
    let covers = |name: &str| match &caller.who {
        Who::Unasked => true,
        Who::Anonymous => name == EVERYBODY && anonymous_streams,
        Who::User(member) => {
            name == EVERYBODY || name == member.login || member.groups.iter().any(|group| group == name)
        }
    };
    if caller.is_admin() {
        return true;
    }
    match list.names(right).or_else(|| of_kind.names(right)) {
        Some(names) => names.iter().any(|name| covers(name)),
        None => covers(built_in),
    }
}

#[cfg(test)]
mod tests;
