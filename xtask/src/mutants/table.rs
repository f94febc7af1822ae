//! Owns the list of deliberate breaks: what is changed where, and what must notice it.

/// A deliberate break.
pub(super) struct Mutant {
    /// Its name.
    pub(super) name: &'static str,
    /// The file, from the root.
    pub(super) file: &'static str,
    /// Text that the file holds exactly once.
    pub(super) from: &'static str,
    /// What stands there instead.
    pub(super) to: &'static str,
    /// Who must notice.
    pub(super) noticed_by: Proof,
}

/// What is run to notice a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The first seeds of the simulation.
    Simulation,
    /// The test of the log that counts syncs.
    Syncs,
}

/// Every deliberate break.
pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "acknowledge early",
        file: "crates/runtime/src/pipeline/deliver.rs",
        from: "        let limit = self.shared.target.attempt_limit(batch.len());
        let receipt = attempt(self.sink.as_mut(), &batch, limit).await;
        admitted.learn(&receipt, number);",
        to: "        let limit = self.shared.target.attempt_limit(batch.len());
        self.all_delivered(&batch, &sent).await?;
        let receipt = attempt(self.sink.as_mut(), &batch, limit).await;
        admitted.learn(&receipt, number);",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "checkpoint ahead of the unsettled",
        file: "crates/runtime/src/pipeline/tracker.rs",
        from: "self.entries.front().map_or(self.seen, |entry| entry.slot.before)",
        to: "self.seen",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "settled ranges take in the unsettled",
        file: "crates/runtime/src/pipeline/tracker.rs",
        from: "for slot in self.entries.iter().filter(|entry| !entry.settled).map(|entry| &entry.slot) {",
        to: "for slot in self.entries.iter().take(1).map(|entry| &entry.slot) {",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "let checkpoints lag behind their threshold",
        file: "crates/runtime/src/pipeline/conduct.rs",
        from: "self.write_if(self.settled_since >= threshold && self.written_at.elapsed() >= CHECKPOINT_GAP);",
        to: "self.write_if(self.settled_since >= 2 * threshold && self.written_at.elapsed() >= CHECKPOINT_GAP);",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "ignore the epoch in the checkpoint's claim",
        file: "crates/runtime/src/pipeline/checkpoint.rs",
        from: "let request = AppendRequest { stream: self.stream.clone(), expected: self.expected, events };",
        to: "let request = AppendRequest { stream: self.stream.clone(), expected: ExpectedRevision::Any, events };",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "reorder a retry",
        file: "crates/runtime/src/pipeline/held.rs",
        from: "        for record in records.into_iter().rev() {
            held.records.push_front(record);
        }",
        to: "        for record in records {
            held.records.push_back(record);
        }",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "pass a key that waits",
        file: "crates/runtime/src/pipeline/deliver.rs",
        from: "            if self.held.holds(record.key) {
                self.held.push(record);
            } else if is_known {",
        to: "            if is_known {",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "forget a parked key",
        file: "crates/runtime/src/pipeline/answer.rs",
        from: "        self.parked.insert(record.key);\n",
        to: "",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "forget the parked keys on restart",
        file: "crates/runtime/src/pipeline/parked/lot.rs",
        from: "let keys = index.lines().keys().copied().collect();",
        to: "let keys = HashSet::new();",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "resend a whole batch",
        file: "crates/runtime/src/pipeline/answer.rs",
        from: "                Outcome::Delivered => {
                    settlement.add_parts(sent.seq, sent.bytes, record.event().created());
                    delivered_keys.insert(sent.key);
                }",
        to: "                Outcome::Delivered => {
                    let failure = Failure::retry(FailureClass::Broken, \"resent with its batch\");
                    failed.push((again(sent, record), failure));
                }",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "skip the settled ranges on restart",
        file: "crates/runtime/src/pipeline/start.rs",
        from: "        settled = checkpoint.settled;\n",
        to: "        settled = SettledRanges::default();\n",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "a key changes its lane",
        file: "crates/runtime/src/pipeline/key.rs",
        from: "(self.0 % lanes.max(1) as u64) as usize",
        to: "(std::process::id() as u64 + CHANGES.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) as usize % lanes.max(1)
    }
}

static CHANGES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

impl Key {
    #[allow(dead_code)]
    fn number(self) -> usize {
        self.0 as usize",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "ignore the fence",
        file: "crates/runtime/src/pipeline/run.rs",
        from: "() = fenced.cancelled() => End::Fenced,",
        to: "() = fenced.cancelled(), if false => End::Fenced,",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "take a lease that another node holds",
        file: "crates/runtime/src/control/lease.rs",
        from: "if watch.stands_for(node, &standing) < lease.duration {",
        to: "if watch.stands_for(node, &standing) < lease.duration / 4 {",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "rely on a lease that has run out",
        file: "crates/runtime/src/control/lease.rs",
        from: "let left = self.left_until(duration * 4 / 5);",
        to: "let left = self.left_until(duration * 3);",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "keep the lease at the end",
        file: "crates/runtime/src/control/lease.rs",
        from: "() = self.release.cancelled() => return self.give_back().await,",
        to: "() = self.release.cancelled() => return true,",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "watch a foreign lease for too long",
        file: "crates/runtime/src/control/lease.rs",
        from: "if watch.stands_for(node, &standing) < lease.duration {",
        to: "if watch.stands_for(&standing, now) < lease.duration * 2 {",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "give sinks one epoch for all owners",
        file: "crates/runtime/src/pipeline/deliver.rs",
        from: "Batch::new(self.lane, self.shared.epoch, ",
        to: "Batch::new(self.lane, Epoch(self.shared.epoch.0.min(1)), ",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "pass a record that waits in a strict lane",
        file: "crates/runtime/src/pipeline/held.rs",
        from: "self.is_strict && !self.keys.is_empty()",
        to: "self.is_strict && false",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "ignore the error policy",
        file: "crates/runtime/src/pipeline/policy.rs",
        from: "self.rows.iter().find(|row| row.class.holds(class)).map(|row| row.action)",
        to: "self.rows.iter().find(|row| row.class.holds(class)).map(|row| row.action).filter(|_| false)",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "leave out without a word",
        file: "crates/runtime/src/pipeline/answer.rs",
        from: "noted = self.shared.skips.note(record, failure, attempts) => noted,",
        to: "noted = async { Ok::<(), forebay_store::AppendError>(()) } => noted,",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "forget what was drawn from a rate",
        file: "crates/runtime/src/pipeline/rate.rs",
        from: "        self.tokens -= tokens;\n",
        to: "",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "replay out of order",
        file: "crates/runtime/src/pipeline/parked/lot.rs",
        from: "let taken = index.line(key).into_iter().flat_map(|line| line.records.values()).take(records);",
        to: "let taken = index.line(key).into_iter().flat_map(|line| line.records.values().rev()).take(records);",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "answer a drop and do not store it",
        file: "crates/runtime/src/pipeline/parked/lot.rs",
        from: "            self.stream.append(&mut index, &Happened::Dropped(body)).await?;
",
        to: "            drop(Happened::Dropped(body));
",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "note as replayed what was not taken",
        file: "crates/runtime/src/pipeline/replay.rs",
        from: "                        let (record, went_alone) = (Some(record.clone()), batch.len() == 1);
",
        to: "                        gone.push(parked.number.get());
                        let (record, went_alone) = (Some(record.clone()), batch.len() == 1);
",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "replay the payload before the edit",
        file: "crates/runtime/src/pipeline/parked/lot.rs",
        from: "let Some((place, _)) = parked.edited else {",
        to: "let Some((place, _)) = parked.edited.filter(|_| false) else {",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "free a key of which records are parked",
        file: "crates/runtime/src/pipeline/replay.rs",
        from: "        if !self.shared.parking.holds(key).await {",
        to: "        if !self.shared.parking.holds(key).await || self.lane.0 < u32::MAX {",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "hand over and keep the lease",
        file: "crates/runtime/src/control/activate.rs",
        from: "if fenced.is_cancelled() || lease.release().await == Released::Lost {",
        to: "if fenced.is_cancelled() || !node.closing.is_cancelled() && { drop(lease); false } {",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "hand over without draining",
        file: "crates/runtime/src/control/activate.rs",
        from: "                    self.stop.cancel();
                    lifecycle.reach(HostState::Deactivating, None).await;
                    return self.wait_for_stop(task).await;",
        to: "                    drop(task);
                    return Ended::Stopped;",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "ignore the plan",
        file: "crates/runtime/src/control/cluster.rs",
        from: "self.node == Some(node) && self.holder.is_none_or(|holder| holder == node)",
        to: "self.holder.is_none_or(|holder| holder == node)",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "move nothing to a node that joins",
        file: "crates/runtime/src/control/assign.rs",
        from: "    if settled && !round.move_misplaced() && !round.move_sibling() {
        round.move_one();
    }
",
        to: "    if settled {
        round.move_misplaced();
    }
",
        noticed_by: Proof::Simulation,
    },
    Mutant {
        name: "skip the sync of a commit",
        file: "crates/log/src/engine.rs",
        from: ".durability(Some(sync))",
        to: ".durability(Some(sync).filter(|_| false))",
        noticed_by: Proof::Syncs,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn every_break_finds_its_text_once() {
        for mutant in MUTANTS {
            let path = workspace::root().join(mutant.file);
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(text.matches(mutant.from).count(), 1, "{:?} in {}", mutant.name, mutant.file);
        }
    }
}
