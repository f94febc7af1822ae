//! Owns connector files: what is declared, how it differs from what is there, and making it so.

use std::collections::BTreeSet;
use std::sync::Arc;

use forebay_connector::settings::{MASK, SettingsMap};
use forebay_store::LogPoint;
use serde_json::Value;

use super::declared::{Declared, form, read};
use super::entity::Facts;
use super::secrets::Secrecy;
use super::{ApplyError, CommandError, ConnectorState, Connectors, CreateConnector};
use crate::control::Phase;

/// Values longer than this, in characters, or of several lines, are shown by their beginning and size.
const SHOWN_CHARS_MAX: usize = 80;
const INITIAL_POSITION: &str = "subscription:initialPosition";

/// What applying a file does (or would do) to one connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The connector's id.
    pub id: String,
    /// What is done: `create`, `reconfigure`, `rename`, `start`, `stop`, `restart`; empty when left alone.
    pub actions: Vec<&'static str>,
    /// Differing settings, one line each: `- key: old`, `+ key: new`, secrets masked.
    pub diff: Vec<String>,
}

/// A connector as declared, and what is to be done about it.
struct Plan {
    declared: Declared,
    change: Change,
}

impl Connectors {
    /// Makes the declared connectors so, in order; with `dry_run` only says what it would do. Connectors that are not
    /// declared are left alone.
    ///
    /// `file` is `{"connectors": [{id, name?, state?: running|stopped, startFrom?: earliest|latest|position, settings}]}`.
    /// `startFrom` holds for the first start of a connector; later ones continue behind its checkpoint. All of the file is
    /// checked before anything is done.
    pub async fn apply(&self, file: &Value, dry_run: bool) -> Result<Vec<Change>, ApplyError> {
        let mut plans = Vec::new();
        for declared in read(file)? {
            plans.push(self.compare(declared).await?);
        }
        self.check_bound(&plans)?;
        let mut changes = Vec::with_capacity(plans.len());
        for plan in plans {
            if !dry_run {
                self.make_so(&plan).await.map_err(|error| refused(&plan.declared.id, error))?;
            }
            changes.push(plan.change);
        }
        Ok(changes)
    }

    fn check_bound(&self, plans: &[Plan]) -> Result<(), ApplyError> {
        let limit = self.node().config.connectors_max;
        let mut created = plans.iter().filter(|plan| plan.change.actions.contains(&"create"));
        let left = limit.saturating_sub(self.node().live_count());
        match created.nth(left) {
            Some(plan) => Err(refused(&plan.declared.id, CommandError::TooMany { limit })),
            None => Ok(()),
        }
    }

    async fn compare(&self, declared: Declared) -> Result<Plan, ApplyError> {
        let id = declared.id.clone();
        let place = format!("connector {id}");
        let plain =
            self.check_settings(&id, &declared.settings).await.map_err(|errors| form(&place, &errors.to_string()))?;
        if let Some(from @ LogPoint::At(_)) = declared.start_from {
            self.settle_point(from).await.map_err(|error| refused(&id, error))?;
        }
        let node = Arc::clone(self.node());
        let slot = node.slot(&id);
        let entity = slot.as_ref().map(|slot| slot.entity());
        let facts = entity.as_ref().and_then(|entity| entity.live());
        let begins = declared.running == Some(true) && facts.is_none_or(never_started);
        if begins && declared.start_from.is_none() && plain.get(INITIAL_POSITION).is_none() {
            let problem = "is to run, but nothing says where to begin: give `startFrom` (`earliest`, `latest` or a \
                           position) or the setting `subscription:initialPosition`";
            return Err(form(&place, problem));
        }
        let secrecy = Secrecy::of(&declared.settings, &node.catalog);
        let (Some(slot), Some(facts)) = (&slot, facts) else {
            let mut actions = vec!["create"];
            if declared.running == Some(true) {
                actions.push("start");
            }
            let diff = diff(&SettingsMap::default(), &plain, &secrecy);
            return Ok(Plan { declared, change: Change { id, actions, diff } });
        };
        let diff = diff(&node.vault.open_readable(&id, &facts.settings), &plain, &secrecy);
        let state = entity.as_ref().and_then(|entity| slot.state(entity)).unwrap_or(facts.state);
        let outdated = slot.hostings().iter().any(|(_, hosting)| {
            hosting.phase != Phase::Idle && hosting.settings.as_ref().is_some_and(|used| *used != facts.settings)
        });
        let standing = Standing { state, wanted: facts.wanted, outdated };
        let actions = actions(&declared, facts, &standing, !diff.is_empty());
        Ok(Plan { declared, change: Change { id, actions, diff } })
    }

    async fn make_so(&self, plan: &Plan) -> Result<(), CommandError> {
        let Declared { id, name, start_from, settings, .. } = &plan.declared;
        for action in &plan.change.actions {
            match *action {
                "create" => {
                    let create = CreateConnector { name: name.clone(), settings: settings.clone() };
                    self.create(id, create).await?;
                }
                "reconfigure" => self.reconfigure(id, settings.clone()).await?,
                "rename" => self.rename(id, name.as_deref().unwrap_or(id)).await?,
                "stop" => self.stop(id).await?,
                "restart" => {
                    self.stop(id).await?;
                    self.start(id, None).await?;
                }
                _ => {
                    let first =
                        self.node().slot(id).is_some_and(|slot| slot.entity().live().is_some_and(never_started));
                    self.start(id, start_from.filter(|_| first)).await?;
                }
            }
        }
        Ok(())
    }
}

/// How a connector stands that is there.
struct Standing {
    state: ConnectorState,
    /// It runs, or comes back by itself.
    wanted: bool,
    /// It runs with other settings than its newest.
    outdated: bool,
}

fn actions(declared: &Declared, facts: &Facts, standing: &Standing, differs: bool) -> Vec<&'static str> {
    let mut actions = Vec::new();
    if differs {
        actions.push("reconfigure");
    }
    if declared.name.as_ref().is_some_and(|name| *name != facts.name) {
        actions.push("rename");
    }
    let runs = matches!(standing.state, ConnectorState::Running | ConnectorState::Activating);
    match declared.running {
        Some(false) if standing.wanted => actions.push("stop"),
        Some(true) if !runs => actions.push("start"),
        Some(false) => {}
        Some(true) | None if standing.wanted && (differs || standing.outdated) => actions.push("restart"),
        Some(true) | None => {}
    }
    actions
}

/// No start was ever accepted since it was created.
fn never_started(facts: &Facts) -> bool {
    facts.activation.is_none()
}

fn refused(id: &str, error: CommandError) -> ApplyError {
    ApplyError::Command { id: id.to_owned(), error }
}

fn diff(old: &SettingsMap, new: &SettingsMap, secrecy: &Secrecy) -> Vec<String> {
    let keys: BTreeSet<String> = old.iter().chain(new.iter()).map(|(key, _)| key.to_ascii_lowercase()).collect();
    let mut lines = Vec::new();
    for key in keys {
        if old.get(&key) == new.get(&key) {
            continue;
        }
        for (sign, map) in [('-', old), ('+', new)] {
            if let Some((key, value)) = map.iter().find(|(name, _)| name.eq_ignore_ascii_case(&key)) {
                let shown = if secrecy.covers(key, value) { MASK.to_owned() } else { compact(value) };
                lines.push(format!("{sign} {key}: {shown}"));
            }
        }
    }
    lines
}

fn compact(value: &str) -> String {
    let lines = value.trim_end().lines().count();
    if lines <= 1 && value.chars().count() <= SHOWN_CHARS_MAX {
        return value.trim_end().to_owned();
    }
    let first: String = value.trim_start().lines().next().unwrap_or_default().chars().take(SHOWN_CHARS_MAX).collect();
    format!("{first} … ({lines} lines, {} bytes)", value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_shown_by_their_beginning() {
        assert_eq!(
            compact("function transform(r) {\n  r.x = 1;\n}\n"),
            "function transform(r) { … (3 lines, 37 bytes)"
        );
        assert_eq!(compact("short"), "short");
        assert!(compact(&"x".repeat(200)).ends_with("… (1 lines, 200 bytes)"));
    }
}
