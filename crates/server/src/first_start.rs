//! Owns what a fresh log holds before anybody writes to it: the two users that clients of the protocol expect to find.
//!
//! They cannot log in: this server asks nobody who they are. Each append carries fixed ids and expects no stream, so a
//! start that was interrupted is completed by the next one, and a log that has users is left alone.

use forebay_event::{ExpectedRevision, ProposedEvent, StreamName};
use forebay_store::{
    AppendError, AppendRequest, Direction, EventStore, METADATA_TYPE, PageLimit, ReadError, ReadStream, StreamPoint,
};
use serde_json::{Value, json};
use uuid::Uuid;

/// The stream that names all users; written last, so that it is there only when everything is.
const USERS: &str = "$users";
/// The users: login, full name, group.
const FIRST_USERS: [(&str, &str, &str); 2] = [("admin", "Administrator", "$admins"), ("ops", "Operator", "$ops")];
/// What the ids of these events are derived from.
const NAMESPACE: Uuid = Uuid::from_u128(0x2f6d_6a0e_91c5_4d3b_8a57_0c4e_7f21_d6b9);

/// Why a fresh log could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be written.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Writes the first users unless there are some.
pub(crate) async fn write_users(store: &dyn EventStore) -> Result<(), FirstStartError> {
    if has_users(store).await? {
        return Ok(());
    }
    for (login, full_name, group) in FIRST_USERS {
        let access = json!({ "$acl": { "$r": "$admins", "$w": "$admins", "$d": "$admins", "$mr": "$admins", "$mw": "$admins" } });
        write(store, &format!("$$$user-{login}"), &[(METADATA_TYPE, access)]).await?;
        let user = json!({
            "loginName": login, "fullName": full_name, "salt": "", "hash": "", "disabled": false, "groups": [group],
        });
        write(store, &format!("$user-{login}"), &[("$UserCreated", user)]).await?;
    }
    let logins: Vec<_> = FIRST_USERS.iter().map(|(login, ..)| ("$User", Value::String((*login).to_owned()))).collect();
    write(store, USERS, &logins).await
}

async fn has_users(store: &dyn EventStore) -> Result<bool, ReadError> {
    let (direction, from, limit) = (Direction::Backward, StreamPoint::End, PageLimit::events(1));
    match store.read_stream(ReadStream { stream: name(USERS), direction, from, limit }).await {
        Ok(_) | Err(ReadError::StreamDeleted { .. }) => Ok(true),
        Err(ReadError::StreamNotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the first events of a stream; one that has others is somebody's own, and is left as it is.
async fn write(store: &dyn EventStore, stream: &str, events: &[(&str, Value)]) -> Result<(), FirstStartError> {
    let proposed = events.iter().enumerate().map(|(index, (event_type, data))| {
        let id = Uuid::new_v5(&NAMESPACE, format!("{index}@{stream}").as_bytes());
        // A user is named by text, not by JSON text.
        let data = data.as_str().map_or_else(|| data.to_string(), str::to_owned);
        ProposedEvent::json(id, event_type, data)
    });
    let request =
        AppendRequest { stream: name(stream), expected: ExpectedRevision::NoStream, events: proposed.collect() };
    match store.append(request).await {
        Ok(_) | Err(AppendError::WrongExpectedRevision { .. } | AppendError::StreamDeleted { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[expect(clippy::expect_used, reason = "the names are written above")]
fn name(stream: &str) -> StreamName {
    StreamName::new(stream).expect("the name is not empty")
}
