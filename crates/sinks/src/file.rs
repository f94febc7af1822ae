//! Owns the file sink: one JSON object per line, durable before it is acknowledged, never the same record twice.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use forebay_connector::settings::{SettingsErrors, SettingsMap, Span, decode, describe};
use forebay_connector::{
    Batch, DefaultAction, DefaultRow, Failure, FailureClass, Guarantee, Kind, Lane, LaneSupport, Receipt, Sink,
    SinkContext, Target,
};
use forebay_event::Position;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::envelope::push_envelope;
use crate::lines::{LineFile, folder_of, last_lines, sync_folder};

/// A disk that takes longer than this for a batch is stuck.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(120);
const BATCH_RECORDS_DEFAULT: usize = 500;
/// So many of the last records are known by their ids.
const RECENT_RECORDS_MAX: usize = 10_000;
/// So much of the end of a file is read when it is opened.
const TAIL_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Names tried for a file that is rotated away before giving up.
const ROTATED_NAMES_MAX: u32 = 1000;

const POLICY: &[DefaultRow] = &[
    DefaultRow::new(FailureClass::Local, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Timeout, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Broken, DefaultAction::Retry),
];

pub(crate) const KIND: Kind = Kind {
    name: "file-sink",
    aliases: &["FileSink"],
    title: "File",
    summary: "appends each record to a file as one line of JSON",
    page: include_str!("file.md"),
    guarantee: Guarantee::EffectivelyOnce,
    lanes: LaneSupport::One,
    batch_records_default: BATCH_RECORDS_DEFAULT,
    policy: POLICY,
    settings: describe::<FileSettings>,
    connect,
};

#[derive(Debug, Deserialize, JsonSchema)]
struct FileSettings {
    /// The file that is written; folders on the way to it are made.
    path: String,
    /// Whether a record counts as delivered only once the disk has it. Without it a power cut may lose lines.
    #[serde(default = "yes")]
    fsync: bool,
    #[serde(default)]
    rotation: Rotation,
}

/// When a new file is begun.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Rotation {
    /// A file that would grow beyond so many bytes is put aside and a new one begun; a single larger line is written all
    /// the same.
    #[schemars(range(min = 1))]
    max_bytes: Option<u64>,
    /// A file of this age is put aside before the next record.
    max_age: Option<Span>,
}

fn yes() -> bool {
    true
}

fn connect(map: &SettingsMap, _: &SinkContext) -> Result<Box<dyn Target>, SettingsErrors> {
    let settings: FileSettings = decode(map)?;
    let path = PathBuf::from(settings.path.trim());
    if path.file_name().is_none() {
        return Err(SettingsErrors::single("path", format!("is {:?}", settings.path), "the name of a file"));
    }
    let writer = Writer { path, settings, open: None, recent: Recent::default() };
    Ok(Box::new(FileTarget { writer: Arc::new(Mutex::new(writer)) }))
}

struct FileTarget {
    writer: Arc<Mutex<Writer>>,
}

impl Target for FileTarget {
    fn sink(&self, _: Lane) -> Box<dyn Sink> {
        Box::new(FileSink { writer: Arc::clone(&self.writer) })
    }

    fn attempt_limit(&self, _: usize) -> Duration {
        ATTEMPT_LIMIT
    }

    /// The end of the file is where it stands.
    fn keeps_position(&self) -> bool {
        true
    }
}

/// The lock is there for one case only: a write that goes on after its attempt was cut off ends before the next begins.
struct FileSink {
    writer: Arc<Mutex<Writer>>,
}

#[async_trait]
impl Sink for FileSink {
    /// Looks at the place without writing: what is there must be a file that can be written, or nothing yet.
    async fn probe(&mut self) -> Result<(), Failure> {
        self.run(|writer| check_place(&writer.path)).await?.map_err(|error| local("cannot use the file", &error))
    }

    async fn standing(&mut self) -> Result<Option<Position>, Failure> {
        let last = self.run(|writer| standing(&writer.path)).await?;
        last.map_err(|error| local("cannot read the end of the file", &error))
    }

    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        let lines: Vec<Line> = batch
            .records()
            .iter()
            .map(|record| {
                let mut bytes = Vec::with_capacity(record.size() + 320);
                push_envelope(record, &mut bytes);
                bytes.push(b'\n');
                Line { id: record.event().id(), position: record.event().position(), bytes }
            })
            .collect();
        let now = batch.at().to_system_time();
        let (durable, result) = self.run(move |writer| writer.write(&lines, now)).await?;
        (0..durable).for_each(|index| receipt.delivered(index));
        result.map_err(|error| local("cannot write to the file", &error))
    }

    async fn close(&mut self) -> Result<(), Failure> {
        self.run(|writer| writer.open = None).await
    }
}

impl FileSink {
    /// Runs file work off the tasks' threads: a slow disk blocks.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Writer) -> T + Send + 'static) -> Result<T, Failure> {
        let writer = Arc::clone(&self.writer);
        tokio::task::spawn_blocking(move || work(&mut writer.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
            .map_err(|error| Failure::retry(FailureClass::Broken, format!("file work was cut off: {error}")))
    }
}

fn local(what: &str, error: &io::Error) -> Failure {
    let reason = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!("{what}: the disk is full"),
        _ => format!("{what}: {error}"),
    };
    Failure::retry(FailureClass::Local, reason)
}

struct Line {
    id: Uuid,
    position: Position,
    bytes: Vec<u8>,
}

/// The file in hand, and which records are at its end.
struct Writer {
    path: PathBuf,
    settings: FileSettings,
    open: Option<Open>,
    recent: Recent,
}

struct Open {
    file: LineFile,
    began: SystemTime,
    /// The position of its first record, which names it when it is put aside.
    first: Option<Position>,
}

impl Writer {
    /// Writes lines in order; answers how many from the beginning are durable, and what stopped the rest.
    fn write(&mut self, lines: &[Line], now: SystemTime) -> (usize, io::Result<()>) {
        let mut done = 0;
        while done < lines.len() {
            let rest = lines.get(done..).unwrap_or_default();
            match self.write_some(rest, now) {
                Ok(count) => done += count,
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    /// Writes the lines that go into the file in hand at once; answers how many, at least one.
    fn write_some(&mut self, lines: &[Line], now: SystemTime) -> io::Result<usize> {
        self.ensure_open(now)?;
        let Self { path, settings, open, recent } = self;
        let Some(current) = open else { return Err(io::ErrorKind::NotFound.into()) };
        let bytes_max = settings.rotation.max_bytes.unwrap_or(u64::MAX);
        let age = now.duration_since(current.began).unwrap_or_default();
        let is_old = settings.rotation.max_age.is_some_and(|max| age >= max.0);
        let (mut chunk, mut count, mut first) = (Vec::new(), 0, None);
        for line in lines {
            if !recent.contains(line.id) {
                let length = current.file.length() + chunk.len() as u64;
                let is_full = is_old && chunk.is_empty() || length + line.bytes.len() as u64 > bytes_max;
                if length > 0 && is_full {
                    break;
                }
                first = first.or(Some(line.position));
                chunk.extend_from_slice(&line.bytes);
            }
            count += 1;
        }
        if chunk.is_empty() && count == 0 {
            put_aside(path, current)?;
            *open = None;
            return Ok(0);
        }
        if !chunk.is_empty() {
            current.file.append(&chunk, settings.fsync)?;
            current.first = current.first.or(first);
        }
        lines.iter().take(count).for_each(|line| recent.add(line.id));
        Ok(count)
    }

    fn ensure_open(&mut self, now: SystemTime) -> io::Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let file = LineFile::open(&self.path)?;
        if self.recent.order.is_empty() {
            for path in newest_files(&self.path)? {
                last_entries(&path)?.into_iter().for_each(|entry| self.recent.add(entry.id));
            }
        }
        let (began, first) = if file.length() == 0 {
            (now, None)
        } else {
            let facts = file.metadata()?;
            (facts.created().or_else(|_| facts.modified())?, first_position(&self.path)?)
        };
        self.open = Some(Open { file, began, first });
        Ok(())
    }
}

/// The ids of the last records, so that one that comes again is not written again.
#[derive(Default)]
struct Recent {
    order: VecDeque<Uuid>,
    ids: HashSet<Uuid>,
}

impl Recent {
    fn contains(&self, id: Uuid) -> bool {
        self.ids.contains(&id)
    }

    fn add(&mut self, id: Uuid) {
        if self.ids.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > RECENT_RECORDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// What is read back from a line.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: Uuid,
    position: u64,
    prepare_position: Option<u64>,
}

impl Entry {
    fn position(&self) -> Position {
        Position::from_parts(self.position, self.prepare_position.unwrap_or(self.position))
    }
}

/// The last records of a file; lines that are none of ours are passed over.
fn last_entries(path: &Path) -> io::Result<Vec<Entry>> {
    let tail = last_lines(path, TAIL_BYTES_MAX)?;
    Ok(tail.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

fn first_position(path: &Path) -> io::Result<Option<Position>> {
    let mut line = Vec::new();
    let file = std::fs::File::open(path)?;
    io::BufRead::read_until(&mut io::BufReader::new(file), b'\n', &mut line)?;
    Ok(serde_json::from_slice::<Entry>(&line).ok().map(|entry| entry.position()))
}

/// Where the files stand: the highest position at the end of the newest one that holds records.
fn standing(path: &Path) -> io::Result<Option<Position>> {
    for path in newest_files(path)?.into_iter().rev() {
        let last = last_entries(&path)?.iter().map(Entry::position).max();
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

fn check_place(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return std::fs::OpenOptions::new().append(true).open(path).map(|_| ());
    }
    let folder = folder_of(path);
    if folder.try_exists()? && !folder.is_dir() { Err(io::ErrorKind::NotADirectory.into()) } else { Ok(()) }
}

/// The newest file that was put aside and the file in hand, in this order, as far as they exist.
fn newest_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (stem, extension) = name_parts(path);
    let mut newest: Option<PathBuf> = None;
    let entries = match std::fs::read_dir(folder_of(path)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let candidate = entry?.path();
        let name = candidate.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let middle = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&extension));
        let is_ours = middle.is_some_and(|middle| {
            middle.len() >= 20 && middle.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
        });
        if is_ours && newest.as_ref().is_none_or(|newest| *newest < candidate) {
            newest = Some(candidate);
        }
    }
    Ok(newest.into_iter().chain(path.try_exists()?.then(|| path.to_owned())).collect())
}

/// Puts a file aside under the position of its first record: names sort like the log and never change.
fn put_aside(path: &Path, current: &Open) -> io::Result<()> {
    let (stem, extension) = name_parts(path);
    let first = current.first.unwrap_or_default().commit();
    for copy in 0..ROTATED_NAMES_MAX {
        // The same records may have been written before, after a reset; older files are never replaced.
        let copy = if copy == 0 { String::new() } else { format!("_{copy:03}") };
        let aside = folder_of(path).join(format!("{stem}-{first:020}{copy}{extension}"));
        if !aside.try_exists()? {
            std::fs::rename(path, &aside)?;
            return sync_folder(folder_of(path));
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn name_parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension = text(path.extension());
    (text(path.file_stem()), if extension.is_empty() { extension } else { format!(".{extension}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_connector::testing::contract::{Fixture, check_sink};
    use forebay_connector::testing::samples::{batch_of, sample_batch, sample_context, sample_record};
    use forebay_connector::{Next, Outcome, attempt};

    struct Folder {
        folder: tempfile::TempDir,
        more: Vec<(&'static str, &'static str)>,
    }

    impl Folder {
        fn new(more: &[(&'static str, &'static str)]) -> Self {
            Self { folder: tempfile::tempdir().unwrap(), more: more.to_vec() }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("out/events.ndjson")
        }

        fn sink(&self) -> Box<dyn Sink> {
            self.connect().sink(Lane(0))
        }

        fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.folder.path().join("out")).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[async_trait]
    impl Fixture for Folder {
        fn connect(&self) -> Box<dyn Target> {
            let mut map = SettingsMap::from_flat([("path".to_owned(), self.path().to_str().unwrap().to_owned())]);
            self.more.iter().for_each(|(key, value)| map.insert(key, value));
            (KIND.connect)(&map, &sample_context()).unwrap()
        }

        async fn arrived(&self) -> Vec<String> {
            let text = std::fs::read_to_string(self.path()).unwrap_or_default();
            let id = |line: &str| serde_json::from_str::<Entry>(line).unwrap().id.to_string();
            text.lines().map(id).collect()
        }

        fn identity(&self, number: u64) -> String {
            sample_record(number).event().id().to_string()
        }

        async fn refuse_after(&self, _: usize) -> bool {
            false
        }

        async fn stall(&self) -> bool {
            false
        }

        async fn restart(&self) -> bool {
            false
        }
    }

    async fn deliver(sink: &mut dyn Sink, numbers: std::ops::Range<u64>) {
        let receipt = attempt(sink, &sample_batch(numbers), ATTEMPT_LIMIT).await;
        assert!(receipt.is_complete(), "{receipt:?}");
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        let folder = Folder::new(&[]);
        check_sink(&folder).await;
        assert!(folder.path().exists());
    }

    #[tokio::test]
    async fn after_a_crash_the_tail_is_repaired_and_nothing_is_written_twice() {
        let folder = Folder::new(&[]);
        deliver(&mut *folder.sink(), 0..5).await;
        let mut whole = std::fs::read(folder.path()).unwrap();
        let torn = whole.len() - 10;
        whole.truncate(torn);
        std::fs::write(folder.path(), whole).unwrap();
        let mut sink = folder.sink();
        assert_eq!(sink.standing().await.unwrap(), Some(Position::new(103)));
        deliver(&mut *sink, 2..7).await;
        let expected: Vec<_> = (0..7).map(|number| folder.identity(number)).collect();
        assert_eq!(folder.arrived().await, expected);
    }

    #[tokio::test]
    async fn files_are_put_aside_by_size_under_sortable_names() {
        let folder = Folder::new(&[("rotation:maxBytes", "700")]);
        deliver(&mut *folder.sink(), 0..4).await;
        deliver(&mut *folder.sink(), 3..7).await;
        let names = folder.names();
        assert_eq!(
            names,
            [
                "events-00000000000000000100.ndjson",
                "events-00000000000000000102.ndjson",
                "events-00000000000000000104.ndjson",
                "events.ndjson"
            ]
        );
        let mut ids = Vec::new();
        for name in names {
            ids.extend(last_entries(&folder.folder.path().join("out").join(name)).unwrap().iter().map(|e| e.position));
        }
        assert_eq!(ids, (100..107).collect::<Vec<_>>());
        assert_eq!(folder.sink().standing().await.unwrap(), Some(Position::new(106)));
        std::fs::remove_file(folder.path()).unwrap();
        assert_eq!(folder.sink().standing().await.unwrap(), Some(Position::new(105)));
    }

    #[tokio::test]
    async fn files_are_put_aside_by_age() {
        let folder = Folder::new(&[("rotation:maxAge", "1h")]);
        let mut sink = folder.sink();
        deliver(&mut *sink, 0..2).await;
        let batch = batch_of(vec![sample_record(2)]);
        let later = batch.at().plus(Duration::from_secs(3600));
        assert!(attempt(&mut *sink, &batch.again(later), ATTEMPT_LIMIT).await.is_complete());
        assert_eq!(folder.names(), ["events-00000000000000000100.ndjson", "events.ndjson"]);
        assert_eq!(folder.arrived().await, [folder.identity(2)]);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_is_tried_again() {
        let folder = Folder::new(&[]);
        std::fs::create_dir(folder.folder.path().join("out")).unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path()).unwrap();
        let mut sink = folder.sink();
        let receipt = attempt(&mut *sink, &sample_batch(0..2), ATTEMPT_LIMIT).await;
        for outcome in receipt.outcomes() {
            let Outcome::Failed(failure) = outcome else { panic!("it was written") };
            assert_eq!((failure.next, failure.class), (Next::Retry { after: None }, FailureClass::Local));
            assert!(failure.reason.contains("the disk is full"), "{failure}");
        }
        drop(sink);
        std::fs::remove_file(folder.path()).unwrap();
        deliver(&mut *folder.sink(), 0..2).await;
        assert_eq!(folder.arrived().await.len(), 2);
    }

    #[tokio::test]
    async fn a_place_that_is_no_file_is_refused() {
        let folder = Folder::new(&[]);
        std::fs::create_dir_all(folder.path()).unwrap();
        assert!(folder.sink().probe().await.is_err());
        let map = SettingsMap::from_flat([("path".to_owned(), String::new())]);
        assert!((KIND.connect)(&map, &sample_context()).is_err());
    }
}
