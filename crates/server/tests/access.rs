//! Tests of a server that asks callers who they are, over real sockets and both protocols.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use forebay_access::Password;
use forebay_server::{Config, FirstPassword, RunningServer, StartError, start};
use forebay_wire::event_store::client::gossip::gossip_client::GossipClient;
use forebay_wire::event_store::client::monitoring::StatsReq;
use forebay_wire::event_store::client::monitoring::monitoring_client::MonitoringClient;
use forebay_wire::event_store::client::operations::operations_client::OperationsClient;
use forebay_wire::event_store::client::server_features::server_features_client::ServerFeaturesClient;
use forebay_wire::event_store::client::streams::batch_append_resp::Result as Outcome;
use forebay_wire::event_store::client::streams::read_req::options::{
    AllOptions, CountOption, FilterOption, StreamOption, StreamOptions, SubscriptionOptions, UuidOption, all_options,
    stream_options,
};
use forebay_wire::event_store::client::streams::streams_client::StreamsClient;
use forebay_wire::event_store::client::streams::{
    AppendReq, BatchAppendReq, DeleteReq, ReadReq, TombstoneReq, append_req, batch_append_req, delete_req, read_req,
    tombstone_req,
};
use forebay_wire::event_store::client::users::users_client::UsersClient;
use forebay_wire::event_store::client::users::{
    ChangePasswordReq, CreateReq, DetailsReq, DisableReq, change_password_req, create_req, details_req, disable_req,
};
use forebay_wire::event_store::client::{Empty, StreamIdentifier, Uuid as WireUuid, uuid as wire_uuid};
use futures_util::stream;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use uuid::Uuid;

const ADMIN: Option<&str> = Some("Basic YWRtaW46cm9vdC1wdw=="); // admin:root-pw
const OPS: Option<&str> = Some("Basic b3BzOm9wcy1wdw=="); // ops:ops-pw
const ANN: Option<&str> = Some("Basic YW5uOmFubi1wdw=="); // ann:ann-pw
const BOB: Option<&str> = Some("Basic Ym9iOmJvYi1wdw=="); // bob:bob-pw
const WRONG: Option<&str> = Some("Basic YWRtaW46d3Jvbmc="); // admin:wrong
const LIMIT: Duration = Duration::from_secs(30);

/// A value for somebody who calls.
type Caller = Option<&'static str>;

fn config(data: &Path) -> Config {
    let given = |text: &str| FirstPassword::Given(Password::new(text).unwrap());
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        data: data.to_owned(),
        auth: Some(true),
        admin_password: given("root-pw"),
        ops_password: given("ops-pw"),
        ..Config::default()
    }
}

struct Server {
    running: RunningServer,
    http: Client<HttpConnector, Full<Bytes>>,
    channel: Channel,
    _data: tempfile::TempDir,
}

impl Server {
    /// With the users ann, of the group editors, and bob.
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let running = start(config(data.path())).await.unwrap();
        let channel = Channel::from_shared(format!("http://{}", running.address())).unwrap().connect().await.unwrap();
        let http = Client::builder(TokioExecutor::new()).build_http();
        let server = Self { running, http, channel, _data: data };
        for (login, groups) in [("ann", json!(["editors"])), ("bob", json!([]))] {
            let user = json!({"loginName": login, "password": format!("{login}-pw"), "groups": groups});
            assert_eq!(server.ask(ADMIN, "POST", "/users", user).await.0, 200);
        }
        server
    }

    async fn ask(&self, caller: Caller, method: &str, path: &str, body: Value) -> (u16, String) {
        let uri = format!("http://{}{path}", self.running.address());
        let mut request = hyper::Request::builder().method(method).uri(uri).header("content-type", "application/json");
        if let Some(value) = caller {
            request = request.header("authorization", value);
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let response = self.http.request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
        let (status, scheme) = (response.status().as_u16(), response.headers().get("www-authenticate").cloned());
        assert_eq!(scheme.is_some(), status == 401, "{path}");
        assert!(scheme.is_none_or(|scheme| !scheme.to_str().unwrap().starts_with("Basic ")), "browsers would ask");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The statuses that callers meet: nobody, wrong, bob, ops, admin.
    async fn statuses(&self, method: &str, path: &str, body: &Value) -> [u16; 5] {
        let mut statuses = [0; 5];
        for (status, caller) in statuses.iter_mut().zip([None, WRONG, BOB, OPS, ADMIN]) {
            *status = self.ask(caller, method, path, body.clone()).await.0;
        }
        statuses
    }

    async fn set_list(&self, stream: &str, list: Value) {
        let body = json!({ "$acl": list });
        assert_eq!(self.ask(ADMIN, "POST", &format!("/streams/{stream}/metadata"), body).await.0, 201);
    }

    fn streams(&self) -> StreamsClient<Channel> {
        StreamsClient::new(self.channel.clone())
    }
}

fn by<T>(caller: Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(value) = caller {
        request.metadata_mut().insert("authorization", MetadataValue::try_from(value).unwrap());
    }
    request
}

fn named(stream: &str) -> Option<StreamIdentifier> {
    Some(StreamIdentifier { stream_name: stream.to_owned().into() })
}

fn read(stream: Option<&str>, subscribe: bool) -> ReadReq {
    let target = match stream {
        Some(name) => StreamOption::Stream(StreamOptions {
            stream_identifier: named(name),
            revision_option: Some(stream_options::RevisionOption::Start(Empty {})),
        }),
        None => StreamOption::All(AllOptions { all_option: Some(all_options::AllOption::Start(Empty {})) }),
    };
    let count = if subscribe { CountOption::Subscription(SubscriptionOptions {}) } else { CountOption::Count(1) };
    let options = read_req::Options {
        read_direction: 0,
        resolve_links: false,
        uuid_option: Some(UuidOption { content: None }),
        control_option: None,
        stream_option: Some(target),
        count_option: Some(count),
        filter_option: Some(FilterOption::NoFilter(Empty {})),
    };
    ReadReq { options: Some(options) }
}

fn event_parts() -> (Option<WireUuid>, HashMap<String, String>) {
    let id = WireUuid { value: Some(wire_uuid::Value::String(Uuid::new_v4().to_string())) };
    let properties = [("type", "T"), ("content-type", "application/json")];
    (Some(id), properties.map(|(k, v)| (k.to_owned(), v.to_owned())).into())
}

async fn append(server: &Server, caller: Caller, stream: &str) -> Result<(), Status> {
    let expected_stream_revision = Some(append_req::options::ExpectedStreamRevision::Any(Empty {}));
    let options = append_req::Options { stream_identifier: named(stream), expected_stream_revision };
    let (id, metadata) = event_parts();
    let event = append_req::ProposedMessage { id, metadata, custom_metadata: "".into(), data: "{}".into() };
    let messages = [append_req::Content::Options(options), append_req::Content::ProposedMessage(event)]
        .map(|content| AppendReq { content: Some(content) });
    server.streams().append(by(caller, stream::iter(messages))).await.map(drop)
}

async fn batch_append(server: &Server, caller: Caller, stream: &str) -> Outcome {
    let (correlation_id, _) = event_parts();
    let (id, metadata) = event_parts();
    let options = batch_append_req::Options {
        stream_identifier: named(stream),
        expected_stream_position: Some(batch_append_req::options::ExpectedStreamPosition::Any(())),
        deadline_option: None,
    };
    let event = batch_append_req::ProposedMessage { id, metadata, custom_metadata: "".into(), data: "{}".into() };
    let piece =
        BatchAppendReq { correlation_id, options: Some(options), proposed_messages: vec![event], is_final: true };
    let mut answers = server.streams().batch_append(by(caller, stream::iter([piece]))).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap().result.unwrap()
}

fn is_denied(status: &Status) -> bool {
    let exception = status.metadata().get("exception").map(|value| value.to_str().unwrap());
    (status.code(), exception, status.message()) == (Code::PermissionDenied, Some("access-denied"), "Access Denied")
}

fn denied<T>(outcome: Result<T, Status>) -> bool {
    outcome.err().is_some_and(|status| is_denied(&status))
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_let_in_whom_they_are_for() {
    let server = Server::start().await;
    let none = Value::Null;
    for open in ["/info", "/ping", "/health/live", "/health/ready", "/openapi.json"] {
        let [nobody, wrong, bob, ops, admin] = server.statuses("GET", open, &none).await;
        assert!([nobody, bob, ops, admin].iter().all(|status| (200..300).contains(status)), "{open}");
        let is_probe = open.starts_with("/health/");
        assert_eq!(wrong, if is_probe { 204 } else { 401 }, "only probes pass over wrong credentials: {open}");
    }
    assert!(server.ask(None, "GET", "/info", none.clone()).await.1.contains(r#""type":"basic""#));
    for signed in ["/stats", "/kinds"] {
        assert_eq!(server.statuses("GET", signed, &none).await, [401, 401, 200, 200, 200], "{signed}");
    }
    for operators in ["/connectors", "/connectors/list", "/metrics", "/health"] {
        assert_eq!(server.statuses("GET", operators, &none).await, [401, 401, 403, 200, 200], "{operators}");
    }
    let create = json!({"settings": {"instanceTypeName": "console-sink"}});
    assert_eq!(server.statuses("POST", "/connectors/orders", &create).await, [401, 401, 403, 403, 200]);
    assert_eq!(server.statuses("POST", "/connectors/orders/start", &none).await[..4], [401, 401, 403, 200]);
    assert_eq!(server.statuses("POST", "/connectors/orders/stop", &none).await[..4], [401, 401, 403, 200]);
    assert_eq!(server.statuses("PUT", "/connectors/orders/settings", &json!({})).await, [401, 401, 403, 403, 400]);
    assert_eq!(server.statuses("POST", "/preview", &json!({})).await, [401, 401, 403, 403, 400]);
    assert_eq!(server.statuses("POST", "/apply", &json!({"connectors": []})).await, [401, 401, 403, 403, 200]);
    assert_eq!(server.statuses("GET", "/users", &none).await, [401, 401, 403, 403, 200]);
    assert_eq!(server.statuses("GET", "/users/bob", &none).await, [401, 401, 200, 403, 200]);
    assert_eq!(server.statuses("GET", "/users/$current", &none).await, [401, 401, 200, 200, 200]);
    assert_eq!(server.statuses("GET", "/nowhere", &none).await, [404, 401, 404, 404, 404]);
    // Streams: everybody signed in; system streams and the whole log: administrators.
    let events = json!({"events": [{"type": "T", "data": {}}]});
    assert_eq!(server.statuses("POST", "/streams/orders/events", &events).await, [401, 401, 200, 200, 200]);
    assert_eq!(server.statuses("GET", "/streams/orders/events", &none).await, [401, 401, 200, 200, 200]);
    for admins in [
        "/streams/$all/events",
        "/streams/$all",
        "/streams/$users",
        "/streams/$user-admin/events",
        "/streams/$all/head/backward/5",
    ] {
        assert_eq!(server.statuses("GET", admins, &none).await, [401, 401, 403, 403, 200], "{admins}");
    }
    server.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_hold_over_http() {
    let server = Server::start().await;
    let events = json!({"events": [{"type": "T", "data": {}}]});
    assert_eq!(server.ask(ANN, "POST", "/streams/secret/events", events.clone()).await.0, 200);
    server
        .set_list("secret", json!({"$r": "editors", "$w": ["ann"], "$d": [], "$mr": "editors", "$mw": "$admins"}))
        .await;
    let metadata = json!({"own": 1});
    for (method, path, body, expected) in [
        ("GET", "/streams/secret", Value::Null, [401, 200, 403, 200]),
        ("GET", "/streams/secret/0", Value::Null, [401, 200, 403, 200]),
        ("GET", "/streams/secret/events", Value::Null, [401, 200, 403, 200]),
        ("GET", "/streams/secret/0/forward/5", Value::Null, [401, 200, 403, 200]),
        ("GET", "/streams/$$secret/events", Value::Null, [401, 200, 403, 200]),
        ("GET", "/streams/secret/metadata", Value::Null, [401, 200, 403, 200]),
        ("POST", "/streams/secret/events", events.clone(), [401, 200, 403, 200]),
        ("POST", "/streams/secret/metadata", metadata.clone(), [401, 403, 403, 400]),
        ("POST", "/streams/$$secret/events", events.clone(), [401, 403, 403, 0]),
        ("DELETE", "/streams/secret", Value::Null, [401, 403, 403, 0]),
    ] {
        for (caller, expected) in [None, ANN, BOB, ADMIN].into_iter().zip(expected).filter(|(_, status)| *status > 0) {
            // The metadata is not replaced here: the list is needed to the end.
            let body = if caller == ADMIN && path.ends_with("/metadata") && method == "POST" {
                json!(7)
            } else {
                body.clone()
            };
            let (status, answer) = server.ask(caller, method, path, body).await;
            assert_eq!(status, expected, "{caller:?} {method} {path} {answer}");
        }
    }
    let (status, _) = server.ask(BOB, "GET", "/streams/secret/subscribe", Value::Null).await;
    assert_eq!(status, 403);
    server.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_hold_over_grpc() {
    let server = Server::start().await;
    append(&server, ANN, "secret").await.unwrap();
    let status = append(&server, WRONG, "secret").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "Unauthenticated"));
    assert!(denied(append(&server, None, "secret").await));
    server.set_list("secret", json!({"$r": "editors", "$w": ["ann"], "$d": [], "$mw": []})).await;
    assert!(denied(append(&server, BOB, "secret").await) && append(&server, ANN, "secret").await.is_ok());
    let Outcome::Error(error) = batch_append(&server, BOB, "secret").await else { panic!("it is to be denied") };
    assert_eq!(
        (error.code, error.details.unwrap().type_url.as_str()),
        (7, "type.googleapis.com/event_store.client.AccessDenied")
    );
    assert!(matches!(batch_append(&server, ANN, "secret").await, Outcome::Success(_)));
    for subscribe in [false, true] {
        assert!(denied(server.streams().read(by(BOB, read(Some("secret"), subscribe))).await));
        assert!(denied(server.streams().read(by(None, read(Some("secret"), subscribe))).await));
        assert!(denied(server.streams().read(by(ANN, read(None, subscribe))).await));
        assert!(server.streams().read(by(ANN, read(Some("secret"), subscribe))).await.is_ok());
        assert!(server.streams().read(by(ADMIN, read(None, subscribe))).await.is_ok());
    }
    let expected_stream_revision = Some(delete_req::options::ExpectedStreamRevision::Any(Empty {}));
    let options = Some(delete_req::Options { stream_identifier: named("secret"), expected_stream_revision });
    assert!(denied(server.streams().delete(by(ANN, DeleteReq { options })).await));
    let expected_stream_revision = Some(tombstone_req::options::ExpectedStreamRevision::Any(Empty {}));
    let options = Some(tombstone_req::Options { stream_identifier: named("secret"), expected_stream_revision });
    assert!(denied(server.streams().tombstone(by(ANN, TombstoneReq { options })).await));
    assert!(denied(append(&server, ANN, "$$secret").await) && denied(append(&server, ANN, "$settings").await));

    // A running subscription ends when its caller may read no more.
    let mut followed = server.streams().read(by(ANN, read(Some("secret"), true))).await.unwrap().into_inner();
    server.set_list("secret", json!({"$r": "bob"})).await;
    let ended = tokio::time::timeout(LIMIT, async {
        loop {
            match followed.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a subscription never ends as if it were finished"),
                Err(status) => return status,
            }
        }
    });
    assert!(is_denied(&ended.await.unwrap()));
    server.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_do_not_lead_around_a_list() {
    let server = Server::start().await;
    append(&server, ANN, "secret").await.unwrap();
    server.set_list("secret", json!({"$r": "ann"})).await;
    let events = json!({"events": [{"type": "$>", "dataBase64": "MEBzZWNyZXQ="}]});
    assert_eq!(server.ask(BOB, "POST", "/streams/links/events", events).await.0, 200);
    let mut request = read(Some("links"), false);
    request.options.as_mut().unwrap().resolve_links = true;
    for (caller, is_resolved) in [(ANN, true), (BOB, false)] {
        let mut answers = server.streams().read(by(caller, request.clone())).await.unwrap().into_inner();
        let Some(forebay_wire::event_store::client::streams::read_resp::Content::Event(event)) =
            answers.message().await.unwrap().unwrap().content
        else {
            panic!("an event is expected")
        };
        assert_eq!((event.event.is_some(), event.link.is_some()), (is_resolved, true));
    }
    server.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_let_in_whom_they_are_for() {
    let server = Server::start().await;
    let channel = || server.channel.clone();
    for caller in [None, BOB] {
        GossipClient::new(channel()).read(by(caller, Empty {})).await.unwrap();
        ServerFeaturesClient::new(channel()).get_supported_methods(by(caller, Empty {})).await.unwrap();
    }
    let stats = || StatsReq { use_metadata: false, refresh_time_period_in_ms: 1000 };
    assert!(denied(MonitoringClient::new(channel()).stats(by(None, stats())).await));
    assert!(MonitoringClient::new(channel()).stats(by(BOB, stats())).await.is_ok());
    assert!(denied(OperationsClient::new(channel()).merge_indexes(by(BOB, Empty {})).await));
    assert!(OperationsClient::new(channel()).merge_indexes(by(OPS, Empty {})).await.is_ok());
    server.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_managed_over_grpc() {
    let server = Server::start().await;
    let mut users = UsersClient::new(server.channel.clone());
    let create = |login: &str| {
        let (login_name, password) = (login.to_owned(), "eve-pw".to_owned());
        let options = create_req::Options { login_name, password, full_name: "Eve".to_owned(), groups: vec![] };
        CreateReq { options: Some(options) }
    };
    assert!(denied(users.create(by(OPS, create("eve"))).await));
    users.create(by(ADMIN, create("eve"))).await.unwrap();
    let again = users.create(by(ADMIN, create("eve"))).await.unwrap_err();
    assert_eq!(
        (again.code(), again.metadata().get("exception").unwrap().to_str().unwrap()),
        (Code::FailedPrecondition, "user-conflict")
    );
    assert_eq!(again.metadata().get("login-name").unwrap(), "eve");
    let details = |login: &str| DetailsReq { options: Some(details_req::Options { login_name: login.to_owned() }) };
    let missing = users.details(by(ADMIN, details("nobody"))).await.unwrap_err();
    assert_eq!(
        (missing.code(), missing.metadata().get("exception").unwrap().to_str().unwrap()),
        (Code::NotFound, "user-not-found")
    );
    let eve = Some("Basic ZXZlOmV2ZS1wdw==");
    assert!(denied(users.details(by(eve, details("ann"))).await));
    let told = users.details(by(eve, details("eve"))).await.unwrap().into_inner().message().await.unwrap().unwrap();
    let told = told.user_details.unwrap();
    assert_eq!((told.full_name.as_str(), told.disabled), ("Eve", false));
    assert!(told.last_updated.unwrap().ticks_since_epoch > 0);
    let change = |current: &str| {
        let (login_name, new_password) = ("eve".to_owned(), "new-pw".to_owned());
        let options = change_password_req::Options { login_name, current_password: current.to_owned(), new_password };
        ChangePasswordReq { options: Some(options) }
    };
    assert!(denied(users.change_password(by(eve, change("guess"))).await));
    users.change_password(by(eve, change("eve-pw"))).await.unwrap();
    assert_eq!(users.details(by(eve, details("eve"))).await.unwrap_err().code(), Code::Unauthenticated);
    let renewed = Some("Basic ZXZlOm5ldy1wdw==");
    users.details(by(renewed, details("eve"))).await.unwrap();
    let disable = DisableReq { options: Some(disable_req::Options { login_name: "eve".to_owned() }) };
    users.disable(by(ADMIN, disable)).await.unwrap();
    assert_eq!(users.details(by(renewed, details("eve"))).await.unwrap_err().code(), Code::Unauthenticated);
    server.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_given_once_stay_until_they_are_changed() {
    let data = tempfile::tempdir().unwrap();
    let server = start(Config { auth: None, ..config(data.path()) }).await.unwrap();
    server.shutdown().await;
    let other = FirstPassword::Given(Password::new("another").unwrap());
    let server = start(Config { admin_password: other, ..config(data.path()) }).await.unwrap();
    let http: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let uri = format!("http://{}/users", server.address());
    let request = hyper::Request::get(uri).header("authorization", ADMIN.unwrap()).body(Full::default()).unwrap();
    assert_eq!(http.request(request).await.unwrap().status(), 200);
    server.shutdown().await;
    let exposed = start(Config { listen: "0.0.0.0:0".parse().unwrap(), ..config(data.path()) }).await;
    assert!(matches!(exposed.err(), Some(StartError::Exposed(_))));
}

/// Passwords given in every way, wrong bodies included, are in no answer, no metric and no stream.
#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_in_no_answer() {
    const CANARY: &str = "c4n4ry";
    let server = Server::start().await;
    let users = [
        ("POST", "/users", json!({"loginName": "eve", "password": "c4n4ry-1", "groups": []})),
        ("POST", "/users", json!({"loginName": "eve", "password": "c4n4ry-2", "groups": []})),
        ("POST", "/users", json!({"loginName": "e:ve", "password": "c4n4ry-3"})),
        ("POST", "/users", json!({"loginName": "mal", "password": ["c4n4ry-4"]})),
        ("POST", "/users", json!({"loginName": "mal", "passwort": "c4n4ry-5"})),
        ("POST", "/users", json!({"c4n4ry-6": 1})),
        ("POST", "/users", json!({"loginName": "mal", "password": "c4n4ry".repeat(1000)})),
        ("POST", "/users/eve/command/reset-password", json!({"newPassword": "c4n4ry-7"})),
        (
            "POST",
            "/users/eve/command/change-password",
            json!({"currentPassword": "c4n4ry-8", "newPassword": "c4n4ry-9"}),
        ),
        ("POST", "/users/nobody/command/reset-password", json!({"newPassword": "c4n4ry-10"})),
    ];
    for (method, path, body) in users {
        let (_, answer) = server.ask(ADMIN, method, path, body).await;
        assert!(!answer.contains(CANARY), "{path}: {answer}");
    }
    let wrong = Some("Basic ZXZlOmM0bjRyeS13cm9uZw=="); // eve:c4n4ry-wrong
    for path in
        ["/users", "/users/eve", "/streams/$user-eve/events", "/streams/$all/events?limit=1000", "/metrics", "/health"]
    {
        for caller in [ADMIN, wrong, None] {
            let (_, answer) = server.ask(caller, "GET", path, Value::Null).await;
            assert!(!answer.contains(CANARY) && !answer.contains("root-pw"), "{path}: {answer}");
            assert!(!path.starts_with("/users") || !answer.contains("argon2"), "{path}: {answer}");
        }
    }
    server.running.shutdown().await;
}
