//! Field numbers of the protocol against bytes written by hand: a number that moves breaks every client.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_wire::event_store::client::streams::append_req::options::ExpectedStreamRevision;
use forebay_wire::event_store::client::streams::append_req::{Content, Options};
use forebay_wire::event_store::client::streams::append_resp::wrong_expected_version as wrong;
use forebay_wire::event_store::client::streams::read_req::options::filter_options::{Filter, Window};
use forebay_wire::event_store::client::streams::read_req::options::{CountOption, FilterOption, StreamOption};
use forebay_wire::event_store::client::streams::{
    AppendReq, AppendResp, BatchAppendReq, ReadReq, ReadResp, append_resp, read_resp,
};
use forebay_wire::event_store::client::{Empty, uuid};
use prost::Message;

/// A message in a message: key, length, bytes.
fn nested(number: u8, inner: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2, u8::try_from(inner.len()).unwrap()];
    bytes.extend(inner);
    bytes
}

fn varint(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

#[test]
fn a_filtered_subscription_is_read_as_it_was_sent() {
    let regex = nested(1, b"^A");
    let filter = [nested(2, &regex), varint(3, 5), varint(5, 7)].concat();
    let all = nested(1, &[varint(1, 9), varint(2, 8)].concat());
    let options = [
        nested(2, &all),
        varint(4, 1),
        nested(6, b""),
        nested(7, &filter),
        nested(9, &nested(2, b"")),
        nested(10, &varint(1, 1)),
    ];
    let request = ReadReq::decode(&*nested(1, &options.concat())).unwrap().options.unwrap();
    assert!(request.resolve_links);
    assert!(matches!(request.count_option, Some(CountOption::Subscription(_))));
    assert_eq!(request.control_option.unwrap().compatibility, 1);
    let Some(FilterOption::Filter(filter)) = request.filter_option else { panic!("field 7 is the filter") };
    assert_eq!((filter.window, filter.checkpoint_interval_multiplier), (Some(Window::Max(5)), 7));
    let Some(Filter::EventType(expression)) = filter.filter else { panic!("field 2 is the type") };
    assert_eq!(expression.regex, "^A");
    let Some(StreamOption::All(all)) = request.stream_option else { panic!("field 2 is all") };
    assert!(all.all_option.is_some());
}

#[test]
fn an_append_is_read_as_it_was_sent_and_shares_the_payload() {
    let options = nested(1, &[nested(1, &nested(3, b"s")), nested(4, b"")].concat());
    let first = AppendReq::decode(&*options).unwrap().content.unwrap();
    let Content::Options(Options { stream_identifier, expected_stream_revision }) = first else { panic!("options") };
    assert_eq!(stream_identifier.unwrap().stream_name, "s");
    assert_eq!(expected_stream_revision, Some(ExpectedStreamRevision::Any(Empty {})));

    let id = nested(1, &nested(1, &[varint(1, 3), varint(2, 4)].concat()));
    let property = nested(2, &[nested(1, b"type"), nested(2, b"T")].concat());
    let message = nested(2, &[id, property, nested(3, b"m"), nested(4, b"data")].concat());
    let bytes = bytes::Bytes::from(message);
    let Some(Content::ProposedMessage(event)) = AppendReq::decode(bytes.clone()).unwrap().content else {
        panic!("field 2 is an event")
    };
    let Some(uuid::Value::Structured(id)) = event.id.unwrap().value else { panic!("field 1 is structured") };
    assert_eq!((id.most_significant_bits, id.least_significant_bits), (3, 4));
    assert_eq!(event.metadata.get("type").map(String::as_str), Some("T"));
    assert_eq!((&*event.custom_metadata, &*event.data), (&b"m"[..], &b"data"[..]));
    assert!(bytes.as_ptr_range().contains(&event.data.as_ptr()), "the payload is not copied");
}

#[test]
fn answers_are_written_where_clients_look() {
    let content = Some(read_resp::Content::Checkpoint(read_resp::Checkpoint {
        commit_position: 5,
        prepare_position: 6,
        timestamp: None,
    }));
    assert_eq!(ReadResp { content }.encode_to_vec(), nested(3, &[varint(1, 5), varint(2, 6)].concat()));
    let result = append_resp::Result::WrongExpectedVersion(append_resp::WrongExpectedVersion {
        current_revision_option_20_6_0: Some(wrong::CurrentRevisionOption2060::CurrentRevision2060(2)),
        expected_revision_option_20_6_0: Some(wrong::ExpectedRevisionOption2060::ExpectedRevision2060(3)),
        current_revision_option: Some(wrong::CurrentRevisionOption::CurrentRevision(2)),
        expected_revision_option: Some(wrong::ExpectedRevisionOption::ExpectedRevision(3)),
    });
    let expected = nested(2, &[varint(1, 2), varint(3, 3), varint(6, 2), varint(8, 3)].concat());
    assert_eq!(AppendResp { result: Some(result) }.encode_to_vec(), expected);
}

#[test]
fn a_piece_of_a_batch_is_read_as_it_was_sent() {
    let correlation = nested(1, &nested(2, b"c"));
    let deadline = nested(7, &varint(1, 2));
    let options = nested(2, &[nested(1, &nested(3, b"s")), nested(3, b""), deadline].concat());
    let piece = [correlation, options, nested(3, &nested(4, b"d")), varint(4, 1)].concat();
    let piece = BatchAppendReq::decode(&*piece).unwrap();
    assert!(piece.is_final && piece.options.unwrap().deadline_option.is_some());
    assert_eq!(piece.proposed_messages.len(), 1);
    assert_eq!(piece.correlation_id.unwrap().value, Some(uuid::Value::String("c".to_owned())));
}
