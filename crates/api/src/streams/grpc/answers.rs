//! Owns the answers to appends, deletes and tombstones.

use forebay_event::{ExpectedRevision, Position, Revision};
use forebay_store::Appended;
use forebay_wire::event_store::client::streams::{
    AppendResp, DeleteResp, TombstoneResp, append_resp, batch_append_resp, delete_resp, tombstone_resp,
};
use forebay_wire::event_store::client::{AllStreamPosition, Empty};

/// The legacy form of "no stream" among expected revisions.
const LEGACY_NO_STREAM: u64 = u64::MAX;

/// An append is durable.
pub(super) fn appended(appended: Appended) -> AppendResp {
    use append_resp::success::{CurrentRevisionOption, PositionOption};
    let current = appended
        .last_revision
        .map_or(CurrentRevisionOption::NoStream(Empty {}), |last| CurrentRevisionOption::CurrentRevision(last.get()));
    let position = appended.position.map_or(PositionOption::NoPosition(Empty {}), |position| {
        PositionOption::Position(append_resp::Position {
            commit_position: position.commit(),
            prepare_position: position.prepare(),
        })
    });
    let success = append_resp::Success { current_revision_option: Some(current), position_option: Some(position) };
    AppendResp { result: Some(append_resp::Result::Success(success)) }
}

/// An append's condition does not hold. Old and new clients read different members, so each of them is set.
pub(super) fn wrong_expected(expected: ExpectedRevision, current: Option<Revision>) -> AppendResp {
    use append_resp::wrong_expected_version::{
        CurrentRevisionOption as Current, CurrentRevisionOption2060 as LegacyCurrent,
        ExpectedRevisionOption as Expected, ExpectedRevisionOption2060 as LegacyExpected,
    };
    let (expected, legacy_expected) = match expected {
        ExpectedRevision::Any => (Expected::ExpectedAny(Empty {}), LegacyExpected::Any2060(Empty {})),
        ExpectedRevision::StreamExists => {
            (Expected::ExpectedStreamExists(Empty {}), LegacyExpected::StreamExists2060(Empty {}))
        }
        ExpectedRevision::NoStream => {
            (Expected::ExpectedNoStream(Empty {}), LegacyExpected::ExpectedRevision2060(LEGACY_NO_STREAM))
        }
        ExpectedRevision::Exact(revision) => {
            (Expected::ExpectedRevision(revision.get()), LegacyExpected::ExpectedRevision2060(revision.get()))
        }
    };
    let (current, legacy_current) = match current {
        Some(revision) => {
            (Current::CurrentRevision(revision.get()), LegacyCurrent::CurrentRevision2060(revision.get()))
        }
        None => (Current::CurrentNoStream(Empty {}), LegacyCurrent::NoStream2060(Empty {})),
    };
    let wrong = append_resp::WrongExpectedVersion {
        current_revision_option_20_6_0: Some(legacy_current),
        expected_revision_option_20_6_0: Some(legacy_expected),
        current_revision_option: Some(current),
        expected_revision_option: Some(expected),
    };
    AppendResp { result: Some(append_resp::Result::WrongExpectedVersion(wrong)) }
}

/// One append of a batch is durable.
pub(super) fn batched(appended: Appended) -> batch_append_resp::Success {
    use batch_append_resp::success::{CurrentRevisionOption, PositionOption};
    let current = appended
        .last_revision
        .map_or(CurrentRevisionOption::NoStream(()), |last| CurrentRevisionOption::CurrentRevision(last.get()));
    let position = appended.position.map_or(PositionOption::NoPosition(()), |position| {
        PositionOption::Position(AllStreamPosition {
            commit_position: position.commit(),
            prepare_position: position.prepare(),
        })
    });
    batch_append_resp::Success { current_revision_option: Some(current), position_option: Some(position) }
}

/// A stream is deleted.
pub(super) fn deleted(position: Position) -> DeleteResp {
    let (commit_position, prepare_position) = (position.commit(), position.prepare());
    let position = delete_resp::Position { commit_position, prepare_position };
    DeleteResp { position_option: Some(delete_resp::PositionOption::Position(position)) }
}

/// A stream is ended for good.
pub(super) fn tombstoned(position: Position) -> TombstoneResp {
    let (commit_position, prepare_position) = (position.commit(), position.prepare());
    let position = tombstone_resp::Position { commit_position, prepare_position };
    TombstoneResp { position_option: Some(tombstone_resp::PositionOption::Position(position)) }
}
