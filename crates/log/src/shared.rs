//! Owns what the writer, the readers and the subscriptions share, and the order in which a commit becomes visible.

use std::sync::Arc;

use forebay_event::{Clock, StreamName};
use forebay_store::{ReadError, StreamMetadata};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::blocks::{BlockCache, Ring};
use crate::directory::Directory;
use crate::engine::Engine;
use crate::format::{Block, damaged};
use crate::options::LogLimits;
use crate::states::{MetadataState, StateCache, StreamState};

/// What subscribers wait on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Live {
    /// Position of the last event that may be read; 0 when there is none.
    pub(crate) head: u64,
    /// Whether the log is closing.
    pub(crate) closed: bool,
}

/// Who passes over bookkeeping is told at the latest after so many events of it.
const BOOKKEEPING_UNTOLD_MAX: u64 = 1_000;

/// The engine and the lock on its directory, which live and end together.
pub(crate) struct OpenStore {
    /// The engine.
    pub(crate) engine: Engine,
    /// Keeps other processes out; dropped after the engine.
    pub(crate) directory: Directory,
}

/// A commit that becomes visible.
pub(crate) struct Published {
    /// The streams as it leaves them.
    pub(crate) states: Vec<(StreamName, StreamState)>,
    /// Its blocks.
    pub(crate) blocks: Vec<Block>,
    /// Position of its last event.
    pub(crate) head: u64,
    /// Streams and types of all its events begin with `$`.
    pub(crate) is_bookkeeping: bool,
}

/// One open log.
pub(crate) struct Shared {
    store: RwLock<Option<OpenStore>>,
    states: Mutex<StateCache>,
    ring: RwLock<Ring>,
    cache: Mutex<BlockCache>,
    live: watch::Sender<Live>,
    /// The head when others than bookkeeping were last written, for those who pass over bookkeeping: leases and heartbeats
    /// of connectors would wake each of them several hundred times a second.
    others: watch::Sender<u64>,
    /// Bounds on appends.
    pub(crate) limits: LogLimits,
    /// Where the time comes from.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Shared {
    pub(crate) fn new(store: OpenStore, head: u64, limits: LogLimits, clock: Arc<dyn Clock>) -> Self {
        Self {
            store: RwLock::new(Some(store)),
            states: Mutex::default(),
            ring: RwLock::default(),
            cache: Mutex::default(),
            live: watch::Sender::new(Live { head, closed: false }),
            others: watch::Sender::new(head),
            limits,
            clock,
        }
    }

    /// Position of the last event that may be read; 0 when there is none.
    pub(crate) fn head(&self) -> u64 {
        self.live.borrow().head
    }

    /// A view of the head that can be waited on.
    pub(crate) fn watch(&self) -> watch::Receiver<Live> {
        self.live.subscribe()
    }

    /// The same for who passes over bookkeeping: changes when others were written, or much bookkeeping.
    pub(crate) fn watch_others(&self) -> watch::Receiver<u64> {
        self.others.subscribe()
    }

    /// Does something with the engine; fails when the log is closed.
    pub(crate) fn with_engine<T>(&self, work: impl FnOnce(&Engine) -> Result<T, ReadError>) -> Result<T, ReadError> {
        match &*self.store.read() {
            Some(store) => work(&store.engine),
            None => Err(ReadError::Unavailable { reason: "the log is closed".to_owned() }),
        }
    }

    /// Makes a commit visible: states, blocks and head at once, as far as any reader can tell.
    pub(crate) fn publish(&self, commit: Published) {
        let Published { states, blocks, head, is_bookkeeping } = commit;
        let mut cache = self.states.lock();
        for (stream, state) in states {
            cache.insert(stream, state);
        }
        self.ring.write().push(blocks);
        self.live.send_modify(|live| live.head = head);
        self.others.send_if_modified(|told| {
            let is_due = !is_bookkeeping || head - *told >= BOOKKEEPING_UNTOLD_MAX;
            if is_due {
                *told = head;
            }
            is_due
        });
    }

    /// Ends everything: readers are refused, subscribers wake, the directory is free for others.
    pub(crate) fn shut(&self) {
        self.live.send_modify(|live| live.closed = true);
        self.others.send_modify(|_| {});
        drop(self.store.write().take());
    }

    /// The state of a stream, and the head at which it was so.
    pub(crate) fn state(&self, engine: &Engine, stream: &StreamName) -> Result<(StreamState, u64), ReadError> {
        let head = {
            let mut cache = self.states.lock();
            let head = self.head();
            if let Some(state) = cache.get(stream) {
                return Ok((state, head));
            }
            head
        };
        let state = self.load_state(engine, stream, head)?;
        let mut cache = self.states.lock();
        // A commit in between may have changed the stream; what was read is right for its head, but not to be kept.
        if self.head() == head {
            cache.insert(stream.clone(), state.clone());
        }
        Ok((state, head))
    }

    /// The state of a stream, if it is in memory.
    pub(crate) fn kept_state(&self, stream: &StreamName) -> Option<StreamState> {
        self.states.lock().get(stream)
    }

    fn load_state(&self, engine: &Engine, stream: &StreamName, head: u64) -> Result<StreamState, ReadError> {
        let last = engine.stream_last(stream.as_str(), head)?;
        let metadata = if stream.is_metadata() { None } else { self.load_metadata(engine, stream, head)? };
        Ok(StreamState { last, metadata })
    }

    fn load_metadata(
        &self,
        engine: &Engine,
        stream: &StreamName,
        head: u64,
    ) -> Result<Option<MetadataState>, ReadError> {
        let metadata_stream = stream.metadata_stream();
        let Some(placed) = engine.stream_last(metadata_stream.as_str(), head)? else { return Ok(None) };
        let event = self.block_holding(engine, placed.position)?.event(placed.position)?;
        let metadata = Arc::new(StreamMetadata::from_data(event.data_slice()));
        Ok(Some(MetadataState { revision: placed.revision, metadata }))
    }

    /// The block that holds a position at or below the head, from memory if it is there.
    pub(crate) fn block_holding(&self, engine: &Engine, position: u64) -> Result<Block, ReadError> {
        if let Some(block) = self.recent_block(position) {
            return Ok(block);
        }
        if let Some(block) = self.kept_block(position) {
            return Ok(block);
        }
        let block = engine
            .block_holding(position)?
            .ok_or_else(|| damaged(position, "no block holds this position".to_owned()))?;
        self.keep_block(block.clone());
        Ok(block)
    }

    /// The block that holds a position, if an earlier read left it in the cache.
    pub(crate) fn kept_block(&self, position: u64) -> Option<Block> {
        self.cache.lock().holding(position)
    }

    /// Leaves a block in the cache for the next read.
    pub(crate) fn keep_block(&self, block: Block) {
        self.cache.lock().insert(block);
    }

    /// The block that holds a position, if it is among the most recent.
    pub(crate) fn recent_block(&self, position: u64) -> Option<Block> {
        self.ring.read().holding(position)
    }

    /// Whether every position from this one on is in memory.
    pub(crate) fn is_recent(&self, position: u64) -> bool {
        self.ring.read().reaches(position)
    }
}
