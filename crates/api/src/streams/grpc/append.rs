//! Owns a single append: its condition, then its events one by one, then the answer.

use forebay_access::{Guard, Refused, Right};
use forebay_event::{ExpectedRevision, ProposedEvent, StreamName};
use forebay_store::{AppendError, AppendRequest};
use forebay_wire::event_store::client::streams::append_req::{Content, Options};
use forebay_wire::event_store::client::streams::{AppendReq, AppendResp};
use futures_util::{Stream, StreamExt};
use tonic::Status;

use super::answers;
use super::names::{exactly, no_expectation, written_stream};
use super::proposal::{Proposal, WrongProposal};
use super::service::{MESSAGE_TIMEOUT, StreamsService};
use super::share::Gathered;
use crate::status::grpc::{invalid, missing_metadata, of_append, of_refused, request_timeout, stopping};

/// Appends what the caller sends, all or none.
pub(super) async fn append(
    service: &StreamsService,
    store: &Guard,
    mut messages: impl Stream<Item = Result<AppendReq, Status>> + Unpin,
) -> Result<AppendResp, Status> {
    let first = next_message(service, &mut messages).await?;
    let Some(Content::Options(options)) = first else {
        return Err(invalid("the first message of an append must hold its options"));
    };
    let (stream, expected) = condition(options)?;
    // Who may not write is told so before sending more.
    store.may(&stream, Right::Write).await.map_err(|refused| of_refused(refused, of_append))?;
    let mut gathered = Gathered::new(service.limits());
    while let Some(content) = next_message(service, &mut messages).await? {
        let Content::ProposedMessage(message) = content else {
            return Err(invalid("the options of an append are given twice"));
        };
        let event: ProposedEvent = Proposal::from(message).event().map_err(wrong_proposal)?;
        gathered.push(event, service.api())?;
    }
    let (events, _share) = gathered.into_parts();
    match store.append(AppendRequest { stream, expected, events }).await {
        Ok(appended) => Ok(answers::appended(appended)),
        Err(Refused::Failed(AppendError::WrongExpectedRevision { expected, current, .. })) => {
            Ok(answers::wrong_expected(expected, current))
        }
        Err(refused) => Err(of_refused(refused, of_append)),
    }
}

/// The next part of the request; none when the caller has said all. A caller that stops in the middle is not waited for.
async fn next_message(
    service: &StreamsService,
    messages: &mut (impl Stream<Item = Result<AppendReq, Status>> + Unpin),
) -> Result<Option<Content>, Status> {
    let message = tokio::select! {
        biased;
        () = service.api().stopping.cancelled() => return Err(stopping()),
        next = tokio::time::timeout(MESSAGE_TIMEOUT, messages.next()) => {
            next.map_err(|_| request_timeout(MESSAGE_TIMEOUT.as_millis()))?
        }
    };
    match message.transpose()? {
        None => Ok(None),
        Some(AppendReq { content: Some(content) }) => Ok(Some(content)),
        Some(AppendReq { content: None }) => Err(invalid("a message of the append is empty")),
    }
}

fn condition(options: Options) -> Result<(StreamName, ExpectedRevision), Status> {
    use forebay_wire::event_store::client::streams::append_req::options::ExpectedStreamRevision as Expected;
    let stream = written_stream(options.stream_identifier)?;
    let expected = match options.expected_stream_revision.ok_or_else(no_expectation)? {
        Expected::Any(_) => ExpectedRevision::Any,
        Expected::NoStream(_) => ExpectedRevision::NoStream,
        Expected::StreamExists(_) => ExpectedRevision::StreamExists,
        Expected::Revision(number) => exactly(number)?,
    };
    Ok((stream, expected))
}

fn wrong_proposal(error: WrongProposal) -> Status {
    match error {
        WrongProposal::MissingProperty { property } => missing_metadata(property),
        WrongProposal::MissingId => invalid(error.to_string()),
    }
}
