//! Tests of connector files.

use serde_json::{Value, json};

use super::ConnectorState::{Running, Stopped};
use super::testing::{Bench, create, settings, until_state};
use super::{Connectors, CreateConnector, ListQuery};

const ID: &str = "orders";

fn file(connector: Value) -> Value {
    json!({"connectors": [connector]})
}

fn declared(state: &str, url: &str) -> Value {
    file(json!({
        "id": ID, "name": "Orders", "state": state, "startFrom": "earliest",
        "settings": {"instanceTypeName": "test-sink", "url": url, "authentication": {"password": "hunter2"}},
    }))
}

async fn actions(connectors: &Connectors, file: &Value) -> Vec<&'static str> {
    connectors.apply(file, false).await.unwrap().remove(0).actions
}

#[tokio::test(start_paused = true)]
async fn a_file_makes_connectors_so_and_the_second_time_nothing() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, "not-declared", &[]).await;
    let dry = connectors.apply(&declared("running", "a"), true).await.unwrap().remove(0);
    assert_eq!(dry.actions, ["create", "start"]);
    assert_eq!(connectors.list(ListQuery::default()).await.unwrap().len(), 1, "a dry run does nothing");
    assert!(dry.diff.contains(&"+ authentication:password: ********".to_owned()), "{:?}", dry.diff);
    assert_eq!(actions(&connectors, &declared("running", "a")).await, ["create", "start"]);
    until_state(&connectors, ID, Running).await;
    assert_eq!(bench.runner.runs_of(ID)[0].start_from, Some(forebay_store::LogPoint::Start));
    let events = bench.store.events("$connectors/orders").len();
    assert!(actions(&connectors, &declared("running", "a")).await.is_empty());
    assert_eq!(bench.store.events("$connectors/orders").len(), events);
}

#[tokio::test(start_paused = true)]
async fn what_differs_is_changed_and_a_changed_running_connector_restarted() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    actions(&connectors, &declared("running", "a")).await;
    until_state(&connectors, ID, Running).await;
    let changes = connectors.apply(&declared("running", "b"), false).await.unwrap();
    assert_eq!(changes[0].actions, ["reconfigure", "restart"]);
    assert_eq!(changes[0].diff, ["- url: a", "+ url: b"]);
    until_state(&connectors, ID, Running).await;
    assert_eq!(bench.runner.runs_of(ID).last().unwrap().settings.get("url"), Some("b"));
    assert_eq!(actions(&connectors, &declared("stopped", "b")).await, ["stop"]);
    until_state(&connectors, ID, Stopped).await;
    assert_eq!(actions(&connectors, &declared("stopped", "c")).await, ["reconfigure"]);
    connectors.rename(ID, "Something").await.unwrap();
    assert_eq!(actions(&connectors, &declared("running", "c")).await, ["rename", "start"]);
    until_state(&connectors, ID, Running).await;
    // Changed by hand and not restarted: the file makes it hold.
    let by_hand = settings(&[("url", "c"), ("authentication:password", "hunter3")]);
    connectors.reconfigure(ID, by_hand).await.unwrap();
    let changes = connectors.apply(&declared("running", "c"), false).await.unwrap();
    assert_eq!(changes[0].actions, ["reconfigure", "restart"]);
    assert_eq!(changes[0].diff, ["- authentication:password: ********", "+ authentication:password: ********"]);
}

#[tokio::test(start_paused = true)]
async fn the_whole_file_is_checked_before_anything_is_done() {
    let mut bench = Bench::new();
    bench.config.connectors_max = 1;
    let connectors = bench.open().await;
    let good = json!({"id": ID, "settings": {"instanceTypeName": "test-sink"}});
    let wrong = json!({"id": "wrong", "settings": {"instanceTypeName": "no-sink"}});
    let refusal = async |second: Value| {
        let file = json!({"connectors": [good.clone(), second]});
        let error = connectors.apply(&file, false).await.unwrap_err().to_string();
        assert!(connectors.list(ListQuery::default()).await.unwrap().is_empty());
        error
    };
    assert!(refusal(wrong).await.starts_with("connector wrong: setting instanceTypeName is \"no-sink\""));
    let endless = json!({"id": "wrong", "state": "running", "settings": {"instanceTypeName": "test-sink"}});
    assert!(refusal(endless).await.contains("give `startFrom`"));
    let beyond = json!({"id": "wrong", "startFrom": 4711, "settings": {"instanceTypeName": "test-sink"}});
    assert!(refusal(beyond).await.contains("position 4711 is not in the log"));
    let too_many = json!({"id": "second", "settings": {"instanceTypeName": "test-sink"}});
    assert!(refusal(too_many).await.contains("1 connectors already"));
}

#[tokio::test(start_paused = true)]
async fn a_start_missed_by_a_crash_begins_where_the_file_says() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    let created = json!({"id": ID, "settings": {"instanceTypeName": "test-sink"}});
    assert_eq!(actions(&connectors, &file(created)).await, ["create"]);
    let without = json!({"id": ID, "state": "running", "settings": {"instanceTypeName": "test-sink"}});
    assert!(connectors.apply(&file(without), false).await.is_err(), "it never ran: nothing says where to begin");
    let with = json!({"id": ID, "state": "running", "startFrom": "earliest",
        "settings": {"instanceTypeName": "test-sink"}});
    assert_eq!(actions(&connectors, &file(with)).await, ["start"]);
    until_state(&connectors, ID, Running).await;
    assert_eq!(bench.runner.runs_of(ID)[0].start_from, Some(forebay_store::LogPoint::Start));
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_deleted_is_created_anew() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    connectors.delete(ID).await.unwrap();
    let again = CreateConnector { name: None, settings: settings(&[("authentication:password", "********")]) };
    assert!(connectors.create(ID, again).await.is_err(), "the mask has nothing behind it any more");
    assert_eq!(actions(&connectors, &declared("stopped", "a")).await, ["create"]);
}
