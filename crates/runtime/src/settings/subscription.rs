//! Owns the settings of what is read: filter and start.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which events are read, and from where.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionSettings {
    /// Which events are kept.
    pub filter: FilterSettings,
    /// Where to begin when neither a start position nor a checkpoint says so: `latest` takes only events that are
    /// appended after the first start, `earliest` takes the whole log.
    pub initial_position: InitialPosition,
    /// The log position behind which to begin when there is no checkpoint yet; wins over `initialPosition`.
    pub start_position: Option<u64>,
    /// On which member of a cluster the connector should run. Accepted for compatibility; with one node it has no
    /// effect.
    pub node_affinity: NodeAffinity,
}

/// Which events are kept.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FilterSettings {
    /// What the expression is compared with: the name of the stream, or the record (its event type for `regex` and
    /// `prefix`, all of it for `jsonPath`). Given without an expression it lets everything through, system events
    /// included; without scope and expression system events (type begins with `$`) are left out.
    pub scope: FilterScope,
    /// How the expression is compared. `streamId`: exactly this stream. `regex`: matches anywhere in the text. `prefix`:
    /// begins with any of the comma-separated prefixes. `jsonPath`: selects anything in the record; events that are not
    /// JSON do not match. Left out, it is inferred: `jsonPath` when the expression begins with `$` and is one, else
    /// `regex` when it is one, else `prefix`.
    pub filter_type: FilterType,
    /// What to compare with.
    pub expression: String,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FilterScope {
    /// Not said.
    #[default]
    Unspecified,
    /// The stream's name.
    Stream,
    /// The record.
    Record,
}

/// How a filter compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FilterType {
    /// Not said: inferred from the expression.
    #[default]
    Unspecified,
    /// Exactly one stream.
    StreamId,
    /// A regular expression, not anchored.
    Regex,
    /// Any of several prefixes, separated by commas.
    Prefix,
    /// A JSONPath expression (RFC 9535).
    JsonPath,
}

/// Where a connector without checkpoint begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum InitialPosition {
    /// Behind the last event.
    #[default]
    Latest,
    /// Before the first event.
    Earliest,
}

/// Which member of a cluster to run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NodeAffinity {
    /// Any.
    #[default]
    Any,
    /// The leader.
    Leader,
    /// A follower.
    Follower,
    /// A read-only replica.
    ReadOnlyReplica,
}
