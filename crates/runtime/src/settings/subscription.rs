//! Owns the settings of what is read: filter and start.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SHARDS_MAX;

/// Which events are read, and from where.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionSettings {
    /// Which events are kept.
    pub filter: FilterSettings,
    /// Where to begin when neither a start position nor a checkpoint says so: `latest` takes only events that are
    /// appended after the first start, `earliest` takes the whole log.
    pub initial_position: InitialPosition,
    /// The log position behind which to begin when there is no checkpoint yet; wins over `initialPosition`.
    pub start_position: Option<u64>,
    /// On which of several nodes over one store the connector runs. `any`: connectors are spread evenly. `leader`: on the
    /// node that has been there for longest. `follower` and `readOnlyReplica` are accepted for compatibility and mean
    /// `any`. With one node it has no effect.
    pub node_affinity: NodeAffinity,
    /// Labels that the node must have to run the connector: `zone=eu`, several separated by commas. While no node has
    /// them all the connector waits. With one node it has no effect.
    pub node_labels: String,
    /// In how many parts the connector is run, each on a node of its own as far as there are nodes; from 1 to 64. Each
    /// shard reads everything and delivers the records of its keys, with lanes, lease and checkpoint of its own. More than
    /// 1 asks for an `ordering` other than `all`, for `autocommit:enabled`, and for a kind that may have several lanes.
    /// `rateLimit` holds for all shards together, `parking` for each.
    #[schemars(range(min = 1, max = SHARDS_MAX))]
    pub shards: u32,
}

impl Default for SubscriptionSettings {
    fn default() -> Self {
        Self {
            filter: FilterSettings::default(),
            initial_position: InitialPosition::default(),
            start_position: None,
            node_affinity: NodeAffinity::default(),
            node_labels: String::new(),
            shards: 1,
        }
    }
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

/// Reads labels such as `zone=eu,rack=7`; none when one of them has another form.
pub(crate) fn node_labels(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=')?;
            let (key, value) = (key.trim(), value.trim());
            (!key.is_empty() && !value.is_empty() && !value.contains('=')).then(|| (key.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::node_labels;

    #[test]
    fn labels_are_pairs_separated_by_commas() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(node_labels(" zone = eu ,rack=7,"), Some(vec![pair("zone", "eu"), pair("rack", "7")]));
        assert_eq!(node_labels(""), Some(Vec::new()));
        for wrong in ["zone", "=eu", "zone=", "a=b=c", "a=b,c"] {
            assert_eq!(node_labels(wrong), None, "{wrong}");
        }
    }
}
