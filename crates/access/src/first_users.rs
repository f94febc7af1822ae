//! Owns the two users that a fresh log is given: clients of the protocol expect to find them.
//!
//! They have no password, so nobody can sign in as one of them until a password is set. Each append carries fixed ids
//! and expects no stream, so a start that was interrupted is completed by the next one, and a log that has users is left
//! alone.

use forebay_event::{ExpectedRevision, ProposedEvent, Revision, StreamName, Timestamp};
use forebay_store::{AppendError, AppendRequest, METADATA_TYPE};
use uuid::Uuid;

use crate::caller::{ADMINS, OPERATORS};
use crate::user::{CREATED_TYPE, NAMED_TYPE, User};
use crate::users::{UserError, Users, admins_alone};

/// The login names of the first users: an administrator and an operator.
pub const FIRST_LOGINS: [&str; 2] = ["admin", "ops"];
/// Their full names and groups.
const FIRST_USERS: [(&str, &str, &str); 2] =
    [(FIRST_LOGINS[0], "Administrator", ADMINS), (FIRST_LOGINS[1], "Operator", OPERATORS)];
/// What the ids of these events are derived from.
const NAMESPACE: Uuid = Uuid::from_u128(0x2f6d_6a0e_91c5_4d3b_8a57_0c4e_7f21_d6b9);

impl Users {
    /// Adds the first users unless there were users before.
    pub async fn found(&self) -> Result<(), UserError> {
        if !self.logins().await?.is_empty() {
            return Ok(());
        }
        for (login, full_name, group) in FIRST_USERS {
            let Some(stream) = self.streams.of(login) else { continue };
            self.write_first(stream.metadata_stream(), &[(METADATA_TYPE, admins_alone())]).await?;
            let user = User {
                login: login.to_owned(),
                full_name: full_name.to_owned(),
                groups: vec![group.to_owned()],
                disabled: false,
                updated: Timestamp::default(),
                hash: None,
                revision: Revision::FIRST,
            };
            self.write_first(stream, &[(CREATED_TYPE, user.to_data())]).await?;
            self.forget(login);
        }
        // Written last, so that it is there only when everything is.
        let named = FIRST_LOGINS.map(|login| (NAMED_TYPE, login.to_owned()));
        self.write_first(self.streams.names(), &named).await
    }

    /// Writes the first events of a stream; one that has others is somebody's own, and is left as it is.
    async fn write_first(&self, stream: StreamName, events: &[(&str, String)]) -> Result<(), UserError> {
        let proposed = events.iter().enumerate().map(|(index, (event_type, data))| {
            let id = Uuid::new_v5(&NAMESPACE, format!("{index}@{stream}").as_bytes());
            ProposedEvent::json(id, event_type, data.clone())
        });
        let events = proposed.collect();
        match self.store.append(AppendRequest { stream, expected: ExpectedRevision::NoStream, events }).await {
            Ok(_) | Err(AppendError::WrongExpectedRevision { .. } | AppendError::StreamDeleted { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
