//! Owns a user: what is known of one, the form it is stored in, and the rules of names.
//!
//! ```text
//!  $user-{login}   $UserCreated, $UserUpdated: the user whole, as JSON; the last event counts
//!  $users          $User: the login name as text, once for each user there ever was
//! ```

use forebay_event::{RecordedEvent, Revision, StreamName, Timestamp};
use serde_json::{Value, json};

/// Where users are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserStreams {
    /// The stream that names all users.
    names: String,
    /// What the streams of users begin with.
    prefix: String,
}

impl UserStreams {
    /// Where clients of the protocol look for them: `$users` and `$user-{login}`.
    pub fn of_the_protocol() -> Self {
        Self { names: "$users".to_owned(), prefix: "$user-".to_owned() }
    }

    /// Apart from the users of a cluster, whose own streams are not ours to write: below this prefix.
    pub fn below(prefix: &str) -> Self {
        Self { names: format!("{prefix}/users"), prefix: format!("{prefix}/user-") }
    }

    /// The stream that names all users.
    pub(crate) fn names(&self) -> StreamName {
        StreamName::new(&self.names).expect("a prefix and more is not empty")
    }

    /// The stream of a user; none when there can be no such user.
    pub(crate) fn of(&self, login: &str) -> Option<StreamName> {
        check_login(login).ok()?;
        StreamName::new(&format!("{}{login}", self.prefix)).ok()
    }

    /// Whose stream this is.
    pub(crate) fn login_of<'a>(&self, stream: &'a StreamName) -> Option<&'a str> {
        stream.as_str().strip_prefix(&*self.prefix)
    }
}

/// Types of events in those.
pub(crate) const CREATED_TYPE: &str = "$UserCreated";
pub(crate) const UPDATED_TYPE: &str = "$UserUpdated";
/// Type of the events that name users.
pub(crate) const NAMED_TYPE: &str = "$User";

/// A login name or a group holds at most so many bytes.
const NAME_LENGTH_MAX: usize = 128;
/// A full name holds at most so many bytes.
const FULL_NAME_LENGTH_MAX: usize = 1024;
/// A user is in at most so many groups.
const GROUPS_MAX: usize = 32;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name to sign in with.
    pub login: String,
    /// The name for people.
    pub full_name: String,
    /// The groups it is in.
    pub groups: Vec<String>,
    /// Whether it may not sign in.
    pub disabled: bool,
    /// When it was changed last.
    pub updated: Timestamp,
    pub(crate) hash: Option<String>,
    pub(crate) revision: Revision,
}

impl User {
    /// Whether it has a password to sign in with.
    pub fn has_password(&self) -> bool {
        self.hash.is_some()
    }

    /// Reads the user from the last event of its stream; none when that is no user.
    pub(crate) fn of_event(login: &str, event: &RecordedEvent) -> Option<Self> {
        let said: Value = serde_json::from_slice(event.data_slice()).ok()?;
        let text = |key: &str| said.get(key).and_then(Value::as_str);
        let groups = said.get("groups").and_then(Value::as_array);
        let groups = groups.map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        Some(Self {
            login: text("loginName").filter(|name| *name == login)?.to_owned(),
            full_name: text("fullName").unwrap_or_default().to_owned(),
            groups: groups.unwrap_or_default(),
            // Whoever cannot be read to be enabled is not.
            disabled: said.get("disabled").and_then(Value::as_bool).unwrap_or(true),
            updated: event.created(),
            hash: text("hash").filter(|hash| !hash.is_empty()).map(str::to_owned),
            revision: event.revision(),
        })
    }

    /// The data of an event that says all of it.
    pub(crate) fn to_data(&self) -> String {
        let Self { login, full_name, groups, disabled, hash, .. } = self;
        let hash = hash.as_deref().unwrap_or_default();
        json!({
            "loginName": login, "fullName": full_name, "hash": hash, "disabled": disabled, "groups": groups,
        })
        .to_string()
    }
}

/// What is wrong with a login name, if anything is.
pub(crate) fn check_login(login: &str) -> Result<(), &'static str> {
    if !is_name(login) || login.starts_with('$') || login.contains([':', '/']) {
        return Err("expected 1 to 128 bytes of text without `:`, `/`, blanks at its ends, or `$` at its begin");
    }
    Ok(())
}

/// What is wrong with a full name, if anything is.
pub(crate) fn check_full_name(name: &str) -> Result<(), &'static str> {
    if name.len() > FULL_NAME_LENGTH_MAX { Err("expected at most 1024 bytes of text") } else { Ok(()) }
}

/// What is wrong with groups, if anything is.
pub(crate) fn check_groups(groups: &[String]) -> Result<(), &'static str> {
    if groups.len() > GROUPS_MAX || !groups.iter().all(|group| is_name(group)) {
        return Err("expected at most 32 groups of 1 to 128 bytes of text each");
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    (1..=NAME_LENGTH_MAX).contains(&text.len()) && text.trim() == text && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_event::{Position, ProposedEvent};
    use uuid::Uuid;

    fn recorded(data: impl Into<String>) -> RecordedEvent {
        let proposed = ProposedEvent::json(Uuid::from_u128(1), UPDATED_TYPE, data.into());
        let stream = StreamName::new("$user-ann").unwrap();
        RecordedEvent::record(&proposed, &stream, Revision::new(3), Position::new(9), Timestamp::from_ticks(7))
    }

    #[test]
    fn a_user_survives_its_stored_form() {
        let user = User {
            login: "ann".to_owned(),
            full_name: "Ann O.".to_owned(),
            groups: vec!["editors".to_owned()],
            disabled: false,
            updated: Timestamp::from_ticks(7),
            hash: Some("$argon2id$".to_owned()),
            revision: Revision::new(3),
        };
        assert_eq!(User::of_event("ann", &recorded(user.to_data())), Some(user.clone()));
        let without = User { hash: None, ..user };
        assert_eq!(User::of_event("ann", &recorded(without.to_data())), Some(without));
        assert_eq!(User::of_event("bob", &recorded(r#"{"loginName":"ann"}"#)), None, "it speaks of another");
        let torn = User::of_event("ann", &recorded(r#"{"loginName":"ann","hash":"x"}"#)).unwrap();
        assert!(torn.disabled, "a user that does not say so is not enabled");
    }

    #[test]
    fn names_have_rules() {
        for fine in ["a", "Ann Ö.", "ann@host", &"x".repeat(128)] {
            assert!(check_login(fine).is_ok(), "{fine}");
        }
        for wrong in ["", " a", "a ", "a:b", "a/b", "$admins", "a\nb", &"x".repeat(129)] {
            assert!(check_login(wrong).is_err() && UserStreams::of_the_protocol().of(wrong).is_none(), "{wrong:?}");
        }
        assert!(check_groups(&["$admins".to_owned(), "own group".to_owned()]).is_ok());
        assert!(check_groups(&[String::new()]).is_err());
    }
}
