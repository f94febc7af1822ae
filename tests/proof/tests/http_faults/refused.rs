//! Faults that do not pass: the record is parked with its key, or the connector stops and says why.

use forebay_proof::faults::{Behaviour, Fault, Target};
use forebay_proof::history::Id;
use forebay_runtime::pipeline::End;

use crate::world::{PER_KEY, World};

/// The record that is refused.
const REFUSED: Id = Id { key: 3, number: 40 };

fn refusing(fault: Fault) -> Target {
    let judge = Box::new(move |id: Id| (id == REFUSED).then(|| fault.clone()));
    Target::start(Behaviour { judge: Some(judge), ..Behaviour::default() })
}

fn failed(end: &End) -> &str {
    match end {
        End::Failed(failure) => &failure.message,
        other => panic!("it ended as {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_errors_park_the_record_and_its_key() {
    for status in
        [400, 402, 404, 405, 406, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 422, 424, 426, 428, 431, 451]
    {
        let name = format!("park-{status}");
        let target = refusing(Fault::status(status, "X-Reason: no"));
        let pairs = [("errors:onReject", "park")];
        let mut world = World::new(&name, &format!("http://{}/in", target.address()), &pairs).await;
        let ended = world.run().await;
        let tail = PER_KEY - REFUSED.number;
        assert_eq!((ended.end, ended.progress.parked), (End::Stopped, tail), "{name}");
        world.check(&target, true).await;
        let parked = world.parked().await;
        assert_eq!(parked.len() as u64, tail);
        let (first, body) = &parked[0];
        assert_eq!((*first, &body["reason"]), (REFUSED, &serde_json::json!("rejected")));
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("the target answered {status}")), "{message}");
        assert!(parked[1..].iter().all(|(_, body)| body["reason"] == "follows"));
        assert!(world.told().contains(&format!("answered {status}")), "{}", world.told());
    }
}

/// Stops at the refused record, says why and where, sends nothing elsewhere; mended and started again, it loses nothing.
async fn stops(name: &str, fault: Fault, words: &[&str]) {
    let target = refusing(fault);
    let mut world = World::new(name, &format!("http://{}/in", target.address()), &[]).await;
    let ended = world.run().await;
    let message = failed(&ended.end);
    let place = format!("stream counted-{}, revision {}", REFUSED.key, REFUSED.number);
    for word in words.iter().copied().chain([place.as_str()]) {
        assert!(message.contains(word), "{name}: {word:?} is not in {message:?}");
    }
    let behind = |id: Id| id.key == REFUSED.key && id.number > REFUSED.number;
    assert!(!target.arrivals().iter().any(|arrival| behind(arrival.id)), "{name}: a later record of the key went out");
    target.mend();
    assert_eq!(world.run().await.end, End::Stopped);
    world.check(&target, false).await;
    assert!(world.parked().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_errors_stop_unless_told_otherwise() {
    for status in [400, 404, 422] {
        stops(&format!("stop-{status}"), Fault::Answer(status, Vec::new()), &[&format!("answered {status}")]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_we_are_is_not_accepted() {
    for status in [401, 403, 407] {
        let word = format!("answered {status}");
        let fault = Fault::Answer(status, vec!["WWW-Authenticate: Basic".to_owned()]);
        stops(&format!("stop-{status}"), fault, &[&word, "who we say we are"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let word = format!("answered {status}");
        let words = [word.as_str(), "points to /elsewhere", "redirects are not followed"];
        stops(&format!("stop-{status}"), Fault::status(status, "Location: /elsewhere"), &words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_that_run_out_stop_with_their_cause() {
    let target = refusing(Fault::Answer(503, Vec::new()));
    let pairs = [("resilience:maxRetries", "3")];
    let mut world = World::new("out-of-retries", &format!("http://{}/in", target.address()), &pairs).await;
    let ended = world.run().await;
    let message = failed(&ended.end);
    assert!(message.contains("503") && message.contains("4 attempts"), "{message}");
    target.mend();
    assert_eq!(world.run().await.end, End::Stopped);
    world.check(&target, false).await;
}
