//! Tests of the assignment: balance, stickiness, affinity, and that all nodes answer the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::assign::{Affinity, Candidate, Wish, assign};

/// More rounds than any of these tests needs.
const ROUNDS_MAX: usize = 400;

fn node(number: u8, zone: Option<u8>) -> Candidate {
    let labels = zone.map(|zone| ("zone".to_owned(), zone.to_string())).into_iter().collect();
    Candidate { node: Uuid::from_u128(u128::from(number) + 1), since: u64::from(number), labels, leaving: false }
}

fn wish(number: usize, affinity: Affinity) -> Wish {
    let id: Arc<str> = Arc::from(format!("connector-{number:03}"));
    Wish { connector: Arc::clone(&id), id, affinity, holder: None }
}

/// So many shards of each of some connectors.
fn families() -> impl Strategy<Value = Vec<Wish>> {
    proptest::collection::vec((1..9_usize, affinities()), 0..12).prop_map(|families| {
        let families = families.into_iter().enumerate();
        let shards = families.flat_map(|(number, (count, affinity))| {
            let connector: Arc<str> = Arc::from(format!("connector-{number:03}"));
            (0..count).map(move |index| {
                let (id, affinity) = (Arc::from(format!("{connector}/1.{index}")), affinity.clone());
                Wish { id, connector: Arc::clone(&connector), affinity, holder: None }
            })
        });
        shards.collect()
    })
}

fn in_zone(zone: u8) -> Affinity {
    Affinity { leader: false, labels: vec![("zone".to_owned(), zone.to_string())] }
}

fn affinities() -> impl Strategy<Value = Affinity> {
    prop_oneof![
        6 => Just(Affinity::default()),
        1 => Just(Affinity { leader: true, labels: Vec::new() }),
        2 => (0..3_u8).prop_map(in_zone),
        1 => (0..3_u8).prop_map(|zone| Affinity { leader: true, ..in_zone(zone) }),
    ]
}

fn nodes() -> impl Strategy<Value = Vec<Candidate>> {
    proptest::collection::vec(proptest::option::of(0..3_u8), 1..7).prop_map(|zones| {
        zones.into_iter().enumerate().map(|(index, zone)| node(u8::try_from(index).unwrap(), zone)).collect()
    })
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    proptest::collection::vec(affinities(), 0..60).prop_map(|affinities| {
        affinities.into_iter().enumerate().map(|(index, affinity)| wish(index, affinity)).collect()
    })
}

fn may(nodes: &[Candidate], wish: &Wish) -> Vec<Uuid> {
    let mut admitted: Vec<_> = nodes.iter().filter(|node| wish.affinity.admits(node)).collect();
    admitted.sort_by_key(|node| node.since);
    admitted.into_iter().map(|node| node.node).take(if wish.affinity.leader { 1 } else { usize::MAX }).collect()
}

/// Follows the plan round after round, as the nodes do, until it says nothing new; how many connectors changed their
/// holder in each round.
fn settle(nodes: &[Candidate], wishes: &mut [Wish]) -> Vec<usize> {
    let mut changes = Vec::new();
    for wish in wishes.iter_mut() {
        wish.holder = wish.holder.filter(|holder| nodes.iter().any(|node| node.node == *holder));
    }
    for _ in 0..ROUNDS_MAX {
        let plan = assign(nodes, wishes);
        let mut changed = 0;
        for wish in wishes.iter_mut() {
            let next = plan[&wish.id];
            changed += usize::from(next != wish.holder);
            wish.holder = next;
        }
        if changed == 0 {
            return changes;
        }
        changes.push(changed);
    }
    panic!("the plan does not come to rest");
}

fn loads(nodes: &[Candidate], wishes: &[Wish]) -> BTreeMap<Uuid, usize> {
    let of = |node: Uuid| wishes.iter().filter(|wish| wish.holder == Some(node)).count();
    nodes.iter().map(|node| (node.node, of(node.node))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn loads_come_to_differ_by_at_most_one_and_affinity_holds(nodes in nodes(), mut wishes in wishes()) {
        settle(&nodes, &mut wishes);
        let loads = loads(&nodes, &wishes);
        for wish in &wishes {
            let may = may(&nodes, wish);
            prop_assert_eq!(wish.holder.is_some(), !may.is_empty());
            if let Some(holder) = wish.holder {
                prop_assert!(may.contains(&holder));
                prop_assert!(may.iter().all(|other| loads[&holder] <= loads[other] + 1));
            }
        }
    }

    #[test]
    fn shards_of_a_connector_come_to_be_spread_over_the_nodes_that_may_run_them(
        nodes in nodes(), mut wishes in families(), holders in proptest::collection::vec(0..7_usize, 100),
    ) {
        for (wish, holder) in wishes.iter_mut().zip(&holders) {
            wish.holder = nodes.get(*holder).map(|node| node.node);
        }
        settle(&nodes, &mut wishes);
        for wish in &wishes {
            let siblings = |node: &Uuid| {
                wishes.iter().filter(|other| other.connector == wish.connector && other.holder == Some(*node)).count()
            };
            let may = may(&nodes, wish);
            let (most, least) = (may.iter().map(siblings).max(), may.iter().map(siblings).min());
            prop_assert!(most.unwrap_or(0) <= least.unwrap_or(0) + 1);
        }
    }

    #[test]
    fn loads_come_to_differ_by_at_most_one_with_shards_too(count in 1..7_u8, mut wishes in families()) {
        let nodes: Vec<_> = (0..count).map(|number| node(number, None)).collect();
        for wish in &mut wishes {
            wish.affinity = Affinity::default();
        }
        settle(&nodes, &mut wishes);
        let loads = loads(&nodes, &wishes);
        prop_assert!(loads.values().max() <= loads.values().min().map(|least| least + 1).as_ref());
    }

    #[test]
    fn the_answer_does_not_depend_on_the_order_of_what_is_known(nodes in nodes(), wishes in wishes()) {
        let plan = assign(&nodes, &wishes);
        let (mut nodes, mut wishes) = (nodes, wishes);
        nodes.reverse();
        wishes.reverse();
        prop_assert_eq!(assign(&nodes, &wishes), plan);
    }

    #[test]
    fn a_node_that_joins_is_given_its_share_one_by_one_and_nothing_else_moves(
        count in 1..6_u8, connectors in 0..60_usize,
    ) {
        let mut nodes: Vec<_> = (0..count).map(|number| node(number, None)).collect();
        let mut wishes: Vec<_> = (0..connectors).map(|number| wish(number, Affinity::default())).collect();
        settle(&nodes, &mut wishes);
        let before = wishes.clone();
        nodes.push(node(count, None));
        let changes = settle(&nodes, &mut wishes);
        prop_assert!(changes.iter().all(|changed| *changed == 1));
        let joined = Some(nodes.last().unwrap().node);
        let moved: Vec<_> = wishes.iter().zip(&before).filter(|(now, then)| now.holder != then.holder).collect();
        prop_assert!(moved.iter().all(|(now, _)| now.holder == joined));
        prop_assert_eq!(moved.len(), connectors / (usize::from(count) + 1));
    }

    #[test]
    fn a_node_that_is_lost_moves_only_what_it_had_and_at_once(count in 2..7_u8, connectors in 0..60_usize) {
        let mut nodes: Vec<_> = (0..count).map(|number| node(number, None)).collect();
        let mut wishes: Vec<_> = (0..connectors).map(|number| wish(number, Affinity::default())).collect();
        settle(&nodes, &mut wishes);
        let before = wishes.clone();
        let lost = nodes.remove(usize::from(count) / 2).node;
        let changes = settle(&nodes, &mut wishes);
        prop_assert!(changes.len() <= 1, "{:?}", changes);
        for (now, then) in wishes.iter().zip(&before) {
            prop_assert_eq!(now.holder != then.holder, then.holder == Some(lost));
        }
    }

    #[test]
    fn a_node_that_leaves_hands_over_all_it_has_and_nothing_comes_back(count in 2..7_u8, connectors in 0..60_usize) {
        let mut nodes: Vec<_> = (0..count).map(|number| node(number, None)).collect();
        let mut wishes: Vec<_> = (0..connectors).map(|number| wish(number, Affinity::default())).collect();
        settle(&nodes, &mut wishes);
        nodes[0].leaving = true;
        let plan = assign(&nodes, &wishes);
        for wish in &wishes {
            let next = plan[&wish.id];
            prop_assert!(next.is_some() && next != Some(nodes[0].node));
            prop_assert!(wish.holder == next || wish.holder == Some(nodes[0].node));
        }
    }

    #[test]
    fn of_what_is_held_by_the_living_at_most_one_moves_in_a_round(
        nodes in nodes(), mut wishes in wishes(), holders in proptest::collection::vec(0..6_usize, 60),
    ) {
        for (wish, holder) in wishes.iter_mut().zip(&holders) {
            wish.holder = nodes.get(*holder).map(|node| node.node);
        }
        let plan = assign(&nodes, &wishes);
        let moved = wishes.iter().filter(|wish| wish.holder.is_some() && plan[&wish.id] != wish.holder).count();
        prop_assert!(moved <= 1, "{} move at once", moved);
    }
}

#[test]
fn the_leader_is_the_oldest_by_the_log() {
    let nodes = [node(2, None), node(0, None), node(1, None)];
    let leader = wish(0, Affinity { leader: true, labels: Vec::new() });
    assert_eq!(assign(&nodes, std::slice::from_ref(&leader))[&leader.id], Some(nodes[1].node));
    assert_eq!(assign(&nodes[..1], std::slice::from_ref(&leader))[&leader.id], Some(nodes[0].node));
}
