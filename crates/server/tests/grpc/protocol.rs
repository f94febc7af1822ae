//! Requests that no official client would send, and answers that few of them read.

use std::collections::HashMap;

use forebay_wire::event_store::client::operations::operations_client::OperationsClient;
use forebay_wire::event_store::client::operations::{SetNodePriorityReq, StartScavengeReq, StopScavengeReq};
use forebay_wire::event_store::client::persistent_subscriptions::ListReq;
use forebay_wire::event_store::client::persistent_subscriptions::persistent_subscriptions_client::PersistentSubscriptionsClient;
use forebay_wire::event_store::client::server_features::server_features_client::ServerFeaturesClient;
use forebay_wire::event_store::client::streams::batch_append_resp::Result as Outcome;
use forebay_wire::event_store::client::streams::read_req::Options;
use forebay_wire::event_store::client::streams::read_req::options::{ControlOption, CountOption};
use forebay_wire::event_store::client::streams::read_resp::Content;
use forebay_wire::event_store::client::streams::streams_client::StreamsClient;
use forebay_wire::event_store::client::streams::{
    BatchAppendReq, ReadReq, TombstoneReq, batch_append_req, tombstone_req,
};
use forebay_wire::event_store::client::users::DetailsReq;
use forebay_wire::event_store::client::users::users_client::UsersClient;
use forebay_wire::event_store::client::{Empty, Uuid as WireUuid};
use futures_util::{StreamExt, stream};
use tonic::Code;

use crate::calls::{
    LIMIT, append, append_event, append_options, channel, id, named, of_all, of_stream, options, properties, reading,
    refusal, server, subscription,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_read_is_refused_before_its_first_message() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    append(&mut client, "gone-ß", 1).await;
    let expected_stream_revision = Some(tombstone_req::options::ExpectedStreamRevision::Any(Empty {}));
    let options_of = tombstone_req::Options { stream_identifier: named("gone-ß"), expected_stream_revision };
    client.tombstone(TombstoneReq { options: Some(options_of) }).await.unwrap();
    for count in [CountOption::Count(u64::MAX), subscription()] {
        let status = refusal(&mut client, reading(options(of_stream("gone-ß"), count))).await;
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.metadata().get("exception").unwrap(), "stream-deleted");
        assert_eq!(status.metadata().get("stream-name").unwrap(), "gone-%C3%9F");
    }
    let backward = Options { read_direction: 1, ..options(of_all(), subscription()) };
    let formless = Options { uuid_option: None, ..options(of_all(), subscription()) };
    let unfiltered = Options { filter_option: None, ..options(of_all(), subscription()) };
    let strange = Options { read_direction: 7, ..options(of_all(), CountOption::Count(1)) };
    for wrong in [backward, formless, unfiltered, strange] {
        assert_eq!(refusal(&mut client, reading(wrong)).await.code(), Code::InvalidArgument);
    }
    assert_eq!(refusal(&mut client, ReadReq { options: None }).await.code(), Code::InvalidArgument);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_to_a_stream_that_is_not_there_waits_and_ends_with_unavailable() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    let mut answers = client.read(reading(options(of_stream("later"), subscription()))).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap().content.unwrap();
    assert!(matches!(first, Content::Confirmation(_)), "{first:?}");
    let second = answers.message().await.unwrap().unwrap().content.unwrap();
    let Content::CaughtUp(caught_up) = second else { panic!("expected caught up, not {second:?}") };
    assert!(caught_up.timestamp.is_some() && caught_up.stream_revision.is_none() && caught_up.position.is_none());
    append(&mut client, "later", 1).await;
    assert!(matches!(answers.message().await.unwrap().unwrap().content, Some(Content::Event(_))));
    let (ended, ()) = tokio::time::timeout(LIMIT, async { tokio::join!(answers.message(), server.shutdown()) })
        .await
        .expect("stopping does not wait for subscribers");
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_answered_by_correlation_whatever_is_wrong_with_them() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    let open = |stream: &str, seconds: i64| {
        let deadline = prost_types::Duration { seconds, nanos: 0 };
        Some(batch_append_req::Options {
            stream_identifier: named(stream),
            expected_stream_position: Some(batch_append_req::options::ExpectedStreamPosition::Any(())),
            deadline_option: Some(batch_append_req::options::DeadlineOption::Deadline(deadline)),
        })
    };
    let piece = |correlation_id: &Option<WireUuid>, options, is_final| {
        let (metadata, data) = (properties(), bytes::Bytes::from_static(b"{}"));
        let message =
            batch_append_req::ProposedMessage { id: id(), metadata, custom_metadata: bytes::Bytes::new(), data };
        let proposed_messages = vec![message];
        BatchAppendReq { correlation_id: correlation_id.clone(), options, proposed_messages, is_final }
    };
    let [in_pieces, late, denied, unknown, unfinished] = [(); 5].map(|()| id());
    let pieces = vec![
        piece(&in_pieces, open("b", i64::MAX), false),
        piece(&late, open("b", -1), true),
        piece(&denied, open("$all", 5), true),
        piece(&unknown, None, true),
        piece(&unfinished, open("b", 5), false),
        piece(&in_pieces, None, true),
    ];
    let mut answers = client.batch_append(stream::iter(pieces)).await.unwrap().into_inner();
    let mut outcomes = HashMap::new();
    while let Some(answer) = answers.message().await.unwrap() {
        let outcome = match answer.result.unwrap() {
            Outcome::Success(_) => "done".to_owned(),
            Outcome::Error(status) => status.details.unwrap().type_url,
        };
        assert!(answer.stream_identifier.is_some());
        outcomes.insert(format!("{:?}", answer.correlation_id), outcome);
    }
    let outcome = |correlation: &Option<WireUuid>| outcomes.get(&format!("{correlation:?}")).map(String::as_str);
    assert_eq!(outcome(&in_pieces), Some("done"));
    assert_eq!(outcome(&late), Some("type.googleapis.com/event_store.client.Timeout"));
    assert_eq!(outcome(&denied), Some("type.googleapis.com/event_store.client.AccessDenied"));
    assert_eq!((outcome(&unknown), outcome(&unfinished)), (None, None));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_says_so_and_what_is_advertised_is_served() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let channel = channel(&server).await;
    let details = UsersClient::new(channel.clone()).details(DetailsReq { options: None }).await.unwrap().into_inner();
    assert_eq!(
        details.map(|user| user.unwrap().user_details.unwrap().login_name).collect::<Vec<_>>().await,
        ["admin", "ops"]
    );
    let listed = PersistentSubscriptionsClient::new(channel.clone()).list(ListReq { options: None }).await.unwrap();
    assert!(listed.into_inner().subscriptions.is_empty());
    let features = ServerFeaturesClient::new(channel).get_supported_methods(Empty {}).await.unwrap().into_inner();
    assert!(features.event_store_server_version.split('.').all(|part| part.parse::<u32>().is_ok()));
    let methods: Vec<_> = features.methods.iter().map(|method| method.method_name.as_str()).collect();
    assert!(
        methods.contains(&"batchappend") && !methods.contains(&"replayparked") && !methods.contains(&"appendsession")
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_obeyed_as_far_as_one_node_can() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut operator = OperationsClient::new(channel(&server).await);
    operator.merge_indexes(Empty {}).await.unwrap();
    operator.resign_node(Empty {}).await.unwrap();
    operator.set_node_priority(SetNodePriorityReq { priority: 5 }).await.unwrap();
    let status = operator.start_scavenge(StartScavengeReq { options: None }).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("packs its blocks by itself"), "{}", status.message());
    assert_eq!(operator.restart_persistent_subscriptions(Empty {}).await.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(operator.stop_scavenge(StopScavengeReq { options: None }).await.unwrap_err().code(), Code::NotFound);
    let asked = futures_util::FutureExt::now_or_never(server.stop_asked());
    assert!(asked.is_none(), "nobody has asked yet");
    operator.shutdown(Empty {}).await.unwrap();
    tokio::time::timeout(LIMIT, server.stop_asked()).await.expect("whoever runs the server is told");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_before_the_first_visible_event_is_told_where_the_stream_begins() {
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path()).await;
    let mut client = StreamsClient::new(channel(&server).await);
    append(&mut client, "cut", 50).await;
    let kept = r#"{"$maxCount":2}"#;
    client.append(stream::iter([append_options("$$cut"), append_event(kept.into())])).await.unwrap();
    for (compatibility, count, expected) in [
        (1, 100, vec!["first 48", "48", "49", "last 49"]),
        (1, 1, vec!["first 48", "48", "last 49"]),
        (0, 100, vec!["48", "49"]),
    ] {
        let control_option = Some(ControlOption { compatibility });
        let options = Options { control_option, ..options(of_stream("cut"), CountOption::Count(count)) };
        let mut answers = client.read(reading(options)).await.unwrap().into_inner();
        let mut told = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            told.push(match answer.content.unwrap() {
                Content::FirstStreamPosition(revision) => format!("first {revision}"),
                Content::LastStreamPosition(revision) => format!("last {revision}"),
                Content::Event(event) => event.event.unwrap().stream_revision.to_string(),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(told, expected, "compatibility {compatibility}, {count} events");
    }
    server.shutdown().await;
}
