//! Tests of commands, queries, supervision, crash and reopen, against a store in memory and a scripted pipeline.

use std::time::Duration;

use forebay_event::Position;
use forebay_store::LogPoint;

use super::testing::{Bench, catalog, create, settings, until, until_failed, until_state};
use super::{CommandError, ConnectorState, Connectors, CreateConnector, ListQuery, QueryError};
use ConnectorState::{Activating, Deactivating, Running, Stopped};

const ID: &str = "orders";
const STREAM: &str = "$connectors/orders";

async fn run(connectors: &Connectors, id: &str) {
    connectors.start(id, None).await.unwrap();
    until_state(connectors, id, Running).await;
}

async fn halt(connectors: &Connectors, id: &str) {
    connectors.stop(id).await.unwrap();
    until_state(connectors, id, Stopped).await;
}

#[tokio::test(start_paused = true)]
async fn a_connector_goes_through_its_whole_life() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    assert_eq!(connectors.get(ID).await.unwrap().state, Stopped);
    connectors.start(ID, None).await.unwrap();
    assert_eq!(connectors.get(ID).await.unwrap().state, Activating);
    let view = until_state(&connectors, ID, Running).await;
    until("progress is shown", async || connectors.get(ID).await.unwrap().progress.is_some_and(|p| p.read == 1)).await;
    assert_eq!((view.name.as_str(), view.kind.as_str(), view.revision), (ID, "test-sink", 0));
    assert!(matches!(connectors.delete(ID).await, Err(CommandError::IllegalTransition { state: Running, .. })));
    connectors.stop(ID).await.unwrap();
    assert_eq!(connectors.get(ID).await.unwrap().state, Deactivating);
    until_state(&connectors, ID, Stopped).await;
    connectors.delete(ID).await.unwrap();
    assert!(connectors.get(ID).await.unwrap().deleted_at.is_some());
    let types = ["created", "activating", "running", "deactivating", "stopped", "deleted"];
    assert_eq!(bench.store.types(STREAM), types);
    assert!(matches!(connectors.delete(ID).await, Err(CommandError::Deleted { .. })));
    assert!(matches!(connectors.start(ID, None).await, Err(CommandError::Deleted { .. })));
    assert!(matches!(connectors.start("nobody", None).await, Err(CommandError::NotFound { .. })));
    assert!(matches!(connectors.get("nobody").await, Err(QueryError::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn commands_that_do_not_fit_the_state_are_refused_and_repeated_stops_write_nothing() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    let again = CreateConnector { name: None, settings: settings(&[]) };
    assert!(matches!(connectors.create(ID, again).await, Err(CommandError::Exists { .. })));
    connectors.stop(ID).await.unwrap();
    assert_eq!(bench.store.types(STREAM), ["created"]);
    run(&connectors, ID).await;
    for refused in [connectors.start(ID, None).await, connectors.reset(ID, None).await, connectors.delete(ID).await] {
        assert!(matches!(refused, Err(CommandError::IllegalTransition { state: Running, .. })));
    }
    connectors.rename(ID, "Orders").await.unwrap();
    connectors.rename(ID, "Orders").await.unwrap();
    connectors.stop(ID).await.unwrap();
    connectors.stop(ID).await.unwrap();
    until_state(&connectors, ID, Stopped).await;
    let types = ["created", "activating", "running", "renamed", "deactivating", "stopped"];
    assert_eq!(bench.store.types(STREAM), types);
}

#[tokio::test(start_paused = true)]
async fn ids_names_and_settings_are_checked_before_anything_is_written() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    let named = |name: &str| CreateConnector { name: Some(name.to_owned()), settings: settings(&[]) };
    let Err(CommandError::Invalid(violations)) = connectors.create("a.b", named("x")).await else { panic!("refused") };
    assert_eq!(
        violations.iter().map(|violation| violation.field).collect::<Vec<_>>(),
        ["ConnectorId", "ConnectorId", "Name"]
    );
    let unknown = CreateConnector { name: None, settings: settings(&[("instanceTypeName", "no-sink")]) };
    assert!(matches!(connectors.create(ID, unknown).await, Err(CommandError::Settings(_))));
    assert!(bench.store.events(STREAM).is_empty());
    connectors.create(ID, named("  ")).await.unwrap();
    assert_eq!(connectors.get(ID).await.unwrap().name, ID);
    assert!(matches!(connectors.rename(ID, "x").await, Err(CommandError::Invalid(_))));
    let wrong = settings(&[("instanceTypeName", "no-sink")]);
    assert!(matches!(connectors.reconfigure(ID, wrong).await, Err(CommandError::Settings(_))));
}

#[tokio::test(start_paused = true)]
async fn the_number_of_connectors_is_bounded() {
    let mut bench = Bench::new();
    bench.config.connectors_max = 2;
    let connectors = bench.open().await;
    create(&connectors, "first", &[]).await;
    create(&connectors, "second", &[]).await;
    let third = CreateConnector { name: None, settings: settings(&[]) };
    assert!(matches!(connectors.create("third", third.clone()).await, Err(CommandError::TooMany { limit: 2 })));
    connectors.delete("first").await.unwrap();
    connectors.create("third", third).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_running_connector_keeps_its_settings_until_it_is_restarted() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[("url", "old")]).await;
    run(&connectors, ID).await;
    connectors.reconfigure(ID, settings(&[("url", "new")])).await.unwrap();
    let view = connectors.get(ID).await.unwrap();
    assert_eq!((view.settings.get("url"), view.revision, view.restart_needed), (Some("new"), 1, true));
    assert_eq!(bench.runner.runs_of(ID).last().unwrap().settings.get("url"), Some("old"));
    halt(&connectors, ID).await;
    run(&connectors, ID).await;
    assert!(!connectors.get(ID).await.unwrap().restart_needed);
    assert_eq!(bench.runner.runs_of(ID).last().unwrap().settings.get("url"), Some("new"));
    assert_eq!(connectors.get(ID).await.unwrap().kind, "test-sink");
}

#[tokio::test(start_paused = true)]
async fn a_created_anew_connector_begins_from_nothing() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    create(&connectors, "other", &[]).await;
    connectors.reconfigure(ID, settings(&[("url", "x")])).await.unwrap();
    run(&connectors, ID).await;
    bench.checkpoint(ID, 3).await;
    halt(&connectors, ID).await;
    assert_eq!(connectors.get(ID).await.unwrap().position, Some(Position::new(3)));
    connectors.delete(ID).await.unwrap();
    create(&connectors, ID, &[]).await;
    let view = connectors.get(ID).await.unwrap();
    assert_eq!((view.revision, view.position, view.deleted_at, view.state), (0, None, None, Stopped));
    bench.checkpoint(ID, 9).await;
    assert_eq!(connectors.get(ID).await.unwrap().position, Some(Position::new(9)));
    let ids: Vec<_> = connectors.list(ListQuery::default()).await.unwrap().into_iter().map(|view| view.id).collect();
    assert_eq!(ids, [ID, "other"], "created anew, it keeps its place");
}

#[tokio::test(start_paused = true)]
async fn checkpoints_that_a_delete_could_not_hide_are_hidden_by_the_next_create() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    bench.checkpoint(ID, 3).await;
    bench.store.reads_fail.store(true, std::sync::atomic::Ordering::SeqCst);
    connectors.delete(ID).await.unwrap();
    bench.store.reads_fail.store(false, std::sync::atomic::Ordering::SeqCst);
    create(&connectors, ID, &[]).await;
    assert_eq!(connectors.get(ID).await.unwrap().position, None);
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_and_readable() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    for part in ["checkpoints", "lifecycle", "leases"] {
        let stream = forebay_event::StreamName::new(&format!("{STREAM}/{part}")).unwrap();
        let (metadata, _) = forebay_store::EventStore::metadata(&*bench.store, &stream).await.unwrap();
        assert_eq!(metadata.max_count(), Some(10), "{part}");
    }
    run(&connectors, ID).await;
    halt(&connectors, ID).await;
    let lifecycle = "$connectors/orders/lifecycle";
    until("the lifecycle is written", async || bench.store.events(lifecycle).len() == 4).await;
    let states: Vec<_> =
        bench.store.bodies(lifecycle).iter().map(|body| body["toState"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPED"].map(|s| format!("PROCESSOR_STATE_{s}")));
    let first = &bench.store.bodies(lifecycle)[0];
    assert_eq!(first["fromState"], "PROCESSOR_STATE_STOPPED");
    assert_eq!(first["processor"]["processorId"], ID);
    assert_eq!(first["metadata"]["eventSeverity"], "EVENT_SEVERITY_INFORMATION");
}

#[tokio::test(start_paused = true)]
async fn starts_and_resets_say_where_to_begin() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[("subscription:initialPosition", "earliest")]).await;
    let last = |bench: &Bench| bench.runner.runs_of(ID).last().unwrap().start_from;
    run(&connectors, ID).await;
    assert_eq!(last(&bench), None, "the setting says where");
    halt(&connectors, ID).await;
    connectors.reset(ID, None).await.unwrap();
    until_state(&connectors, ID, Running).await;
    assert_eq!(last(&bench), Some(LogPoint::Start));
    halt(&connectors, ID).await;
    connectors.reset(ID, Some(Position::new(2))).await.unwrap();
    until_state(&connectors, ID, Running).await;
    assert_eq!(last(&bench), Some(LogPoint::At(Position::new(2))));
    halt(&connectors, ID).await;
    connectors.start(ID, Some(LogPoint::At(Position::START))).await.unwrap();
    until_state(&connectors, ID, Running).await;
    assert_eq!(last(&bench), Some(LogPoint::Start));
    halt(&connectors, ID).await;
    let beyond = connectors.start(ID, Some(LogPoint::At(Position::new(100_000)))).await;
    assert!(matches!(beyond, Err(CommandError::NoSuchPosition { .. })));
    assert!(matches!(
        connectors.reset(ID, Some(Position::new(100_000))).await,
        Err(CommandError::NoSuchPosition { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn from_now_on_means_from_the_start_command_on_also_after_a_crash() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    run(&connectors, ID).await;
    let begun = bench.runner.runs_of(ID)[0].start_from.unwrap();
    assert!(matches!(begun, LogPoint::At(_)));
    drop(connectors);
    bench.quiet().await;
    bench.put("orders-1", "OrderPlaced", "{}").await;
    let connectors = bench.open().await;
    until_state(&connectors, ID, Running).await;
    assert_eq!(bench.runner.runs_of(ID)[1].start_from, Some(begun), "nothing in between is skipped");
}

#[tokio::test(start_paused = true)]
async fn the_start_position_wins_until_the_run_has_a_checkpoint_of_its_own() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    run(&connectors, ID).await;
    bench.checkpoint(ID, 2).await;
    halt(&connectors, ID).await;
    connectors.reset(ID, Some(Position::new(1))).await.unwrap();
    until_state(&connectors, ID, Running).await;
    drop(connectors);
    bench.quiet().await;
    let connectors = bench.open().await;
    until_state(&connectors, ID, Running).await;
    let begun: Vec<_> = bench.runner.runs_of(ID).iter().skip(1).map(|run| run.start_from).collect();
    assert_eq!(begun, [Some(LogPoint::At(Position::new(1))); 2], "the old checkpoint does not count");
    bench.checkpoint(ID, 5).await;
    drop(connectors);
    bench.quiet().await;
    let connectors = bench.open().await;
    until_state(&connectors, ID, Running).await;
    assert_eq!(bench.runner.runs_of(ID).last().unwrap().start_from, None, "its own checkpoint counts");
    drop(connectors);
}

#[tokio::test(start_paused = true)]
async fn a_start_point_holds_over_failures_and_stops_until_there_is_a_checkpoint_behind_it() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[("script", "fail")]).await;
    bench.put("orders-1", "OrderPlaced", "{}").await;
    connectors.start(ID, Some(LogPoint::Start)).await.unwrap();
    until_failed(&connectors, ID).await;
    connectors.reconfigure(ID, settings(&[])).await.unwrap();
    run(&connectors, ID).await;
    halt(&connectors, ID).await;
    run(&connectors, ID).await;
    let begun: Vec<_> = bench.runner.runs_of(ID).iter().map(|run| run.start_from).collect();
    assert_eq!(begun, [Some(LogPoint::Start); 3], "history is not skipped because a first start failed");
    bench.checkpoint(ID, 1).await;
    halt(&connectors, ID).await;
    run(&connectors, ID).await;
    assert_eq!(bench.runner.runs_of(ID)[3].start_from, None);
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_what_ran_comes_back_and_what_was_stopped_stays_stopped() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    for id in ["runs-on", "stopped", "failed", "deleted", "stopping"] {
        create(&connectors, id, &[]).await;
        run(&connectors, id).await;
    }
    halt(&connectors, "stopped").await;
    halt(&connectors, "failed").await;
    connectors.reconfigure("failed", settings(&[("script", "fail")])).await.unwrap();
    connectors.start("failed", None).await.unwrap();
    until_failed(&connectors, "failed").await;
    halt(&connectors, "deleted").await;
    connectors.delete("deleted").await.unwrap();
    connectors.stop("stopping").await.unwrap();
    drop(connectors);
    bench.quiet().await;
    let before = bench.runner.runs.lock().len();
    let connectors = bench.open().await;
    until_state(&connectors, "runs-on", Running).await;
    until_state(&connectors, "stopping", Stopped).await;
    let failed = connectors.get("failed").await.unwrap();
    assert_eq!((failed.state, failed.error.unwrap().code.as_str()), (Stopped, "test"));
    assert_eq!(connectors.get("stopped").await.unwrap().state, Stopped);
    assert!(connectors.get("deleted").await.unwrap().deleted_at.is_some());
    assert_eq!(bench.runner.runs.lock().len(), before + 1);
    assert!(bench.runner.runs_of("runs-on")[0].epoch < bench.runner.runs_of("runs-on")[1].epoch);
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_every_single_event_leaves_a_connector_that_works() {
    for crash_after in 1..7 {
        let bench = Bench::new();
        let connectors = bench.open().await;
        let journey = async {
            create(&connectors, ID, &[]).await;
            run(&connectors, ID).await;
            connectors.reconfigure(ID, settings(&[("url", "x")])).await.unwrap();
            halt(&connectors, ID).await;
            connectors.delete(ID).await.unwrap();
        };
        tokio::select! {
            () = journey => {}
            () = until("the crash is due", async || bench.store.events(STREAM).len() >= crash_after) => {}
        }
        drop(connectors);
        bench.quiet().await;
        let connectors = bench.open().await;
        let view = connectors.get(ID).await.unwrap();
        if view.deleted_at.is_none() {
            match view.state {
                Stopped => {}
                Activating | Running => {
                    until_state(&connectors, ID, Running).await;
                    halt(&connectors, ID).await;
                }
                Deactivating => {
                    until_state(&connectors, ID, Stopped).await;
                }
            }
            run(&connectors, ID).await;
            halt(&connectors, ID).await;
            connectors.delete(ID).await.unwrap();
        }
        create(&connectors, ID, &[]).await;
        assert!(!bench.runner.overlapped.load(std::sync::atomic::Ordering::SeqCst));
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_stops_all_at_once_and_the_next_start_brings_them_back() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    for id in ["first", "second", "third"] {
        create(&connectors, id, &[("script", if id == "third" { "hang" } else { "run" })]).await;
        run(&connectors, id).await;
    }
    let began = tokio::time::Instant::now();
    connectors.shutdown().await;
    assert!(began.elapsed() < super::testing::STOP_LIMIT + Duration::from_secs(3), "they stop side by side");
    bench.quiet().await;
    for id in ["first", "second", "third"] {
        assert_eq!(bench.store.types(&format!("$connectors/{id}")).last().unwrap(), "stopped");
        let leases = bench.store.bodies(&format!("$connectors/{id}/leases"));
        assert_eq!(leases.last().unwrap()["Duration"], "00:00:00", "the lease is released");
    }
    assert!(!bench.store.events("$connectors-mngt/state-projection").is_empty());
    assert!(connectors.start("first", None).await.is_err(), "nothing is accepted any more");
    drop(connectors);
    let connectors = bench.open().await;
    for id in ["first", "second", "third"] {
        until_state(&connectors, id, Running).await;
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_reported_with_code_and_reason() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    for (script, code) in [("fail", "test"), ("panic", "panic"), ("end", "ended"), ("fail-later", "test")] {
        let id = format!("does-{script}");
        create(&connectors, &id, &[("script", script)]).await;
        connectors.start(&id, None).await.unwrap();
        let view = until_failed(&connectors, &id).await;
        assert_eq!((view.state, view.error.unwrap().code.as_str()), (Stopped, code));
    }
    // Settings that were good when created may not be when activated.
    create(&connectors, ID, &[("url", "x")]).await;
    *bench.runner.refuses.lock() = Some("url");
    connectors.start(ID, None).await.unwrap();
    let view = until_failed(&connectors, ID).await;
    assert_eq!((view.state, view.error.unwrap().code.as_str()), (Stopped, "settings"));
    *bench.runner.refuses.lock() = None;
    run(&connectors, ID).await;
    assert_eq!(connectors.get(ID).await.unwrap().error, None);
}

#[tokio::test(start_paused = true)]
async fn a_failed_connector_is_restarted_by_its_policy_until_the_bound() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    let policy = [
        ("script", "fail"),
        ("restart:policy", "onFailure"),
        ("restart:delayMs", "1000"),
        ("restart:maxRestarts", "2"),
    ];
    create(&connectors, ID, &policy).await;
    connectors.start(ID, None).await.unwrap();
    let view = until_failed(&connectors, ID).await;
    assert!(view.error.unwrap().message.contains("next restart at "));
    until("it gave up", async || bench.store.types(STREAM).iter().filter(|t| *t == "failed").count() == 3).await;
    assert!(!connectors.get(ID).await.unwrap().error.unwrap().message.contains("next restart"));
    drop(connectors);
    let connectors = bench.open().await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(connectors.get(ID).await.unwrap().state, Stopped);
    assert_eq!(bench.runner.runs_of(ID).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_is_due_survives_a_crash_and_ends_with_a_stop() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    let policy = [("script", "fail"), ("restart:policy", "onFailure"), ("restart:delayMs", "60000")];
    create(&connectors, ID, &policy).await;
    connectors.start(ID, None).await.unwrap();
    until_failed(&connectors, ID).await;
    drop(connectors);
    let connectors = bench.open().await;
    until("it was tried again", async || bench.runner.runs_of(ID).len() == 2).await;
    connectors.stop(ID).await.unwrap();
    until("it is stopped", async || bench.store.types(STREAM).last().unwrap() == "stopped").await;
    assert_eq!(connectors.get(ID).await.unwrap().error, None);
    tokio::time::advance(Duration::from_secs(3600)).await;
    until_state(&connectors, ID, Stopped).await;
    assert_eq!(bench.runner.runs_of(ID).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_does_not_stop_is_cut_off_and_a_start_waits_for_that() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[("script", "hang")]).await;
    run(&connectors, ID).await;
    connectors.stop(ID).await.unwrap();
    connectors.start(ID, None).await.unwrap();
    until_state(&connectors, ID, Running).await;
    let types = ["created", "activating", "running", "deactivating", "stopped", "activating", "running"];
    assert_eq!(bench.store.types(STREAM), types);
    assert!(!bench.runner.overlapped.load(std::sync::atomic::Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn secrets_are_never_in_streams_views_or_debug() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    let secret = [
        ("authentication:password", "hunter2"),
        ("defaultHeaders:Authorization", "Bearer hunter2"),
        ("defaultHeaders:X-Plain", "plain"),
        ("_authentication:password", "hunter2-old"),
    ];
    create(&connectors, ID, &secret).await;
    run(&connectors, ID).await;
    assert_eq!(bench.runner.runs_of(ID)[0].settings.get("authentication:password"), Some("hunter2"));
    let mut given = connectors.get(ID).await.unwrap().settings;
    assert_eq!(given.get("authentication:password"), Some(forebay_connector::settings::MASK));
    assert_eq!(given.get("defaultHeaders:X-Plain"), Some("plain"));
    given.insert("url", "elsewhere");
    connectors.reconfigure(ID, given).await.unwrap();
    halt(&connectors, ID).await;
    run(&connectors, ID).await;
    assert_eq!(bench.runner.runs_of(ID)[1].settings.get("authentication:password"), Some("hunter2"));
    create(&connectors, "fails", &[("authentication:password", "hunter2"), ("script", "fail")]).await;
    connectors.start("fails", None).await.unwrap();
    assert!(until_failed(&connectors, "fails").await.error.unwrap().message.contains("******** is wrong"));
    connectors.shutdown().await;
    assert!(!bench.store.everything().contains("hunter2"));
    assert!(bench.store.everything().contains("sealed:v1:"));
    let views = connectors.list(ListQuery { show_deleted: true, ..ListQuery::default() }).await.unwrap();
    assert!(!format!("{views:?}").contains("hunter2"));
    assert!(!format!("{:?}", bench.config).contains("7, 7"));
    let create = CreateConnector { name: None, settings: settings(&secret) };
    assert!(!format!("{create:?}").contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn another_key_fails_the_connector_and_not_the_others() {
    let mut bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, "secret", &[("authentication:password", "hunter2")]).await;
    create(&connectors, "plain", &[]).await;
    run(&connectors, "secret").await;
    run(&connectors, "plain").await;
    drop(connectors);
    bench.quiet().await;
    bench.config.secret_key = [8; 32];
    let connectors = bench.open().await;
    until_state(&connectors, "plain", Running).await;
    let error = until_failed(&connectors, "secret").await.error.unwrap();
    assert!(error.message.contains("another key"), "{}", error.message);
    let replaced = settings(&[("authentication:password", "hunter3")]);
    connectors.reconfigure("secret", replaced).await.unwrap();
    run(&connectors, "secret").await;
}

#[tokio::test(start_paused = true)]
async fn lists_are_filtered_and_in_the_order_of_creation() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    for id in ["zebra", "apple", "mango"] {
        create(&connectors, id, &[("instanceTypeName", if id == "mango" { "TestSink" } else { "test-sink" })]).await;
    }
    run(&connectors, "apple").await;
    connectors.delete("zebra").await.unwrap();
    let ids = async |query: ListQuery| {
        connectors.list(query).await.unwrap().into_iter().map(|view| view.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(ListQuery::default()).await, ["apple", "mango"]);
    assert_eq!(ids(ListQuery { show_deleted: true, ..ListQuery::default() }).await, ["zebra", "apple", "mango"]);
    assert_eq!(ids(ListQuery { states: vec![Running], ..ListQuery::default() }).await, ["apple"]);
    assert_eq!(ids(ListQuery { kinds: vec!["TestSink".to_owned()], ..ListQuery::default() }).await, ["mango"]);
    assert_eq!(ids(ListQuery { ids: vec!["mango".to_owned()], ..ListQuery::default() }).await, ["mango"]);
    bench.checkpoint("apple", 77).await;
    let view = connectors.get("apple").await.unwrap();
    assert_eq!(view.position, Some(Position::new(77)));
    assert!(view.position_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_refused_by_place_and_what_is_unknown_is_passed_over() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    bench.put(STREAM, "$conn-mngt-connector-painted", "not json").await;
    bench.put(STREAM, "Note", "{}").await;
    let conflict = connectors.rename(ID, "Other").await;
    assert!(matches!(conflict, Err(CommandError::Conflict { .. })), "somebody else wrote");
    connectors.rename(ID, "Other").await.unwrap();
    drop(connectors);
    let connectors = bench.open().await;
    assert_eq!(connectors.get(ID).await.unwrap().name, "Other");
    drop(connectors);
    bench.put(STREAM, "$conn-mngt-connector-renamed", "not json").await;
    let refused = bench.try_open().await.err().unwrap().to_string();
    assert!(refused.starts_with("stream $connectors/orders revision 4 is not a management event"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_append_with_a_lost_answer_is_found_before_the_next_command() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    *bench.store.loses_answer.lock() = Some("/orders");
    assert!(matches!(connectors.start(ID, None).await, Err(CommandError::Append(_))));
    assert!(matches!(connectors.start(ID, None).await, Err(CommandError::IllegalTransition { .. })));
    until_state(&connectors, ID, Running).await;
    *bench.store.refuses.lock() = Some("/orders");
    assert!(matches!(connectors.stop(ID).await, Err(CommandError::Append(_))));
    *bench.store.refuses.lock() = None;
    halt(&connectors, ID).await;
}

#[tokio::test(start_paused = true)]
async fn reports_are_repeated_until_the_store_takes_them() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[("script", "fail-later")]).await;
    run(&connectors, ID).await;
    *bench.store.refuses.lock() = Some("/orders");
    bench.quiet().await;
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(connectors.get(ID).await.unwrap().error, None);
    *bench.store.refuses.lock() = None;
    assert_eq!(until_failed(&connectors, ID).await.state, Stopped);
}

#[tokio::test(start_paused = true)]
async fn snapshots_spare_the_scan_and_losing_them_costs_nothing_else() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, "first", &[]).await;
    connectors.shutdown().await;
    drop(connectors);
    for number in 0..50 {
        bench.put("noise", "Noise", &number.to_string()).await;
    }
    let connectors = bench.open().await;
    create(&connectors, "second", &[]).await;
    drop(connectors);
    let connectors = bench.open().await;
    assert_eq!(connectors.list(ListQuery::default()).await.unwrap().len(), 2);
    drop(connectors);
    bench.put("$connectors-mngt/state-projection", "$conn-mngt-connectors-snapshot", "not json").await;
    let connectors = bench.open().await;
    assert_eq!(connectors.list(ListQuery::default()).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_events_make_a_snapshot() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    for number in 0..100 {
        connectors.rename(ID, &format!("Orders {number}")).await.unwrap();
    }
    let stream = "$connectors-mngt/state-projection";
    until("a snapshot is stored", async || !bench.store.events(stream).is_empty()).await;
    let body = bench.store.bodies(stream).pop().unwrap();
    assert_eq!(body["connectors"][0]["connectorId"], ID);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hammered_with_commands_a_connector_never_runs_twice_and_ends_as_told() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    let tasks: Vec<_> = (0..8)
        .map(|worker: usize| {
            let connectors = connectors.clone();
            tokio::spawn(async move {
                for round in 0..25 {
                    let done = match (worker + round) % 4 {
                        0 | 1 => connectors.start(ID, None).await,
                        2 => connectors.stop(ID).await,
                        _ => connectors.reset(ID, None).await,
                    };
                    match done {
                        Ok(()) | Err(CommandError::IllegalTransition { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    halt(&connectors, ID).await;
    bench.quiet().await;
    assert!(!bench.runner.overlapped.load(std::sync::atomic::Ordering::SeqCst));
    run(&connectors, ID).await;
    let epochs: Vec<_> = bench.runner.runs_of(ID).iter().map(|run| run.epoch).collect();
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_command_is_carried_out_all_the_same() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    {
        let start = connectors.start(ID, None);
        tokio::pin!(start);
        assert!(futures_poll_once(&mut start).await.is_none());
    }
    until_state(&connectors, ID, Running).await;
    assert_eq!(catalog().kinds().len(), connectors.catalog().kinds().len());
}

async fn futures_poll_once<F: Future>(future: &mut std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}
