//! Tests of the routes of streams over an embedded log.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use forebay_access::Access;
use forebay_event::SystemClock;
use forebay_log::{EmbeddedLog, LogOptions};
use http::{Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::StreamsApi;
use crate::router::{guarded, streams_router};
use crate::routes::Verb;

struct Fixture {
    router: Router,
    stopping: CancellationToken,
    access: Access,
    _directory: tempfile::TempDir,
}

const EVENTS: &str = "application/vnd.eventstore.events+json";

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = EmbeddedLog::open(LogOptions::new(directory.path(), Arc::new(SystemClock::new()))).unwrap();
        let stopping = CancellationToken::new();
        let access = Access::unasked(Arc::new(log), Arc::new(SystemClock::new()));
        let router = guarded(streams_router(StreamsApi::new(access.clone(), stopping.clone())), access.clone());
        Self { router, stopping, access, _directory: directory }
    }

    async fn send(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
        let mut request = Request::builder().method(method).uri(uri).header(header::HOST, "here.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()
    }

    async fn get(&self, uri: &str) -> (u16, Value) {
        answer(self.send("GET", uri, &[], Body::empty()).await).await
    }

    async fn append_plain(&self, stream: &str, body: Value) -> (u16, Value) {
        answer(self.send("POST", &format!("/streams/{stream}/events"), &[], body.to_string()).await).await
    }

    async fn append_some(&self, stream: &str, count: usize) {
        let events: Vec<_> = (0..count).map(|n| json!({ "type": "Counted", "data": { "n": n } })).collect();
        assert_eq!(self.append_plain(stream, json!({ "events": events })).await.0, 200);
    }
}

async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn header_of<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn the_quick_start_appends_and_reads_back() {
    let fixture = Fixture::new();
    let body = r#"[{"eventId":"fbf4a1a1-b4a3-4dfe-a01f-ec52c34e16e4","eventType":"Happened","data":{"a":"1"},
        "metadata":"{\"by\":\"me\"}"},{"eventType":"Happened","data":2}]"#;
    let response = fixture.send("POST", "/streams/new%2Fstream", &[("content-type", EVENTS)], body).await;
    assert_eq!(response.status(), 201);
    assert_eq!(header_of(&response, "location"), "http://here.test/streams/new%2Fstream/0");

    let accept = [("accept", "application/json")];
    let (status, data) = answer(fixture.send("GET", "/streams/new%2Fstream/0", &accept, Body::empty()).await).await;
    assert_eq!((status, data), (200, json!({ "a": "1" })));
    let (_, feed) = fixture.get("/streams/new%2Fstream?embed=body").await;
    assert_eq!(feed["entries"][0]["title"], "1@new/stream");
    assert_eq!(feed["entries"][1]["data"], "{\"a\":\"1\"}");
    assert_eq!(feed["entries"][1]["metaData"], "{\"by\":\"me\"}");
    assert_eq!(feed["headOfStream"], true);
}

#[tokio::test]
async fn one_event_is_appended_with_headers_of_either_name() {
    let fixture = Fixture::new();
    let json = [("content-type", "application/json"), ("ES-EventType", "Happened"), ("ES-ExpectedVersion", "-1")];
    assert_eq!(fixture.send("POST", "/streams/one", &json, "{\"x\": 1}").await.status(), 201);
    let bytes = [("content-type", "application/octet-stream"), ("Kurrent-EventType", "Blob")];
    let response = fixture.send("POST", "/streams/one", &bytes, vec![0u8, 255]).await;
    assert_eq!(header_of(&response, "location"), "http://here.test/streams/one/1");
    let (_, page) = fixture.get("/streams/one/events").await;
    assert_eq!(page["events"][0]["data"], json!({ "x": 1 }));
    assert_eq!(page["events"][1]["dataBase64"], "AP8=");

    let wrong = fixture.send("POST", "/streams/one", &json, "{}").await;
    assert_eq!(wrong.status(), 400);
    assert_eq!(header_of(&wrong, "es-currentversion"), "1");
    assert_eq!(header_of(&wrong, "kurrent-currentversion"), "1");
}

#[tokio::test]
async fn what_is_wrong_with_an_append_is_said() {
    let fixture = Fixture::new();
    let json = ("content-type", "application/json");
    let kind = ("ES-EventType", "T");
    for (headers, body, expected) in [
        (vec![json], "{}", 400),
        (vec![json, kind], "{not json", 400),
        (vec![json, kind, ("ES-EventId", "seven")], "{}", 400),
        (vec![json, kind, ("ES-EventId", "00000000-0000-0000-0000-000000000000")], "{}", 400),
        (vec![json, kind, ("ES-ExpectedVersion", "-3")], "{}", 400),
        (vec![("content-type", "application/xml"), kind], "<a/>", 415),
        (vec![kind], "{}", 415),
        (vec![("content-type", EVENTS)], "[]", 400),
        (vec![("content-type", EVENTS)], "{}", 400),
        (vec![("content-type", EVENTS)], r#"[{"data":1}]"#, 400),
    ] {
        let (status, body) = answer(fixture.send("POST", "/streams/s", &headers, body).await).await;
        assert_eq!(status, expected, "{headers:?}: {body}");
        assert!(!body["message"].as_str().unwrap().is_empty());
    }
    for body in [
        json!({ "events": [] }),
        json!({ "events": [{ "type": "" }] }),
        json!({ "events": [{ "type": "T", "data": 1, "dataBase64": "AA==" }] }),
        json!({ "events": [{ "type": "T", "dataBase64": "not base64!" }] }),
        json!({ "events": [{ "type": "T" }], "expectedRevision": "never" }),
        json!({ "events": [{ "type": "T", "typo": 1 }] }),
    ] {
        assert_eq!(fixture.append_plain("s", body.clone()).await.0, 400, "{body}");
    }
    assert_eq!(fixture.append_plain("$all", json!({ "events": [{ "type": "T" }] })).await.0, 400);
    assert_eq!(fixture.send("POST", "/streams/%FF%FE", &[json, kind], "{}").await.status(), 400);
}

#[tokio::test]
async fn an_append_that_is_too_large_is_refused_before_it_is_read() {
    let fixture = Fixture::new();
    let headers = [("content-type", "application/octet-stream"), ("ES-EventType", "T"), ("content-length", "99999999")];
    assert_eq!(fixture.send("POST", "/streams/s", &headers, Body::empty()).await.status(), 413);
    let unannounced = vec![0u8; super::APPEND_BODY_SIZE_MAX + 1];
    let stream = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(unannounced)]);
    assert_eq!(fixture.send("POST", "/streams/s", &headers[..2], Body::from_stream(stream)).await.status(), 413);
}

#[tokio::test]
async fn the_plain_form_pages_forward_and_backward() {
    let fixture = Fixture::new();
    let (status, appended) = fixture
        .append_plain("a-1", json!({ "expectedRevision": "noStream", "events": [{ "type": "T", "data": 1 }] }))
        .await;
    assert_eq!((status, &appended["lastRevision"]), (200, &json!(0)));
    assert!(appended["position"].is_string());
    let exact = json!({ "expectedRevision": 0, "events": [{ "type": "T", "data": 2, "metadata": { "k": "v" } }] });
    assert_eq!(fixture.append_plain("a-1", exact.clone()).await.1["lastRevision"], 1);
    assert_eq!(fixture.append_plain("a-1", exact).await.0, 400);
    fixture.append_some("a-1", 3).await;

    let (_, page) = fixture.get("/streams/a-1/events?limit=2").await;
    assert_eq!((page["events"].as_array().unwrap().len(), &page["next"]), (2, &json!(2)));
    assert_eq!(page["lastRevision"], 4);
    assert_eq!(page["events"][1]["metadata"], json!({ "k": "v" }));
    let (_, page) = fixture.get("/streams/a-1/events?from=2").await;
    assert_eq!((page["events"].as_array().unwrap().len(), &page["next"]), (3, &Value::Null));
    let (_, page) = fixture.get("/streams/a-1/events?direction=backward&limit=1").await;
    assert_eq!((&page["events"][0]["revision"], &page["next"]), (&json!(4), &json!(3)));

    for wrong in ["limit=0", "limit=4097", "from=x", "direction=up", "form=1", "typePrefix=T"] {
        assert_eq!(fixture.get(&format!("/streams/a-1/events?{wrong}")).await.0, 400, "{wrong}");
    }
    assert_eq!(fixture.get("/streams/none/events").await.0, 404);
}

#[tokio::test]
async fn the_whole_log_is_paged_and_filtered() {
    let fixture = Fixture::new();
    fixture.append_some("a-1", 3).await;
    fixture.append_some("b-1", 2).await;
    let (_, all) = fixture.get("/streams/$all/events?streamPrefix=b-&excludeSystem=true").await;
    assert_eq!(all["events"].as_array().unwrap().len(), 2);
    assert_eq!(all["atEnd"], true);
    assert_eq!(fixture.get("/streams/%24all/events?typePrefix=Nothing").await.1["events"], json!([]));

    let (mut from, mut read) = ("start".to_owned(), 0);
    loop {
        let (status, page) = fixture.get(&format!("/streams/$all/events?limit=2&excludeSystem&from={from}")).await;
        assert_eq!(status, 200);
        read += page["events"].as_array().unwrap().len();
        page["next"].as_str().unwrap().clone_into(&mut from);
        if page["atEnd"] == true {
            break;
        }
    }
    assert_eq!(read, 5, "paging by next repeats nothing and leaves nothing out");
}

#[tokio::test]
async fn payloads_pass_byte_for_byte_and_stay_on_one_line() {
    let fixture = Fixture::new();
    let number = "12345678901234567890.1234567890123456789";
    let headers = [("content-type", "application/json"), ("ES-EventType", "T")];
    fixture.send("POST", "/streams/s", &headers, format!("{{\n  \"n\": {number},\r\n \"t\": \"\\n\"}}")).await;
    let body = fixture.send("GET", "/streams/s/events", &[], Body::empty()).await.into_body();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(text.contains(number) && text.contains("\"\\n\"") && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn feeds_page_by_their_links() {
    let fixture = Fixture::new();
    fixture.append_some("s", 45).await;
    let (mut uri, mut read) = ("/streams/s".to_owned(), Vec::new());
    loop {
        let (_, feed) = fixture.get(&uri).await;
        read.extend(
            feed["entries"].as_array().unwrap().iter().map(|entry| entry["title"].as_str().unwrap().to_owned()),
        );
        let links = feed["links"].as_array().unwrap().clone();
        let Some(next) = links.iter().find(|link| link["relation"] == "next") else { break };
        next["uri"].as_str().unwrap().strip_prefix("http://here.test").unwrap().clone_into(&mut uri);
    }
    let expected: Vec<_> = (0..45).rev().map(|n| format!("{n}@s")).collect();
    assert_eq!(read, expected);
    let (_, page) = fixture.get("/streams/s/10/forward/5").await;
    assert_eq!(page["entries"][0]["title"], "14@s");
    assert_eq!(fixture.get("/streams/s/head").await.1["title"], "44@s");
    assert_eq!(fixture.get("/streams/s/99").await.0, 404);
    assert_eq!(fixture.get("/streams/s/x").await.0, 400);
    assert_eq!(fixture.get("/streams/s/0/forward/0").await.0, 400);
    assert_eq!(fixture.get("/streams/none").await.0, 404);

    let (_, all) = fixture.get("/streams/$all/head/backward/10").await;
    let next = all["links"].as_array().unwrap().iter().find(|link| link["relation"] == "next").unwrap().clone();
    let (status, older) = fixture.get(next["uri"].as_str().unwrap().strip_prefix("http://here.test").unwrap()).await;
    assert_eq!((status, older["entries"][0]["title"].as_str()), (200, Some("34@s")));
    assert_eq!(fixture.get("/streams/$all/12/forward/5").await.0, 400);
}

#[tokio::test]
async fn a_feed_that_has_not_changed_is_not_sent_again() {
    let fixture = Fixture::new();
    fixture.append_some("s", 2).await;
    let response = fixture.send("GET", "/streams/s", &[], Body::empty()).await;
    assert_eq!(header_of(&response, "cache-control"), "max-age=0, no-cache, must-revalidate");
    let tag = header_of(&response, "etag").to_owned();
    let same = [("if-none-match", tag.as_str())];
    assert_eq!(fixture.send("GET", "/streams/s", &same, Body::empty()).await.status(), 304);
    fixture.append_some("s", 1).await;
    assert_eq!(fixture.send("GET", "/streams/s", &same, Body::empty()).await.status(), 200);
    let xml = [("accept", "application/atom+xml")];
    assert_eq!(fixture.send("GET", "/streams/s", &xml, Body::empty()).await.status(), 406);
}

#[tokio::test]
async fn deletes_are_soft_or_for_good() {
    let fixture = Fixture::new();
    fixture.append_some("s", 3).await;
    assert_eq!(fixture.send("DELETE", "/streams/s", &[("ES-ExpectedVersion", "7")], Body::empty()).await.status(), 400);
    assert_eq!(fixture.send("DELETE", "/streams/s", &[], Body::empty()).await.status(), 204);
    assert_eq!(fixture.get("/streams/s").await.0, 404);
    fixture.append_some("s", 1).await;
    assert_eq!(fixture.get("/streams/s/head").await.1["title"], "3@s");
    assert_eq!(fixture.send("DELETE", "/streams/s", &[("ES-HardDelete", "true")], Body::empty()).await.status(), 204);
    for uri in ["/streams/s", "/streams/s/events", "/streams/s/0"] {
        assert_eq!(fixture.get(uri).await.0, 410, "{uri}");
    }
    assert_eq!(fixture.append_plain("s", json!({ "events": [{ "type": "T" }] })).await.0, 410);
    assert_eq!(fixture.send("DELETE", "/streams/s", &[("ES-HardDelete", "yes")], Body::empty()).await.status(), 400);
}

#[tokio::test]
async fn metadata_is_written_and_read() {
    let fixture = Fixture::new();
    fixture.append_some("s", 5).await;
    let json_type = [("content-type", "application/json")];
    let set = fixture.send("POST", "/streams/s/metadata", &json_type, r#"{"$maxCount":2,"mine":[1]}"#).await;
    assert_eq!(set.status(), 201);
    assert_eq!(fixture.get("/streams/s/metadata").await.1, json!({ "$maxCount": 2, "mine": [1] }));
    assert_eq!(fixture.get("/streams/s").await.1["entries"].as_array().unwrap().len(), 2);
    assert_eq!(fixture.send("POST", "/streams/s/metadata", &json_type, "[]").await.status(), 400);
    let event = json!([{ "eventType": "$metadata", "data": { "$maxCount": 1 } }]).to_string();
    assert_eq!(fixture.send("POST", "/streams/s/metadata", &[("content-type", EVENTS)], event).await.status(), 201);
    assert_eq!(fixture.get("/streams/s").await.1["entries"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_subscription_goes_from_history_to_live_and_ends_with_the_server() {
    let fixture = Fixture::new();
    fixture.append_some("s", 3).await;
    let response = fixture.send("GET", "/streams/s/subscribe?from=0", &[], Body::empty()).await;
    assert_eq!(header_of(&response, "content-type"), "application/x-ndjson");
    let mut body = response.into_body();
    let mut lines: Vec<Value> = Vec::new();
    while lines.len() < 3 {
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        lines.extend(chunk.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()));
    }
    assert_eq!((&lines[0]["revision"], &lines[1]["revision"]), (&json!(1), &json!(2)), "begins behind");
    assert!(lines[2]["caughtUp"]["position"].is_string(), "{}", lines[2]);
    fixture.append_some("s", 1).await;
    let live = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&live).unwrap()["revision"], 3);
    fixture.stopping.cancel();
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn pages_of_other_sites_may_read_streams() {
    let fixture = Fixture::new();
    let headers = [("origin", "http://other.test"), ("access-control-request-method", "POST")];
    let response = fixture.send("OPTIONS", "/streams/s", &headers, Body::empty()).await;
    assert_eq!(header_of(&response, "access-control-allow-origin"), "*");
    assert!(header_of(&response, "access-control-allow-headers").contains("kurrent-eventtype"));
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_refused_as_json() {
    let fixture = Fixture::new();
    let (status, body) = fixture.get("/no/such/path").await;
    assert_eq!((status, &body["code"]), (404, &json!(5)));
    let (status, body) = answer(fixture.send("PUT", "/streams/s", &[], Body::empty()).await).await;
    assert_eq!((status, &body["code"]), (405, &json!(12)));
}

#[tokio::test]
async fn every_route_of_the_table_is_mounted() {
    let fixture = Fixture::new();
    fixture.stopping.cancel();
    for route in super::ROUTES {
        let uri = route.doc.path.replace("{stream}", "s").replace("{revision}", "0").replace("{count}", "1");
        let method = match route.doc.verb {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Delete => "DELETE",
        };
        let (status, body) = answer(fixture.send(method, &uri, &[], Body::empty()).await).await;
        assert_ne!(status, 405, "{method} {uri}");
        let message = body["message"].as_str().unwrap_or_default();
        assert!(!message.starts_with("there is no route"), "{method} {uri}");
    }
}

#[tokio::test]
async fn a_silent_subscription_shows_that_it_lives() {
    let fixture = Fixture::new();
    let response = fixture.send("GET", "/streams/none/subscribe", &[], Body::empty()).await;
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"{\"caughtUp\""), "{first:?}");
    tokio::time::pause();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "\n");
}

#[tokio::test]
async fn a_panic_is_answered_without_detail() {
    async fn broken() {
        panic!("a secret detail");
    }
    let access = Fixture::new().access;
    let router = guarded(Router::new().route("/broken", axum::routing::get(broken)), access);
    let request = Request::builder().uri("/broken").body(Body::empty()).unwrap();
    let (status, body) = answer(router.oneshot(request).await.unwrap()).await;
    assert_eq!((status, &body["code"]), (500, &json!(13)));
    assert!(!body.to_string().contains("secret"));
}

#[tokio::test]
async fn links_are_followed_in_feeds_unless_the_caller_wants_them_as_they_are() {
    let fixture = Fixture::new();
    fixture.append_some("target", 2).await;
    for (data, id) in [("1@target", 1), ("9@target", 2), ("0@nowhere", 3)] {
        let id = uuid::Uuid::from_u128(id).to_string();
        let media = "application/octet-stream";
        let headers = [("content-type", media), ("es-eventtype", "$>"), ("es-eventid", &id)];
        assert_eq!(fixture.send("POST", "/streams/links", &headers, data).await.status(), 201);
    }
    let (_, feed) = fixture.get("/streams/links?embed=body").await;
    let of = |entry: usize| &feed["entries"][entry];
    assert_eq!((&of(2)["title"], &of(2)["data"]), (&json!("1@target"), &json!("{\"n\":1}")));
    assert_eq!((&of(2)["positionStreamId"], &of(2)["positionEventNumber"]), (&json!("links"), &json!(0)));
    assert_eq!((&of(0)["title"], &of(1)["summary"]), (&json!("2@links"), &json!("$>")), "they lead nowhere");
    let unresolved = [("es-resolvelinktos", "False")];
    let (_, feed) = answer(fixture.send("GET", "/streams/links?embed=rich", &unresolved, "").await).await;
    assert_eq!(feed["entries"][2]["streamId"], "links");
    let json = [("accept", "application/json")];
    let (_, event) = answer(fixture.send("GET", "/streams/links/0", &json, "").await).await;
    assert_eq!(event, json!({ "n": 1 }));
}

/// The headers of a caller who has the newest page already, and will wait for news.
fn waiting<'a>(tag: &'a str, seconds: &'a str) -> [(&'a str, &'a str); 2] {
    [("if-none-match", tag), ("es-longpoll", seconds)]
}

#[tokio::test]
async fn a_long_poll_is_answered_with_the_news() {
    let fixture = Fixture::new();
    fixture.append_some("s", 1).await;
    for (uri, stream, title) in [("/streams/s", "s", "1@s"), ("/streams/$all", "other", "0@other")] {
        let response = fixture.send("GET", uri, &[], "").await;
        let tag = header_of(&response, "etag").to_owned();
        let headers = waiting(&tag, "60");
        let (read, ()) = tokio::join!(fixture.send("GET", uri, &headers, ""), fixture.append_some(stream, 1));
        assert_eq!(answer(read).await.1["entries"][0]["title"], title);
    }
    let wait = [("kurrent-longpoll", "60")];
    let (read, ()) =
        tokio::join!(fixture.send("GET", "/streams/s/2/forward/5", &wait, ""), fixture.append_some("s", 2));
    assert!(!answer(read).await.1["entries"].as_array().unwrap().is_empty());
    let old = fixture.send("GET", "/streams/s", &waiting("\"x\"", "60"), "").await;
    assert_eq!(old.status(), 200, "an old tag is news enough");
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_does_not_wait_for_ever() {
    let fixture = Fixture::new();
    fixture.append_some("s", 1).await;
    let response = fixture.send("GET", "/streams/s", &[], "").await;
    let tag = header_of(&response, "etag").to_owned();
    assert_eq!(fixture.send("GET", "/streams/s", &waiting(&tag, "5"), "").await.status(), 304, "nothing came");
    let started = tokio::time::Instant::now();
    let wait = [("kurrent-longpoll", "86400")];
    let (status, page) = answer(fixture.send("GET", "/streams/s/1/forward/5", &wait, "").await).await;
    assert_eq!((status, &page["entries"]), (200, &json!([])));
    assert!(started.elapsed() <= std::time::Duration::from_secs(61), "patience has a bound");
    assert_eq!(fixture.send("GET", "/streams/s", &waiting(&tag, "soon"), "").await.status(), 400);
}
