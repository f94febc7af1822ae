//! Tests the HTTP sink against a receiver: the contract, requests on the wire, answers, secure connections.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_connector::settings::{SettingsErrors, SettingsMap};
use forebay_connector::testing::contract::{Fixture, check_sink};
use forebay_connector::testing::receiver::{Fault, Received, Receiver, ReceiverOptions, Reply};
use forebay_connector::testing::samples::{batch_of, sample_batch, sample_context, sample_record, sample_record_of};
use forebay_connector::{Batch, Epoch, FailureClass, Lane, Next, Outcome, Receipt, Sink, Target, attempt};
use forebay_event::ContentType;

use super::KIND;

const LIMIT: Duration = Duration::from_secs(20);
const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Settings besides the URL.
type Entries<'a> = &'a [(&'a str, &'a str)];

fn connect(url: &str, more: &[(&str, &str)]) -> Result<Box<dyn Target>, SettingsErrors> {
    let mut map = SettingsMap::from_flat([("url".to_owned(), url.to_owned())]);
    more.iter().for_each(|(key, value)| map.insert(key, value));
    (KIND.connect)(&map, &sample_context())
}

fn sink(url: &str, more: &[(&str, &str)]) -> Box<dyn Sink> {
    connect(url, more).unwrap().sink(Lane(0))
}

/// A receiver that can be stopped, and the records it got.
struct Endpoint {
    receiver: Mutex<Option<Receiver>>,
    url: String,
    seen: Mutex<Vec<Received>>,
    more: Vec<(&'static str, &'static str)>,
}

impl Endpoint {
    async fn new(more: &[(&'static str, &'static str)]) -> Self {
        let receiver = Receiver::start().await.unwrap();
        let url = receiver.url();
        Self { receiver: Mutex::new(Some(receiver)), url, seen: Mutex::default(), more: more.to_vec() }
    }

    fn with<T>(&self, see: impl FnOnce(&Receiver) -> T) -> T {
        see(self.receiver.lock().unwrap().as_ref().unwrap())
    }

    fn drain(&self) {
        let mut requests = self.with(Receiver::take_requests);
        self.seen.lock().unwrap().append(&mut requests);
    }
}

#[async_trait]
impl Fixture for Endpoint {
    fn connect(&self) -> Box<dyn Target> {
        connect(&self.url, &self.more).unwrap()
    }

    /// A request whose answer was an error counts for nothing; the script marks those by their order.
    async fn arrived(&self) -> Vec<String> {
        self.drain();
        let seen = self.seen.lock().unwrap();
        seen.iter().flat_map(identities).collect()
    }

    fn identity(&self, number: u64) -> String {
        sample_record(number).event().id().to_string()
    }

    async fn refuse_after(&self, records: usize) -> bool {
        let replies = std::iter::repeat_n(Reply::status(200), records);
        let refusal = Reply::status(503).with_body("no: hunter2-password");
        self.with(|receiver| receiver.script(replies.chain([refusal])));
        true
    }

    async fn stall(&self) -> bool {
        self.with(|receiver| receiver.script([Reply::fault(Fault::Silent)]));
        true
    }

    async fn restart(&self) -> bool {
        self.drain();
        let receiver = self.receiver.lock().unwrap().take().unwrap();
        let options = ReceiverOptions { address: Some(receiver.stop().await), ..ReceiverOptions::default() };
        *self.receiver.lock().unwrap() = Some(Receiver::start_with(options).await.unwrap());
        true
    }

    fn secrets(&self) -> Vec<String> {
        vec!["hunter2-password".into()]
    }
}

fn identities(request: &Received) -> Vec<String> {
    if let Some(id) = request.header("esdb-record-id") {
        return vec![id.to_owned()];
    }
    let values: Vec<serde_json::Value> = match request.header("content-type") {
        Some("application/x-ndjson") => {
            String::from_utf8_lossy(&request.body).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
        _ => serde_json::from_slice(&request.body).unwrap(),
    };
    values.iter().map(|value| value["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn keeps_the_contract_one_by_one() {
    let basic = [
        ("authentication:method", "Basic"),
        ("authentication:basic:username", "u"),
        ("authentication:basic:password", "hunter2-password"),
    ];
    check_sink(&Endpoint::new(&basic).await).await;
}

#[tokio::test]
async fn keeps_the_contract_in_batches() {
    for mode in ["jsonArray", "ndjson", "cloudEventsBatch"] {
        check_sink(&BatchEndpoint(Endpoint::new(&[("mode", mode)]).await)).await;
    }
}

/// With batches, the target refuses requests, not records.
struct BatchEndpoint(Endpoint);

#[async_trait]
impl Fixture for BatchEndpoint {
    fn connect(&self) -> Box<dyn Target> {
        self.0.connect()
    }

    async fn arrived(&self) -> Vec<String> {
        self.0.arrived().await
    }

    fn identity(&self, number: u64) -> String {
        self.0.identity(number)
    }

    async fn refuse_after(&self, _: usize) -> bool {
        self.0.refuse_after(0).await
    }

    async fn stall(&self) -> bool {
        self.0.stall().await
    }

    async fn restart(&self) -> bool {
        self.0.restart().await
    }
}

/// What goes over the wire, with the receiver's port taken out.
async fn on_the_wire(path: &str, more: &[(&str, &str)], batch: &Batch) -> String {
    let receiver = Receiver::start().await.unwrap();
    let mut sink = sink(&format!("{}{path}", receiver.url()), more);
    let receipt = attempt(&mut *sink, batch, LIMIT).await;
    assert!(receipt.is_complete(), "{receipt:?}");
    let text: String = receiver.requests().iter().map(Received::to_text).collect();
    text.replace(&receiver.address().to_string(), "target")
}

fn check_golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("FOREBAY_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{name} differs; FOREBAY_BLESS=1 rewrites it");
}

#[tokio::test]
async fn requests_are_as_in_the_golden_files() {
    let one = sample_batch(4..5);
    let bytes = batch_of(vec![sample_record_of(1, ContentType::Bytes, Bytes::from_static(b"not json"))]);
    let three = sample_batch(4..7);
    let signed = [("signature:secret", WEBHOOK_SECRET)];
    let bearer = [
        ("authentication:method", "bearer"),
        ("authentication:bearer:token", "t0ken"),
        ("defaultHeaders:X-Tenant", "north"),
        ("defaultHeaders:Accept-Encoding", "identity"),
        ("method", "PUT"),
    ];
    type Case<'a> = (&'a str, &'a str, Entries<'a>, &'a Batch);
    let cases: [Case<'_>; 10] = [
        ("http-event.txt", "/in", &[], &one),
        ("http-event-bytes.txt", "/in", &[], &bytes),
        ("http-template.txt", "/{category}/{schema-subject}/{stream}?type={event-type}", &[], &one),
        ("http-put-bearer.txt", "/in", &bearer, &one),
        ("http-signed.txt", "/in", &signed, &one),
        ("http-cloudevents-binary.txt", "/in", &[("cloudEvents", "binary")], &one),
        ("http-cloudevents-structured.txt", "/in", &[("cloudEvents", "structured")], &one),
        ("http-json-array.txt", "/in", &[("mode", "jsonArray")], &three),
        ("http-ndjson-plain.txt", "/in", &[("mode", "ndjson"), ("envelope", "false")], &three),
        ("http-cloudevents-batch.txt", "/in", &[("mode", "cloudEventsBatch")], &three),
    ];
    for (name, path, more, batch) in cases {
        check_golden(name, &on_the_wire(path, more, batch).await);
    }
}

async fn outcomes(replies: impl IntoIterator<Item = Reply>, more: &[(&str, &str)], count: u64) -> (Receipt, u64) {
    let receiver = Receiver::start().await.unwrap();
    receiver.script(replies);
    let mut sink = sink(&receiver.url(), more);
    (attempt(&mut *sink, &sample_batch(0..count), LIMIT).await, receiver.count())
}

fn failure(outcome: &Outcome) -> (Next, FailureClass) {
    match outcome {
        Outcome::Failed(failure) => (failure.next, failure.class),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refused_record_holds_back_those_behind_it_and_no_more() {
    let (receipt, requests) = outcomes([Reply::status(200), Reply::status(422)], &[], 4).await;
    let outcomes = receipt.outcomes();
    assert_eq!((requests, &outcomes[0]), (2, &Outcome::Delivered));
    assert_eq!(failure(&outcomes[1]), (Next::Reject, FailureClass::Status(422)));
    assert_eq!(failure(&outcomes[2]).0, Next::Retry { after: Some(Duration::ZERO) });
}

#[tokio::test]
async fn a_pause_that_the_target_asks_for_is_handed_on() {
    let (receipt, _) = outcomes([Reply::status(429).with_header("retry-after", "7")], &[], 2).await;
    for outcome in receipt.outcomes() {
        assert_eq!(failure(outcome), (Next::Retry { after: Some(Duration::from_secs(7)) }, FailureClass::Status(429)));
    }
}

/// The guide's recipe for receivers: whoever remembers the highest epoch answers 421 to a lower one.
#[tokio::test]
async fn an_owner_of_the_past_is_told_apart_in_every_mode_and_waits() {
    for more in
        [[("cloudEvents", "none")], [("cloudEvents", "structured")], [("mode", "jsonArray")], [("mode", "ndjson")]]
    {
        let (receiver, highest) = (Receiver::start().await.unwrap(), Mutex::new(0));
        receiver.answer_with(move |_, request| {
            let epoch: u64 = request.header("forebay-epoch").unwrap().parse().unwrap();
            let of = (request.header("esdb-connector-id"), request.header("forebay-lane"));
            assert_eq!(of, (Some("sample"), Some("0")));
            let mut highest = highest.lock().unwrap();
            *highest = epoch.max(*highest);
            Reply::status(if epoch < *highest { 421 } else { 200 })
        });
        let of = |epoch| Batch::new(Lane(0), Epoch(epoch), batch_of(vec![sample_record(0)]).at(), records()).unwrap();
        let records_delivered =
            |receipt: &Receipt| receipt.outcomes().iter().filter(|o| **o == Outcome::Delivered).count();
        let mut delivered = Vec::new();
        for epoch in [3, 4, 3, 4] {
            let receipt = attempt(&mut *sink(&receiver.url(), &more), &of(epoch), LIMIT).await;
            delivered.push(records_delivered(&receipt));
            for outcome in receipt.outcomes().iter().filter(|outcome| **outcome != Outcome::Delivered) {
                assert!(matches!(failure(outcome).0, Next::Retry { .. }), "{outcome:?}");
            }
        }
        assert_eq!(delivered, [3, 3, 0, 3], "{more:?}");
    }
}

fn records() -> Vec<forebay_event::Record> {
    (0..3).map(sample_record).collect()
}

#[tokio::test]
async fn redirects_and_credentials_stop_the_connector() {
    for status in [302, 401, 403] {
        let (receipt, requests) = outcomes([Reply::status(status)], &[], 2).await;
        assert_eq!((requests, failure(&receipt.outcomes()[0]).0), (1, Next::Stop));
    }
}

#[tokio::test]
async fn a_refused_batch_goes_out_one_by_one() {
    let replies = [413, 200, 400].map(Reply::status);
    let (receipt, requests) = outcomes(replies, &[("mode", "jsonArray")], 3).await;
    assert_eq!((requests, &receipt.outcomes()[0]), (3, &Outcome::Delivered));
    assert_eq!(failure(&receipt.outcomes()[1]), (Next::Reject, FailureClass::Status(400)));
    assert_eq!(failure(&receipt.outcomes()[2]).0, Next::Retry { after: Some(Duration::ZERO) });
    let (receipt, _) = outcomes([Reply::status(413)], &[("mode", "ndjson")], 1).await;
    assert_eq!(failure(&receipt.outcomes()[0]), (Next::Reject, FailureClass::TooLarge));
}

#[tokio::test]
async fn data_that_has_no_place_among_json_is_refused_alone() {
    let receiver = Receiver::start().await.unwrap();
    let mut sink = sink(&receiver.url(), &[("mode", "jsonArray"), ("envelope", "false")]);
    let bytes = sample_record_of(1, ContentType::Bytes, Bytes::from_static(b"x"));
    let receipt = attempt(&mut *sink, &batch_of(vec![sample_record(0), bytes, sample_record(2)]), LIMIT).await;
    assert_eq!(receipt.outcomes()[0], Outcome::Delivered);
    assert_eq!(failure(&receipt.outcomes()[1]), (Next::Reject, FailureClass::Malformed));
}

#[tokio::test]
async fn a_silent_target_is_given_up() {
    let more = [("requestTimeoutMs", "100")];
    let (receipt, _) = outcomes([Reply::fault(Fault::Silent)], &more, 1).await;
    assert_eq!(failure(&receipt.outcomes()[0]), (Next::Retry { after: None }, FailureClass::Timeout));
}

#[tokio::test]
async fn a_repeat_carries_the_same_key() {
    let receiver = Receiver::start().await.unwrap();
    receiver.script([Reply::fault(Fault::ResetAfterBody)]);
    let mut sink = sink(&receiver.url(), &[]);
    let batch = sample_batch(0..1);
    assert!(!attempt(&mut *sink, &batch, LIMIT).await.is_complete());
    assert!(attempt(&mut *sink, &batch.clone().again(batch.at()), LIMIT).await.is_complete());
    let keys: Vec<_> =
        receiver.requests().iter().map(|request| request.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!(keys, ["sample/order-0/0", "sample/order-0/0"]);
}

#[test]
fn everything_wrong_in_settings_is_said_at_once() {
    let wrong = [
        ("mode", "ndjson"),
        ("cloudEvents", "binary"),
        ("authentication:method", "Basic"),
        ("authentication:basic:password", "hunter2-password"),
        ("resilience:retryOnHttpCodes", "404,x"),
        ("defaultHeaders:content-length", "3"),
        ("defaultHeaders:X-Key", "hunter2\r\n"),
        ("signature:secret", "whsec_short"),
        ("tls:clientKey", "hunter2-password"),
        ("requestTimeoutMs", "0"),
    ];
    let errors = connect("http://h/{stream}", &wrong).err().unwrap();
    let keys: Vec<_> = errors.errors.iter().map(|error| error.key.as_str()).collect();
    let expected = [
        "cloudEvents",
        "url",
        "requestTimeoutMs",
        "authentication:basic:username",
        "resilience:retryOnHttpCodes",
        "signature:secret",
        "defaultHeaders:X-Key",
        "defaultHeaders:content-length",
        "tls:*",
    ];
    for key in expected {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
    assert_eq!(keys.len(), expected.len(), "{keys:?}");
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
    assert!(connect("http://u:hunter2@h/", &[]).err().unwrap().errors.iter().all(|e| !e.found.contains("hunter2")));
}

mod secure {
    use super::*;
    use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig};
    use std::sync::Arc;

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn certificate(name: &str, issuer: &CertifiedIssuer<'static, KeyPair>, expired: bool) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, issuer).unwrap(), key)
    }

    async fn receiver(name: &str, issuer: &CertifiedIssuer<'static, KeyPair>, expired: bool) -> Receiver {
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (certificate, key) = certificate(name, issuer, expired);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        let options = ReceiverOptions { tls: Some(Arc::new(config)), ..ReceiverOptions::default() };
        Receiver::start_with(options).await.unwrap()
    }

    async fn delivered(receiver: &Receiver, more: &[(&str, &str)]) -> Result<(), String> {
        let mut sink = sink(&receiver.url(), more);
        let receipt = attempt(&mut *sink, &sample_batch(0..3), LIMIT).await;
        match &receipt.outcomes()[0] {
            Outcome::Delivered => Ok(()),
            Outcome::Failed(failure) => Err(failure.reason.clone()),
            Outcome::Unanswered => Err("unanswered".into()),
        }
    }

    #[tokio::test]
    async fn a_custom_authority_and_a_client_certificate_are_enough() {
        let issuer = authority();
        let receiver = receiver("localhost", &issuer, false).await;
        let (certificate, key) = certificate("client", &issuer, false);
        let (ca, certificate, key) = (issuer.pem(), certificate.pem(), key.serialize_pem());
        let known = [
            ("tls:caCertificate", ca.as_str()),
            ("tls:clientCertificate", certificate.as_str()),
            ("tls:clientKey", key.as_str()),
        ];
        assert_eq!(delivered(&receiver, &known).await, Ok(()));
        assert_eq!((receiver.count(), receiver.connections()), (3, 1));
        let error = delivered(&receiver, &known[..1]).await.unwrap_err();
        assert!(error.contains("client certificate"), "{error}");
    }

    #[tokio::test]
    async fn certificates_that_are_wrong_are_named() {
        let issuer = authority();
        let ca = issuer.pem();
        let trusting = [("tls:caCertificate", ca.as_str())];
        let cases: [(&str, bool, Entries<'_>, &str); 3] = [
            ("localhost", false, &[], "unknown issuer"),
            ("elsewhere", false, &trusting, "another host"),
            ("localhost", true, &trusting, "expired"),
        ];
        for (name, expired, more, words) in cases {
            let receiver = receiver(name, &issuer, expired).await;
            let error = delivered(&receiver, more).await.unwrap_err();
            assert!(error.contains(words), "{error}");
            assert_eq!(receiver.count(), 0);
        }
    }
}
