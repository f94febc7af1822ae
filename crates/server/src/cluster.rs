//! Owns what an operator decides about a node among others, and what it becomes for the runtime.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use forebay_runtime::ClusterConfig;

use crate::config::Config;

/// So many announcements are made in the duration of a lease, unless the operator says otherwise.
const HEARTBEATS_OF_A_LEASE: u32 = 3;

/// What an operator decides about a node among others.
#[derive(Clone, Debug, Default)]
pub struct ClusterChoice {
    /// Whether the node shares its store with others; when not said, a node on a cluster's store does.
    pub join: Option<bool>,
    /// Its labels, such as `zone` = `eu`.
    pub labels: BTreeMap<String, String>,
    /// Where others reach it, when that is not where it listens.
    pub address: Option<String>,
    /// How often it announces itself; by default three times in the duration of a lease.
    pub heartbeat: Option<Duration>,
}

/// What the runtime is told: nothing for a node that is the only one.
pub(crate) fn runtime_config(config: &Config, listen: SocketAddr) -> Option<ClusterConfig> {
    let choice = &config.cluster;
    choice.join.unwrap_or(config.store.is_some()).then(|| ClusterConfig {
        name: config.node.clone(),
        address: Some(choice.address.clone().unwrap_or_else(|| listen.to_string())),
        labels: choice.labels.clone(),
        heartbeat: choice.heartbeat.unwrap_or(config.lease / HEARTBEATS_OF_A_LEASE),
    })
}

/// Reads labels such as `zone=eu,rack=7`.
pub(crate) fn labels(text: &str) -> Option<BTreeMap<String, String>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=')?;
            let (key, value) = (key.trim(), value.trim());
            (!key.is_empty() && !value.is_empty() && !value.contains('=')).then(|| (key.to_owned(), value.to_owned()))
        })
        .collect()
}
