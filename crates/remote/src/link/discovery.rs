//! Owns finding a node: asking the hosts for the cluster's members, and choosing one.

use forebay_wire::event_store::client::Empty;
use forebay_wire::event_store::client::gossip::gossip_client::GossipClient;
use forebay_wire::event_store::client::gossip::member_info::VNodeState;
use forebay_wire::event_store::client::gossip::{ClusterInfo, MemberInfo};
use tonic::Request;

use super::connection::{Connection, Reach};
use crate::backoff::chance;
use crate::failure::Failure;
use crate::settings::{NodeAddress, NodePreference};

/// A cluster has at most so many members that are looked at.
const MEMBERS_MAX: usize = 256;

/// Finds the node to connect to: the only host there is, or the member that is preferred.
pub(super) async fn find(reach: &Reach, preference: NodePreference) -> Result<NodeAddress, Failure> {
    let settings = reach.settings();
    if let ([only], false) = (settings.hosts.as_slice(), settings.asks_members()) {
        return Ok(only.clone());
    }
    let mut last = Failure::Unreachable { reason: "no host was asked".to_owned() };
    for attempt in 0..settings.discover_attempts_max {
        if attempt > 0 {
            tokio::time::sleep(settings.discovery_interval).await;
        }
        match ask_all(reach, preference).await {
            Ok(node) => return Ok(node),
            Err(failure) => last = failure,
        }
    }
    let reason = format!("no node found in {} attempts: {}", settings.discover_attempts_max, last.reason());
    Err(Failure::Unreachable { reason })
}

/// Asks one host after the other, beginning anywhere, until one knows of a node that will do.
async fn ask_all(reach: &Reach, preference: NodePreference) -> Result<NodeAddress, Failure> {
    let hosts = &reach.settings().hosts;
    let mut last = Failure::Unreachable { reason: "no host is known".to_owned() };
    let begin = anywhere(hosts.len());
    for host in hosts.iter().cycle().skip(begin).take(hosts.len()) {
        match ask(reach, host).await {
            Ok(members) => match choose(members, preference) {
                Some(node) => return Ok(node),
                None => {
                    let reason = format!("{host} knows of no member that takes calls");
                    last = Failure::Unreachable { reason };
                }
            },
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

async fn ask(reach: &Reach, host: &NodeAddress) -> Result<ClusterInfo, Failure> {
    let limit = reach.settings().gossip_timeout;
    let asked = async { members(&reach.open(host).await?).await };
    tokio::time::timeout(limit, asked).await.unwrap_or(Err(Failure::Late { limit }))
}

async fn members(connection: &Connection) -> Result<ClusterInfo, Failure> {
    let mut client = GossipClient::with_origin(connection.clone(), connection.origin());
    let answer = client.read(Request::new(Empty {})).await.map_err(Failure::of)?;
    Ok(answer.into_inner())
}

/// The member that is preferred, or else one that takes calls at all.
fn choose(cluster: ClusterInfo, preference: NodePreference) -> Option<NodeAddress> {
    let allowed: Vec<_> = cluster.members.into_iter().take(MEMBERS_MAX).filter_map(allowed).collect();
    let best = allowed.iter().map(|(state, _)| rank(*state, preference)).min()?;
    let equals: Vec<_> = allowed.into_iter().filter(|(state, _)| rank(*state, preference) == best).collect();
    let chosen = anywhere(equals.len());
    equals.into_iter().nth(chosen).map(|(_, address)| address)
}

fn allowed(member: MemberInfo) -> Option<(VNodeState, NodeAddress)> {
    let state = member.state();
    let takes_calls = matches!(
        state,
        VNodeState::Leader
            | VNodeState::Follower
            | VNodeState::ReadOnlyReplica
            | VNodeState::PreReadOnlyReplica
            | VNodeState::ReadOnlyLeaderless
    );
    let end_point = member.http_end_point.filter(|_| member.is_alive && takes_calls)?;
    let port = u16::try_from(end_point.port).ok().filter(|port| *port > 0)?;
    Some((state, NodeAddress { host: end_point.address, port })).filter(|(_, address)| !address.host.is_empty())
}

/// How well a member will do; the least is best.
fn rank(state: VNodeState, preference: NodePreference) -> u8 {
    let is_replica =
        matches!(state, VNodeState::ReadOnlyReplica | VNodeState::PreReadOnlyReplica | VNodeState::ReadOnlyLeaderless);
    match preference {
        NodePreference::Random => 0,
        NodePreference::Leader if state == VNodeState::Leader => 0,
        NodePreference::Follower if state == VNodeState::Follower => 0,
        NodePreference::ReadOnlyReplica if is_replica => 0,
        // Whoever prefers a copy is better served by another copy than by the leader.
        NodePreference::ReadOnlyReplica if state == VNodeState::Follower => 1,
        _ => 2,
    }
}

/// A random index below a count; 0 when there is none.
fn anywhere(count: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small, and bounded below"
    )]
    let index = (chance() * count as f64) as usize;
    index.min(count.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_wire::event_store::client::gossip::EndPoint;

    fn cluster(members: &[(VNodeState, bool, u32)]) -> ClusterInfo {
        let member = |(state, is_alive, port): &(VNodeState, bool, u32)| MemberInfo {
            state: (*state).into(),
            is_alive: *is_alive,
            http_end_point: Some(EndPoint { address: "n".to_owned(), port: *port }),
            ..MemberInfo::default()
        };
        ClusterInfo { members: members.iter().map(member).collect() }
    }

    fn chosen(members: &[(VNodeState, bool, u32)], preference: NodePreference) -> Option<u16> {
        choose(cluster(members), preference).map(|node| node.port)
    }

    #[test]
    fn the_preferred_member_is_chosen_or_one_that_takes_calls() {
        let members = [
            (VNodeState::Follower, true, 1),
            (VNodeState::Leader, true, 2),
            (VNodeState::ReadOnlyReplica, true, 3),
            (VNodeState::CatchingUp, true, 4),
        ];
        assert_eq!(chosen(&members, NodePreference::Leader), Some(2));
        assert_eq!(chosen(&members, NodePreference::Follower), Some(1));
        assert_eq!(chosen(&members, NodePreference::ReadOnlyReplica), Some(3));
        assert_eq!(chosen(&members[..2], NodePreference::ReadOnlyReplica), Some(1));
        assert_eq!(chosen(&members[1..2], NodePreference::Follower), Some(2));
        for _ in 0..50 {
            assert_ne!(chosen(&members, NodePreference::Random), Some(4));
        }
    }

    #[test]
    fn the_dead_and_those_without_an_address_are_passed_over() {
        assert_eq!(chosen(&[(VNodeState::Leader, false, 1)], NodePreference::Leader), None);
        assert_eq!(chosen(&[(VNodeState::Leader, true, 0)], NodePreference::Leader), None);
        assert_eq!(chosen(&[], NodePreference::Random), None);
    }
}
