//! Measures what users' expressions and scripts cost per record.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_event::{Position, ProposedEvent, Record, RecordedEvent, Revision, StreamName, Timestamp};
use forebay_script::{JsonPath, Limits, Transform};
use uuid::Uuid;

/// A record as filters see it, about 400 bytes.
const RECORD: &str = r#"{"recordId":"7f9c24e8-3b2d-4f5a-9c1e-8a7b6c5d4e3f","position":{"streamId":"customers-10442","streamRevision":7,"logPosition":991204},"sequenceId":12,"isTransformed":false,"schemaInfo":{"subject":"CustomerMoved","type":"json"},"headers":{"tenant":"north"},"value":{"id":10442,"name":"Ada Byron","email":"ada.byron@example.com","age":36,"vip":true,"city":"London","tags":["early","vip"],"balance":1204.5}}"#;

/// The payload of an event, about 400 bytes.
const DATA: &str = r#"{"id":10442,"name":"Ada Byron","email":"ada.byron@example.com","age":36,"vip":true,"city":"London","tags":["early","vip","north"],"balance":1204.5,"address":{"street":"12 St James's Square","postcode":"SW1Y 4JH","country":"GB"},"previous":{"street":"6 Moor Lane","postcode":"NG15 8AA","country":"GB"},"note":"moved after the summer, wants to be called before noon, prefers letters"}"#;

const SCRIPT: &str = "function transform(record) {
    record.value.email = record.value.email.toLowerCase();
    record.value.adult = record.value.age >= 18;
    delete record.value.balance;
    record.headers.by = 'bench';
}";

const BATCH: usize = 100;

fn jsonpath(c: &mut Criterion) {
    let root: serde_json::Value = serde_json::from_str(RECORD).expect("the record is JSON");
    let mut group = c.benchmark_group("jsonpath matches");
    for text in [
        "$.value.email",
        "$[?($.value.age > 30)]",
        "$[?($.value.age > 90)]",
        "$.value[?@ == 'London']",
        "$..city",
        "$.value.tags[?@ == 'vip']",
        "$[?match($.value.email, '.*@Example[.]COM')]",
        "$[?search($.value.email, 'example')]",
    ] {
        let path = JsonPath::compile(text).expect("the expression is valid");
        group.bench_function(text, |b| b.iter(|| path.matches(black_box(&root))));
    }
    group.finish();
    c.bench_function("jsonpath compile", |b| b.iter(|| JsonPath::compile(black_box("$.value[?@.age > 30]"))));
    c.bench_function("event parse", |b| {
        b.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(DATA.as_bytes())))
    });
}

fn transform(c: &mut Criterion) {
    let stream = StreamName::new("customers-10442").expect("the name is not empty");
    let proposed = ProposedEvent::json(Uuid::from_u128(1), "CustomerMoved", DATA);
    let event =
        RecordedEvent::record(&proposed, &stream, Revision::new(7), Position::new(991_204), Timestamp::default());
    let batch = vec![Record::of(event); BATCH];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the system has threads");
    let mut group = c.benchmark_group("transform batch of 100");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, source) in [("edit", SCRIPT), ("nothing", "function transform(record) {}")] {
        let transform = Transform::start(source, Limits::default()).expect("the script is valid");
        group.bench_function(name, |b| {
            b.iter(|| {
                let answers = runtime.block_on(transform.apply(batch.clone()));
                assert!(answers.iter().all(Result::is_ok));
            });
        });
    }
    group.finish();
    c.bench_function("transform load", |b| b.iter(|| forebay_script::validate(black_box(SCRIPT), Limits::default())));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = jsonpath, transform
}
criterion_main!(benches);
