//! SIGTERM: the batch in hand is finished, the position is stored, and nothing comes twice after the restart.

use std::time::Duration;

use crate::load::Load;
use crate::receiver::Receiver;
use crate::server::Server;

const STOP_LIMIT: Duration = Duration::from_secs(20);
const ARRIVE_LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_repeats_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path()).await;
    let receiver = Receiver::start().await;
    receiver.be_slow(Duration::from_millis(2));
    let load = Load { streams: 8, events: 4000 };
    let lanes = [("ordering", "stream"), ("lanes", "4"), ("autocommit:interval", "600000")];
    server.connect("stopped-cleanly", &receiver.url(), &lanes).await;
    load.write(server.http.clone()).await;
    for share in [1, 2, 3] {
        receiver.has(share * load.events / 4, ARRIVE_LIMIT).await;
        let status = server.terminate(STOP_LIMIT).await;
        assert!(status.success(), "{status}: {}", server.log_text());
        assert!(receiver.arrivals().fresh() < load.events, "it was stopped on its way");
        server.launch().await;
    }
    receiver.has(load.events, ARRIVE_LIMIT).await;
    receiver.arrivals().assert_in_order();
    assert_eq!(receiver.arrivals().repeats(), [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_connector_stays_stopped_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path()).await;
    let receiver = Receiver::start().await;
    server.connect("stays-stopped", &receiver.url(), &[]).await;
    server.reaches("stays-stopped", "RUNNING").await;
    let told = server.command_json(&["connectors", "stop", "stays-stopped", "--wait"]).await;
    assert_eq!(told["state"], "CONNECTOR_STATE_STOPPED");
    assert!(server.terminate(STOP_LIMIT).await.success());
    server.launch().await;
    Load { streams: 1, events: 10 }.write(server.http.clone()).await;
    assert_eq!(server.http.get("/connectors/stays-stopped").await["state"], "CONNECTOR_STATE_STOPPED");
    server.command_json(&["connectors", "start", "stays-stopped", "--wait"]).await;
    receiver.has(10, ARRIVE_LIMIT).await;
    assert_eq!(receiver.asked(), 10);
}
