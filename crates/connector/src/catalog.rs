//! Owns the catalogue entry: what a kind of connector is called, takes and promises.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::settings::{SettingDescription, SettingsErrors, SettingsMap};
use crate::{DefaultRow, Lane, Sink};

/// What a sink promises about repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// A record may come again after a crash; it carries an identity by which the receiver can drop the repeat.
    AtLeastOnce,
    /// Data and position are stored together, or repeats land on the same key: nothing is seen twice.
    EffectivelyOnce,
}

/// How many lanes a kind can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneSupport {
    /// Any number, each with its own sink.
    Many,
    /// Exactly one, because there is one place to write to.
    One,
}

/// What a sink is told about the connector it belongs to.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The connector's id.
    pub connector_id: Arc<str>,
    /// Whether metadata keys that begin with `$` are left out of the headers (setting `headers:ignoreSystem`).
    pub ignore_system_headers: bool,
}

/// Clients and parsed settings of one connector, shared by its lanes.
pub trait Target: Send + Sync {
    /// The sink of one lane; sends nothing.
    fn sink(&self, lane: Lane) -> Box<dyn Sink>;

    /// How long one attempt at a batch of so many records may take before it is cut off. A sink that makes one request
    /// per record multiplies its request's limit.
    fn attempt_limit(&self, records: usize) -> Duration;

    /// Whether the target keeps one position per lane together with the data, which [`Sink::standing`] answers.
    ///
    /// Such a lane must be delivered strictly in log order: no record may pass one that waits for another attempt, as
    /// after a crash everything at or before the position counts as delivered.
    fn keeps_position(&self) -> bool {
        false
    }

    /// Where it all goes, such as `https://example.com:8443`: connectors that name the same place share its breaker, its
    /// rate limit and its pace. None when nobody else can mean the same place. Holds no secrets.
    fn endpoint(&self) -> Option<String> {
        None
    }

    /// Whether a batch becomes one request per record, so that a target that counts requests is paced in records.
    fn sends_one_by_one(&self) -> bool {
        false
    }
}

/// Builds what a connector of this kind needs from its settings; sends nothing.
pub type Connect = fn(&SettingsMap, &SinkContext) -> Result<Box<dyn Target>, SettingsErrors>;

/// One kind of connector: the description that validation, reference, console, CLI and masking of secrets share.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name in `instanceTypeName`, such as `http-sink`.
    pub name: &'static str,
    /// Other names that are accepted for it, as they are.
    pub aliases: &'static [&'static str],
    /// A heading.
    pub title: &'static str,
    /// One line: what it writes where.
    pub summary: &'static str,
    /// The page: guarantee, how repeats are recognised, limits.
    pub page: &'static str,
    /// What it promises about repeats.
    pub guarantee: Guarantee,
    /// How many lanes it can serve.
    pub lanes: LaneSupport,
    /// How many records a batch holds unless set otherwise.
    pub batch_records_default: usize,
    /// What follows a failure of each class, unless the connector's settings say otherwise. A sink keeps to it, but for
    /// what its own settings change.
    pub policy: &'static [DefaultRow],
    /// Its own settings; those of all connectors are not among them.
    pub settings: fn() -> Vec<SettingDescription>,
    /// Checks the settings and builds the target.
    pub connect: Connect,
}

/// The kinds that this build knows.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    kinds: Vec<Kind>,
    names: BTreeMap<&'static str, usize>,
}

impl Catalog {
    /// Gathers kinds; a name given twice keeps its first kind.
    pub fn new(kinds: Vec<Kind>) -> Self {
        let mut names = BTreeMap::new();
        for (index, kind) in kinds.iter().enumerate() {
            for name in std::iter::once(&kind.name).chain(kind.aliases) {
                names.entry(*name).or_insert(index);
            }
        }
        Self { kinds, names }
    }

    /// The kind of this name or alias; names are case-sensitive.
    pub fn find(&self, name: &str) -> Option<&Kind> {
        self.names.get(name).and_then(|index| self.kinds.get(*index))
    }

    /// All kinds, in the order they were given.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }
}
