//! Owns a node's way to the store: it delays, repeats, loses and cuts, and is gone when the node's life is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_event::{ExpectedRevision, Position, ProposedEvent, RecordedEvent, Revision, StreamName};
use forebay_store::{
    AllPage, AppendError, AppendRequest, Appended, Direction, EventStore, METADATA_TYPE, Notice, ReadAll, ReadError,
    ReadStream, StreamMetadata, StreamPage, StreamPoint, SubscribeAll, SubscribeError, SubscribeStream, Subscription,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::history::{Fact, Life};
use crate::operations::Operations;
use crate::reading::{connector_of, read_checkpoint};
use crate::subscription::{LogSubscription, StreamSubscription};
use crate::world::{Node, World};

/// How long a caller waits for an answer that does not come.
const ANSWER_LIMIT_MS: u64 = 3_000;

/// How late a call gets there at most, when nobody waits for it any more.
pub(crate) const CALL_LATE_MS_MAX: u64 = 20_000;

/// The store as one life of a node sees it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) world: Arc<World>,
    pub(crate) node: Arc<Node>,
    pub(crate) life: Life,
}

/// What happens to a call on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It gets through, and the answer gets back.
    Through,
    /// It does not get there.
    Lost,
    /// It gets there; the answer does not get back.
    AnswerLost,
    /// It gets there twice.
    Twice,
    /// It gets there late, when nobody waits for it any more.
    Late,
}

fn cut_off() -> String {
    "the simulated way to the store is cut".to_owned()
}

impl Link {
    /// What happens to the next call, and how long it takes to get there.
    fn way(&self) -> (Way, Duration) {
        let (chance, scenario) = (&self.node.chance, &self.world.scenario);
        if !self.world.is_hostile() {
            return (Way::Through, Duration::from_millis(1));
        }
        let delay = if chance.hits(20) && !scenario.is_drill {
            chance.millis(100, 2_000)
        } else {
            chance.millis(0, scenario.delay_ms_max)
        };
        let way = match chance.number() % 1000 {
            number if number < scenario.call_lost_permille => Way::Lost,
            number if number < 2 * scenario.call_lost_permille => Way::AnswerLost,
            number if number < 3 * scenario.call_lost_permille => Way::Twice,
            number if number < 3 * scenario.call_lost_permille + scenario.call_late_permille => Way::Late,
            _ => Way::Through,
        };
        (way, delay)
    }

    /// Takes the way there; the reason when the call does not get through.
    async fn there(&self) -> Result<Way, String> {
        self.node.step(self.life).await;
        if let Some(until) = self.node.is_cut_until() {
            if self.node.chance.hits(500) {
                tokio::time::sleep_until(until).await;
            } else {
                tokio::time::sleep(self.node.chance.millis(1, 50)).await;
            }
            self.node.step(self.life).await;
            return Err(cut_off());
        }
        let (way, delay) = self.way();
        if !delay.is_zero() && way != Way::Late {
            tokio::time::sleep(delay).await;
        }
        if way == Way::Lost {
            self.node.step(self.life).await;
            return Err("the simulated call was lost".to_owned());
        }
        Ok(way)
    }

    /// Takes the way back: what is answered counts only if the node still lives.
    async fn back(&self, way: Way) -> Result<(), String> {
        self.node.step(self.life).await;
        if way == Way::AnswerLost || self.node.is_cut_until().is_some() {
            tokio::time::sleep(self.node.chance.millis(1, 200)).await;
            self.node.step(self.life).await;
            return Err("the simulated answer was lost".to_owned());
        }
        Ok(())
    }

    async fn read<T>(&self, read: impl Fn() -> Result<T, ReadError> + Send) -> Result<T, ReadError> {
        let unavailable = |reason| ReadError::Unavailable { reason };
        let way = self.there().await.map_err(unavailable)?;
        if way == Way::Late {
            tokio::time::sleep(self.node.chance.millis(100, ANSWER_LIMIT_MS)).await;
        }
        let answer = read();
        self.back(way).await.map_err(unavailable)?;
        answer
    }

    /// Takes an append to the store and its answer back.
    async fn send(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        let unavailable = |reason| AppendError::Unavailable { reason };
        let way = self.there().await.map_err(unavailable)?;
        let (store, chance) = (Arc::clone(&self.world.store), &self.node.chance);
        let sync = if self.world.is_hostile() { chance.millis(0, 20) } else { Duration::ZERO };
        let late = chance.millis(1_000, CALL_LATE_MS_MAX);
        let (answer, answered) = oneshot::channel();
        // On the store's side: what is on its way gets there even if the caller is gone by then.
        tokio::spawn(async move {
            if way == Way::Late {
                tokio::time::sleep(late).await;
            }
            let done = store.append(&request, sync).await;
            let done = if way == Way::Twice { store.append(&request, sync).await } else { done };
            let _ = answer.send(done);
        });
        let limit = Duration::from_millis(ANSWER_LIMIT_MS);
        let answer = tokio::time::timeout(limit, answered).await;
        self.back(way).await.map_err(unavailable)?;
        match answer {
            Ok(Ok(done)) => done,
            _ => Err(unavailable("the simulated store did not answer".to_owned())),
        }
    }
}

#[async_trait]
impl EventStore for Link {
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        let (operations, history) = (self.operations(&request.stream), &self.world.history);
        let under_way = operations.and_then(|all| all.appends(self.node.index, history.at_ms(), &request));
        let answer = self.send(request).await;
        if let (Some(operations), Some(under_way)) = (operations, under_way) {
            operations.appended(under_way, history.at_ms(), &answer);
        }
        answer
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError> {
        let appended = self.set_metadata(stream, expected, StreamMetadata::soft_deleted()).await?;
        Ok(appended.position.unwrap_or(Position::START))
    }

    async fn tombstone(&self, _: &StreamName, _: ExpectedRevision) -> Result<Position, AppendError> {
        Err(AppendError::Invalid { reason: "the simulated store keeps every stream" })
    }

    async fn read_stream(&self, read: ReadStream) -> Result<StreamPage, ReadError> {
        let is_look = read.direction == Direction::Backward && read.from == StreamPoint::End;
        let (operations, history) = (self.operations(&read.stream).filter(|_| is_look), &self.world.history);
        let under_way = operations.and_then(|all| all.looks(self.node.index, history.at_ms(), &read.stream));
        let page = self.read(|| self.world.store.read_stream(&read)).await;
        if let (Some(operations), Some(under_way)) = (operations, under_way) {
            operations.looked(under_way, history.at_ms(), &page);
        }
        let name = read.stream.as_str();
        let is_found = !matches!(page, Err(ReadError::Unavailable { .. }));
        if is_found && name.ends_with("/checkpoints") && read.direction == Direction::Backward {
            let checkpoint = page.as_ref().ok().and_then(|page| page.events.first()).map(read_checkpoint);
            history.add_of(connector_of(name), Fact::ReadCheckpoint { life: self.life, checkpoint });
        }
        if is_found && name.ends_with("/parked") {
            history.add_of(connector_of(name), Fact::ReadParked { life: self.life });
        }
        page
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage, ReadError> {
        self.read(|| self.world.store.read_all(&read)).await
    }

    async fn subscribe_all(&self, subscribe: SubscribeAll) -> Result<Box<dyn Subscription>, SubscribeError> {
        let generation = self.read(|| Ok(self.world.store.generation())).await?;
        let Some(generation) = generation else {
            return Err(ReadError::Unavailable { reason: "the simulated store is down".to_owned() }.into());
        };
        let subscription = LogSubscription::open(self.clone(), subscribe, generation)?;
        Ok(Box::new(subscription))
    }

    async fn subscribe_stream(&self, subscribe: SubscribeStream) -> Result<Box<dyn Subscription>, SubscribeError> {
        let generation = self.read(|| Ok(self.world.store.generation())).await?;
        let Some(generation) = generation else {
            return Err(ReadError::Unavailable { reason: "the simulated store is down".to_owned() }.into());
        };
        Ok(Box::new(StreamSubscription::open(self.clone(), subscribe, generation)))
    }

    async fn metadata(&self, stream: &StreamName) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        let last = self.read(|| self.world.store.last_of(&stream.metadata_stream())).await?;
        let metadata = last.as_ref().map(|event| StreamMetadata::from_data(event.data_slice()));
        Ok((metadata.unwrap_or_default(), last.as_ref().map(RecordedEvent::revision)))
    }

    async fn set_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        let id = Uuid::from_u128(u128::from(self.node.chance.number()));
        let events = vec![ProposedEvent::json(id, METADATA_TYPE, metadata.to_data())];
        self.append(AppendRequest { stream: stream.metadata_stream(), expected, events }).await
    }

    async fn head(&self) -> Result<Option<Position>, ReadError> {
        self.read(|| self.world.store.head()).await
    }
}

impl Link {
    /// Where it is recorded what is asked of a stream, if it belongs to a connector.
    fn operations(&self, stream: &StreamName) -> Option<&Operations> {
        self.world.operations.get(connector_of(stream.as_str())?)
    }

    /// Waits for a hand-out to get through; an error breaks the subscription.
    pub(crate) async fn hand_out(&self, notice: Notice) -> Result<Notice, SubscribeError> {
        self.node.step(self.life).await;
        if let Some(until) = self.node.is_cut_until() {
            tokio::time::sleep_until(until).await;
            self.node.step(self.life).await;
            return Err(ReadError::Unavailable { reason: cut_off() }.into());
        }
        let (chance, scenario) = (&self.node.chance, &self.world.scenario);
        if self.world.is_hostile() && chance.hits(scenario.call_lost_permille) {
            return Err(ReadError::Unavailable { reason: "the simulated subscription broke".to_owned() }.into());
        }
        Ok(notice)
    }
}
