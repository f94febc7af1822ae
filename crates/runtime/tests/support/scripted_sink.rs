//! A sink that answers as a test says, and remembers what it took.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::settings::{SettingsErrors, SettingsMap};
use forebay_connector::{
    Batch, Catalog, Failure, Guarantee, Kind, Lane, LaneSupport, Receipt, Sink, SinkContext, Target,
};
use forebay_event::{Position, Record};
use parking_lot::Mutex;
use tokio::time::Instant;

/// What the sink does with a record.
pub(crate) enum Answer {
    /// Takes it.
    Take,
    /// Takes it, after some time.
    TakeAfter(Duration),
    /// Marks it failed and goes on with the next.
    Fail(Failure),
    /// Fails and leaves it and all behind it unanswered.
    Break(Failure),
    /// Crashes.
    Panic,
    /// Never answers.
    Hang,
}

/// A record that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    pub(crate) stream: String,
    pub(crate) revision: u64,
    pub(crate) position: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) attempt: u32,
    pub(crate) at: Instant,
}

type Behaviour = Box<dyn FnMut(&Record, u32) -> Answer + Send>;
type Probing = Box<dyn FnMut() -> Result<Option<Position>, Failure> + Send>;

/// The script of all lanes of one connector.
pub(crate) struct SinkScript {
    behaviour: Mutex<Behaviour>,
    probing: Mutex<Probing>,
    delivered: Mutex<Vec<Delivered>>,
    attempts: Mutex<Vec<Instant>>,
    batches: Mutex<Vec<usize>>,
    closed: Mutex<u32>,
}

static SCRIPTS: LazyLock<Mutex<HashMap<String, Arc<SinkScript>>>> = LazyLock::new(Mutex::default);

impl SinkScript {
    /// The script of the connector of this id, which takes everything until told otherwise.
    pub(crate) fn of(connector_id: &str) -> Arc<Self> {
        let script = Self {
            behaviour: Mutex::new(Box::new(|_, _| Answer::Take)),
            probing: Mutex::new(Box::new(|| Ok(None))),
            delivered: Mutex::default(),
            attempts: Mutex::default(),
            batches: Mutex::default(),
            closed: Mutex::default(),
        };
        Arc::clone(SCRIPTS.lock().entry(connector_id.to_owned()).or_insert_with(|| Arc::new(script)))
    }

    pub(crate) fn behave(&self, behaviour: impl FnMut(&Record, u32) -> Answer + Send + 'static) {
        *self.behaviour.lock() = Box::new(behaviour);
    }

    pub(crate) fn probe(&self, probing: impl FnMut() -> Result<Option<Position>, Failure> + Send + 'static) {
        *self.probing.lock() = Box::new(probing);
    }

    pub(crate) fn delivered(&self) -> Vec<Delivered> {
        self.delivered.lock().clone()
    }

    pub(crate) fn attempts(&self) -> Vec<Instant> {
        self.attempts.lock().clone()
    }

    /// The sizes of the batches that were tried.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.batches.lock().clone()
    }

    pub(crate) fn closed(&self) -> u32 {
        *self.closed.lock()
    }

    /// Stream and revision of everything taken, in the order of taking.
    pub(crate) fn names(&self) -> Vec<String> {
        self.delivered.lock().iter().map(|taken| format!("{}@{}", taken.stream, taken.revision)).collect()
    }

    pub(crate) fn forget(&self) {
        self.delivered.lock().clear();
        self.attempts.lock().clear();
    }
}

/// `many-sink` serves many lanes, `one-sink` only one; the target of `keeping-sink` keeps positions.
pub(crate) fn catalog() -> Catalog {
    let kind = |name, lanes| Kind {
        name,
        aliases: &[],
        title: "Scripted",
        summary: "does as a test says",
        page: "",
        guarantee: Guarantee::AtLeastOnce,
        lanes,
        batch_records_default: 10,
        settings: Vec::new,
        connect,
    };
    let keeping = Kind { connect: connect_keeping, ..kind("keeping-sink", LaneSupport::Many) };
    Catalog::new(vec![kind("many-sink", LaneSupport::Many), kind("one-sink", LaneSupport::One), keeping])
}

fn connect(_: &SettingsMap, context: &SinkContext) -> Result<Box<dyn Target>, SettingsErrors> {
    Ok(Box::new(ScriptedTarget { script: SinkScript::of(&context.connector_id), keeps_position: false }))
}

fn connect_keeping(_: &SettingsMap, context: &SinkContext) -> Result<Box<dyn Target>, SettingsErrors> {
    Ok(Box::new(ScriptedTarget { script: SinkScript::of(&context.connector_id), keeps_position: true }))
}

struct ScriptedTarget {
    script: Arc<SinkScript>,
    keeps_position: bool,
}

impl Target for ScriptedTarget {
    fn sink(&self, _: Lane) -> Box<dyn Sink> {
        Box::new(ScriptedSink { script: Arc::clone(&self.script), standing: None })
    }

    fn attempt_limit(&self, _: usize) -> Duration {
        Duration::from_secs(3)
    }

    fn keeps_position(&self) -> bool {
        self.keeps_position
    }
}

struct ScriptedSink {
    script: Arc<SinkScript>,
    standing: Option<Position>,
}

#[async_trait]
impl Sink for ScriptedSink {
    async fn probe(&mut self) -> Result<(), Failure> {
        self.standing = (self.script.probing.lock())()?;
        Ok(())
    }

    async fn standing(&mut self) -> Result<Option<Position>, Failure> {
        Ok(self.standing)
    }

    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        self.script.attempts.lock().push(Instant::now());
        self.script.batches.lock().push(batch.len());
        assert!(batch.records().is_sorted_by_key(|record| record.event().position()), "a batch is in log order");
        for (index, record) in batch.records().iter().enumerate() {
            let mut answer = (self.script.behaviour.lock())(record, batch.attempt());
            if let Answer::TakeAfter(delay) = answer {
                // tidy: sleep allowed: a slow target, under paused time.
                tokio::time::sleep(delay).await;
                answer = Answer::Take;
            }
            match answer {
                Answer::Take | Answer::TakeAfter(_) => {
                    let event = record.event();
                    self.script.delivered.lock().push(Delivered {
                        stream: event.stream().to_owned(),
                        revision: event.revision().get(),
                        position: event.position().commit(),
                        data: record.data_slice().to_vec(),
                        attempt: batch.attempt(),
                        at: Instant::now(),
                    });
                    receipt.delivered(index);
                }
                Answer::Fail(failure) => receipt.failed(index, failure),
                Answer::Break(failure) => return Err(failure),
                Answer::Panic => panic!("ordered by a test"),
                Answer::Hang => std::future::pending().await,
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Failure> {
        *self.script.closed.lock() += 1;
        Ok(())
    }
}
