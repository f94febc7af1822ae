//! Measures the HTTP sink against a plain hyper client loop that sends the same requests, on loopback in one run.

use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_connector::settings::SettingsMap;
use forebay_connector::testing::receiver::{Receiver, ReceiverOptions};
use forebay_connector::testing::samples::{sample_batch, sample_context};
use forebay_connector::{Lane, Target, attempt};
use forebay_sinks::catalog;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

const REQUESTS: u64 = 20_000;
const LANES: u32 = 64;
const BATCH: u64 = 500;
const ROUNDS: usize = 3;
const LIMIT: Duration = Duration::from_secs(120);

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn main() {
    // The receiver has a thread of its own, so that both clients meet the same target.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let options = ReceiverOptions { requests_kept: Some(1), ..ReceiverOptions::default() };
            let target = Receiver::start_with(options).await.expect("a free port");
            sender.send(target.url()).expect("somebody waits");
            std::future::pending::<()>().await;
        });
    });
    let url = receiver.recv().expect("the receiver runs");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    for round in 0..ROUNDS {
        let (plain, strict, lanes, batches) =
            runtime.block_on(async { (plain(&url).await, strict(&url).await, lanes(&url).await, batches(&url).await) });
        println!(
            "round {round}: plain loop {plain:.0}/s, strict {strict:.0}/s ({:.2}), {LANES} lanes {lanes:.0}/s ({:.2} of \
             strict), batches of {BATCH} {batches:.0} events/s",
            strict / plain,
            lanes / strict
        );
    }
}

fn target(url: &str, mode: &str) -> Box<dyn Target> {
    let settings = [("url", url), ("mode", mode)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let catalog = catalog();
    let kind = catalog.find("http-sink").expect("it is in the catalogue");
    (kind.connect)(&SettingsMap::from_flat(settings), &sample_context()).expect("the settings are valid")
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn rate(count: u64, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}

/// The loop that anyone would write: the pooled client, the same headers, prepared once.
async fn plain(url: &str) -> f64 {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let batch = sample_batch(0..1);
    let record = batch.records().first().expect("it has one");
    let headers = forebay_connector::delivery_headers(&sample_context(), &batch, record);
    let mut template = Request::post(url).header("content-type", "application/json");
    for (name, value) in &headers {
        template = template.header(name, value);
    }
    let template = template.body(Full::new(record.data())).expect("it is valid");
    let began = Instant::now();
    for _ in 0..REQUESTS {
        let answer = client.request(template.clone()).await.expect("it answers");
        answer.into_body().collect().await.expect("it answers");
    }
    rate(REQUESTS, began)
}

async fn strict(url: &str) -> f64 {
    let mut sink = target(url, "event").sink(Lane(0));
    let batch = sample_batch(0..100);
    let began = Instant::now();
    for _ in 0..REQUESTS / 100 {
        assert!(attempt(&mut *sink, &batch, LIMIT).await.is_complete());
    }
    rate(REQUESTS, began)
}

async fn lanes(url: &str) -> f64 {
    let target = target(url, "event");
    let mut tasks = tokio::task::JoinSet::new();
    let began = Instant::now();
    let each = REQUESTS * 2 / u64::from(LANES) / 25;
    for lane in 0..LANES {
        let mut sink = target.sink(Lane(lane));
        tasks.spawn(async move {
            let batch = sample_batch(0..25);
            for _ in 0..each {
                assert!(attempt(&mut *sink, &batch, LIMIT).await.is_complete());
            }
        });
    }
    tasks.join_all().await;
    rate(each * 25 * u64::from(LANES), began)
}

async fn batches(url: &str) -> f64 {
    let mut sink = target(url, "jsonArray").sink(Lane(0));
    let batch = sample_batch(0..BATCH);
    let began = Instant::now();
    for _ in 0..1000 {
        assert!(attempt(&mut *sink, &batch, LIMIT).await.is_complete());
    }
    rate(1000 * BATCH, began)
}
