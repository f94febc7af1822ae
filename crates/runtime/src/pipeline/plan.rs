//! Owns a plan: everything about a connector that can be checked before it runs.

use std::sync::Arc;

use forebay_connector::settings::{SettingsErrors, SettingsMap, check_known, decode};
use forebay_connector::{Catalog, Kind, Lane, LaneSupport, SinkContext, Target};

use super::backoff::Backoff;
use super::filter::Filter;
use super::key::Keying;
use super::lanes::BatchLimits;
use super::policy::Policy;
use super::shards::ShardPart;
use super::transform::Script;
use crate::management::Secrecy;
use crate::settings::{
    ConnectorSettings, LANES_MAX, Ordering, RestartSettings, SHARDS_MAX, node_labels, shared_descriptions,
};

const KIND_KEY: &str = "instanceTypeName";
const LANES_KEY: &str = "lanes";
const SHARDS_KEY: &str = "subscription:shards";
/// The lanes of a connector that does not deliver in one order, unless set.
const LANES_DEFAULT: u32 = 16;

/// A connector ready to run: settings checked, kind known, scripts compiled, target built; nothing sent yet.
pub struct Plan {
    pub(super) connector_id: Arc<str>,
    pub(super) kind: Kind,
    pub(super) settings: ConnectorSettings,
    pub(super) filter: Filter,
    pub(super) script: Option<Script>,
    pub(super) keying: Keying,
    pub(super) lanes: usize,
    pub(super) limits: BatchLimits,
    pub(super) backoff: Backoff,
    pub(super) policy: Policy,
    pub(super) target: Arc<dyn Target>,
    /// Takes the secrets of the settings out of a text.
    pub(super) redact: Arc<dyn Fn(String) -> String + Send + Sync>,
    /// Which shard of its connector it runs; none when it runs all of it.
    pub(super) part: Option<Arc<ShardPart>>,
}

impl Plan {
    /// Checks all settings of a connector, its own kind's and the shared ones, and builds what it needs to run.
    ///
    /// Every wrong or unknown key is named, with its value and what was expected. Blocks for as long as the user's
    /// script takes to load.
    pub fn build(connector_id: &str, settings: &SettingsMap, catalog: &Catalog) -> Result<Self, SettingsErrors> {
        let kind = *find_kind(settings, catalog)?;
        let mut errors = Vec::new();
        let descriptions: Vec<_> = shared_descriptions().into_iter().chain((kind.settings)()).collect();
        SettingsErrors::gather(&mut errors, check_known(settings, &descriptions));
        let Some(shared) = SettingsErrors::gather(&mut errors, decode::<ConnectorSettings>(settings)) else {
            return Err(SettingsErrors { errors });
        };
        let context =
            SinkContext { connector_id: Arc::from(connector_id), ignore_system_headers: shared.headers.ignore_system };
        let target = SettingsErrors::gather(&mut errors, (kind.connect)(settings, &context));
        let filter = SettingsErrors::gather(&mut errors, Filter::new(&shared.subscription.filter));
        let script = SettingsErrors::gather(&mut errors, Script::new(&shared.transformer));
        let keying = SettingsErrors::gather(&mut errors, Keying::new(&shared));
        let lanes = SettingsErrors::gather(&mut errors, lanes(&shared, &kind));
        let policy = SettingsErrors::gather(&mut errors, Policy::new(&shared.errors, kind.policy));
        SettingsErrors::gather(&mut errors, check_shards(&shared, &kind));
        if node_labels(&shared.subscription.node_labels).is_none() {
            let found = format!("is {:?}", shared.subscription.node_labels);
            let wrong = SettingsErrors::single("subscription:nodeLabels", found, "labels such as zone=eu,rack=7");
            errors.extend(wrong.errors);
        }
        let (Some(target), Some(filter), Some(script), Some(keying), Some(lanes), Some(policy)) =
            (target, filter, script, keying, lanes, policy)
        else {
            return Err(SettingsErrors { errors });
        };
        SettingsErrors::check(errors)?;
        Ok(Self {
            connector_id: context.connector_id,
            kind,
            filter,
            script,
            keying,
            lanes,
            limits: BatchLimits::new(&shared.batching, kind.batch_records_default),
            backoff: Backoff::new(&shared.resilience),
            policy,
            target: Arc::from(target),
            redact: redacting(settings, catalog),
            part: None,
            settings: shared,
        })
    }

    /// The connector's id.
    pub fn connector_id(&self) -> &str {
        &self.connector_id
    }

    /// What it is made of.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The settings that all connectors share.
    pub fn settings(&self) -> &ConnectorSettings {
        &self.settings
    }

    /// What happens after it has failed.
    pub fn restart(&self) -> &RestartSettings {
        &self.settings.restart
    }

    /// How many batches may be on their way at once.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// The id of the lane of this index.
    pub(super) fn lane(&self, index: usize) -> Lane {
        let index = u32::try_from(index).unwrap_or(LANES_MAX);
        if let Some(part) = &self.part {
            return Lane(part.shard.lane(index));
        }
        Lane(self.keying.first_lane(&self.settings, self.lanes).saturating_add(index))
    }
}

fn redacting(settings: &SettingsMap, catalog: &Catalog) -> Arc<dyn Fn(String) -> String + Send + Sync> {
    let (secrecy, settings) = (Secrecy::of(settings, catalog), settings.clone());
    Arc::new(move |text| secrecy.redacted(&settings, text))
}

fn find_kind<'a>(settings: &SettingsMap, catalog: &'a Catalog) -> Result<&'a Kind, SettingsErrors> {
    let given = settings.get(KIND_KEY).map(str::trim).unwrap_or_default();
    let known = || catalog.kinds().iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    if given.is_empty() {
        return Err(SettingsErrors::single(KIND_KEY, "is missing", format!("one of {}", known())));
    }
    catalog.find(given).ok_or_else(|| {
        let expected = match nearest_kind(given, catalog) {
            Some(nearest) => format!("{nearest} perhaps, or another of {}", known()),
            None => format!("one of {}", known()),
        };
        SettingsErrors::single(KIND_KEY, format!("is {given:?}"), expected)
    })
}

/// The kind whose name shares the longest beginning with what was given, if that is more than a letter or two.
fn nearest_kind(given: &str, catalog: &Catalog) -> Option<&'static str> {
    const SHARED_MIN: usize = 3;
    let given = given.to_ascii_lowercase();
    let shared = |name: &str| name.bytes().zip(given.bytes()).take_while(|(left, right)| left == right).count();
    let names = catalog.kinds().iter().flat_map(|kind| std::iter::once(&kind.name).chain(kind.aliases));
    names.map(|name| (shared(name), *name)).filter(|(shared, _)| *shared >= SHARED_MIN).max().map(|(_, name)| name)
}

/// Several shards need keys that may pass each other, places of their own to write to, and a memory of what is settled.
fn check_shards(settings: &ConnectorSettings, kind: &Kind) -> Result<(), SettingsErrors> {
    let shards = settings.subscription.shards;
    let wrong = |expected: String| Err(SettingsErrors::single(SHARDS_KEY, format!("is {shards}"), expected));
    match shards {
        1 => Ok(()),
        0 => wrong(format!("1 to {SHARDS_MAX}")),
        _ if shards > SHARDS_MAX => wrong(format!("at most {SHARDS_MAX}")),
        _ if settings.ordering == Ordering::All => {
            wrong("1, as ordering is all; with ordering stream there can be more".to_owned())
        }
        _ if kind.lanes == LaneSupport::One => wrong(format!("1, as {} has one place to write to", kind.name)),
        _ if !settings.autocommit.enabled => {
            wrong("1, as autocommit:enabled is false; shards go on from their checkpoints".to_owned())
        }
        _ => Ok(()),
    }
}

pub(super) fn lanes(settings: &ConnectorSettings, kind: &Kind) -> Result<usize, SettingsErrors> {
    let strict = settings.ordering == Ordering::All;
    let one = kind.lanes == LaneSupport::One;
    let given = settings.lanes;
    let wrong = |expected: String| {
        SettingsErrors::single(LANES_KEY, format!("is {:?}", given.unwrap_or(0).to_string()), expected)
    };
    if let Some(lanes) = given.filter(|lanes| *lanes > 1) {
        if strict {
            return Err(wrong("1, as ordering is all; with ordering stream there can be more".to_owned()));
        }
        if one {
            return Err(wrong(format!("1, as {} has one place to write to", kind.name)));
        }
        if lanes > LANES_MAX {
            return Err(wrong(format!("at most {LANES_MAX}")));
        }
    }
    let default = if strict || one { 1 } else { LANES_DEFAULT };
    Ok(given.unwrap_or(default).max(1) as usize)
}
