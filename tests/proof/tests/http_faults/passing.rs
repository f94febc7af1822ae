//! Faults that pass: the record is tried again, in place, until it is taken.

use std::time::{Duration, SystemTime};

use forebay_proof::faults::{Behaviour, Fault, Target};
use forebay_runtime::pipeline::End;

use crate::world::World;

/// How long a request may take where the target takes longer.
const LIMIT: Duration = Duration::from_millis(500);

/// Faults once in so many requests, so many in a row.
struct Dose {
    every: u64,
    burst: u64,
    /// Whether the client gives up waiting.
    costs_time: bool,
}

/// Often enough to meet every lane.
const OFTEN: Dose = Dose { every: 60, burst: 6, costs_time: false };
/// For faults that cost the time of a request each.
const SELDOM: Dose = Dose { every: 200, burst: 2, costs_time: true };

/// Delivers everything to a target with this fault; the operator is told these words, if any.
async fn passes(name: &str, fault: Fault, dose: Dose, words: &[&str]) -> Target {
    let target =
        Target::start(Behaviour { fault: Some(fault), every: dose.every, burst: dose.burst, ..Behaviour::default() });
    let limit = LIMIT.as_millis().to_string();
    let short = [("requestTimeoutMs", limit.as_str())];
    let pairs = if dose.costs_time { &short[..] } else { &[] };
    let mut world = World::new(name, &format!("http://{}/in", target.address()), pairs).await;
    let ended = world.run().await;
    assert_eq!((ended.end, ended.progress.delivered, ended.progress.parked), (End::Stopped, 1_000, 0));
    world.check(&target, true).await;
    assert!(target.faults().len() >= 2, "{name}: the target did nothing wrong");
    let told = world.told();
    for word in words {
        assert!(told.contains(word), "{name}: the operator is not told `{word}` but {told}");
    }
    if words.is_empty() {
        assert!(!told.contains("failed"), "{name}: the operator is alarmed for nothing: {told}");
    }
    target
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_before_the_body() {
    passes("reset-before-body", Fault::ResetBeforeBody, OFTEN, &["connection reset by the target"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_after_the_body() {
    passes("reset-after-body", Fault::ResetAfterBody, OFTEN, &["connection reset by the target"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_after_it_was_taken() {
    passes("reset-after-taking", Fault::ResetAfterTaking, OFTEN, &["connection reset by the target"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_after_it_was_taken() {
    let words = ["the target closed the connection before it had answered"];
    passes("close-after-taking", Fault::CloseAfterTaking, OFTEN, &words).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_head_of_the_answer_is_slow() {
    let words = ["no answer from http://127.0.0.1", "within 500 ms"];
    passes("slow-head", Fault::SlowHead(LIMIT / 8), SELDOM, &words).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_body_of_the_answer_is_slow() {
    passes("slow-body", Fault::SlowBody(LIMIT / 8), SELDOM, &["within 500 ms"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_never_answers() {
    passes("silent", Fault::Silent, SELDOM, &["no answer from http://127.0.0.1", "within 500 ms"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_is_half_open() {
    passes("half-open", Fault::HalfOpen, SELDOM, &["no answer from http://127.0.0.1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_are_no_answers() {
    let target = passes("interim", Fault::Interim, Dose { every: 2, burst: 1, costs_time: false }, &[]).await;
    assert_eq!(target.arrivals().len(), 1_000, "nothing is sent twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_is_cut_off() {
    passes("truncated", Fault::Truncated, OFTEN, &["connection closed by the target in the middle"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_length_of_the_answer_is_wrong() {
    passes("wrong-length", Fault::WrongLength, OFTEN, &["the answer is not HTTP", "content-length"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chunks_of_the_answer_are_wrong() {
    passes("wrong-chunk", Fault::WrongChunk, OFTEN, &["chunk"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_is_longer_than_it_says() {
    let target = passes("surplus", Fault::Surplus, OFTEN, &[]).await;
    assert_eq!(target.arrivals().len(), 1_000, "what follows an answer is no answer to the next request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_is_not_http() {
    passes("garbage", Fault::Garbage, OFTEN, &["the answer is not HTTP"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_errors_that_pass() {
    for status in [408, 421, 425] {
        let word = format!("the target answered {status}");
        passes(&format!("status-{status}"), Fault::Answer(status, Vec::new()), OFTEN, &[&word]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_errors() {
    for status in [500, 502, 503, 504, 507, 599] {
        let word = format!("the target answered {status}");
        passes(&format!("status-{status}"), Fault::Answer(status, Vec::new()), OFTEN, &[&word]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_with_seconds() {
    let fault = Fault::status(429, "Retry-After: 1");
    let target = passes(
        "retry-after-seconds",
        fault,
        Dose { every: 400, burst: 1, costs_time: false },
        &["429", "delay_ms=1000"],
    )
    .await;
    waits_for_a_second(&target);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_with_a_date() {
    // The pause is the way from the answer's own date to the one it names, whatever the clocks say.
    let lines =
        vec!["Date: Fri, 21 Nov 2025 08:00:00 GMT".to_owned(), "Retry-After: Fri, 21 Nov 2025 08:00:01 GMT".to_owned()];
    let fault = Fault::Answer(429, lines);
    let target =
        passes("retry-after-date", fault, Dose { every: 400, burst: 1, costs_time: false }, &["429", "delay_ms=1000"])
            .await;
    waits_for_a_second(&target);
}

/// Each record that was refused came back after the pause that was asked for, and not before.
fn waits_for_a_second(target: &Target) {
    let arrivals = target.arrivals();
    let refused: Vec<_> = arrivals.iter().filter(|arrival| !arrival.accepted).collect();
    assert!(!refused.is_empty());
    for first in refused {
        let next = arrivals.iter().find(|arrival| arrival.id == first.id && arrival.at > first.at).unwrap();
        let pause = next.at - first.at;
        assert!(pause >= Duration::from_millis(990), "{:?} came back after {pause:?}", first.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_with_an_absurd_wish() {
    for (index, wish) in ["99999999999999999999999", "-7", "tomorrow", "Fri, 31 Dec 9999 23:59:59 GMT", "0", "1e9"]
        .into_iter()
        .enumerate()
    {
        let name = format!("retry-after-absurd-{index}");
        let target = Target::start(Behaviour {
            fault: Some(Fault::status(429, &format!("Retry-After: {wish}"))),
            every: 200,
            burst: 1,
            ..Behaviour::default()
        });
        let pairs = [("resilience:retryAfterMaxMs", "100")];
        let mut world = World::new(&name, &format!("http://{}/in", target.address()), &pairs).await;
        let begun = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let ended = world.run().await;
        assert_eq!((ended.end, ended.progress.delivered), (End::Stopped, 1_000), "{wish}");
        let took = SystemTime::UNIX_EPOCH.elapsed().unwrap() - begun;
        assert!(took < Duration::from_secs(60), "{wish}: {took:?}");
        world.check(&target, true).await;
        assert!(world.told().contains("429"));
    }
}
