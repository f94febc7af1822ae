//! Owns what queries answer: connectors as they are known now, with the last checkpoint read live.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use forebay_store::ReadError;
use tokio_util::task::AbortOnDropHandle;

use super::entity::Facts;
use super::secrets::Secrecy;
use super::shards::{parked_in, shards, summed};
use super::{ConnectorView, Connectors, ListQuery, PreviewReport, PreviewRequest, QueryError};
use crate::control::{Node, Phase, Slot, last_checkpoint};
use crate::pipeline::{ParkedCount, last_count};

/// So many connectors are looked up in the store at the same time.
const LOOKS_MAX: usize = 16;

impl Connectors {
    /// The connectors that fit, in the order of their creation.
    pub async fn list(&self, query: ListQuery) -> Result<Vec<ConnectorView>, QueryError> {
        Ok(self.list_page(query, 0..usize::MAX).await?.1)
    }

    /// How many connectors fit, and those of them that have these numbers, from 0 in the order of their creation. Only those
    /// are looked up in the store.
    pub async fn list_page(
        &self,
        query: ListQuery,
        page: Range<usize>,
    ) -> Result<(usize, Vec<ConnectorView>), QueryError> {
        let found = self.found(&query);
        let total = found.len();
        let mut waiting: VecDeque<_> = found.into_iter().skip(page.start).take(page.len()).collect();
        let (mut views, mut looks) = (Vec::with_capacity(waiting.len()), VecDeque::with_capacity(LOOKS_MAX));
        loop {
            while looks.len() < LOOKS_MAX
                && let Some(slot) = waiting.pop_front()
            {
                let node = Arc::clone(self.node());
                looks.push_back(AbortOnDropHandle::new(tokio::spawn(async move { view(&node, &slot).await })));
            }
            let Some(look) = looks.pop_front() else { return Ok((total, views)) };
            match look.await {
                Ok(view) => views.extend(view?),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The process ends.
                Err(_) => return Ok((total, views)),
            }
        }
    }

    /// The same as this node remembers them, without asking the store: without positions and without what is parked.
    pub fn list_remembered(&self, query: &ListQuery) -> Vec<ConnectorView> {
        let remembered = |slot: Arc<Slot>| {
            let entity = slot.entity();
            shown(self.node(), &slot, &entity.id, entity.facts.as_ref()?)
        };
        self.found(query).into_iter().filter_map(remembered).collect()
    }

    fn found(&self, query: &ListQuery) -> Vec<Arc<Slot>> {
        let slots = self.node().slots().into_iter();
        let mut found: Vec<_> = slots.filter_map(|slot| Some((fits(query, &slot)?, slot))).collect();
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, slot)| slot).collect()
    }

    /// One connector; deleted ones are found as well.
    pub async fn get(&self, id: &str) -> Result<ConnectorView, QueryError> {
        let not_found = || QueryError::NotFound { id: id.to_owned() };
        let slot = self.node().slot(id).ok_or_else(not_found)?;
        view(self.node(), &slot).await?.ok_or_else(not_found)
    }

    /// Runs filter and transform over history, touching no sink.
    pub async fn preview(&self, request: PreviewRequest) -> Result<PreviewReport, QueryError> {
        let node = self.node();
        node.runner.preview(Arc::clone(&node.store), &node.catalog, request).await
    }
}

fn fits(query: &ListQuery, slot: &Slot) -> Option<forebay_event::Position> {
    let entity = slot.entity();
    let state = slot.state(&entity)?;
    let facts = entity.facts.as_ref()?;
    let fits = (query.show_deleted || facts.deleted_at.is_none())
        && (query.states.is_empty() || query.states.contains(&state))
        && (query.kinds.is_empty() || query.kinds.contains(&facts.kind))
        && (query.ids.is_empty() || query.ids.iter().any(|id| **id == *entity.id));
    fits.then_some(facts.place)
}

/// A connector as queries show it; none when it was never created.
pub(super) async fn view(node: &Node, slot: &Slot) -> Result<Option<ConnectorView>, ReadError> {
    let entity = slot.entity();
    let Some(facts) = &entity.facts else { return Ok(None) };
    let shards = shards(node, slot, facts).await?;
    if let Some(last) = shards.iter().min_by_key(|shard| shard.position) {
        let (position, position_at, parked) = (last.position, last.position_at, parked_in(&shards));
        let shown = shown(node, slot, &entity.id, facts);
        return Ok(shown.map(|view| ConnectorView { position, position_at, parked, shards, ..view }));
    }
    let checkpoint = if facts.deleted_at.is_none() { last_checkpoint(node, &entity.id).await? } else { None };
    let parked = match facts.deleted_at {
        None => last_count(&*node.store, &node.parked_stream(&entity.id)).await?,
        Some(_) => ParkedCount::default(),
    };
    let shown = shown(node, slot, &entity.id, facts);
    Ok(shown.map(|view| ConnectorView {
        position: checkpoint.map(|checkpoint| checkpoint.position),
        position_at: checkpoint.map(|checkpoint| checkpoint.at),
        parked,
        ..view
    }))
}

/// The same without a look into the store.
pub(super) fn shown(node: &Node, slot: &Slot, id: &str, facts: &Facts) -> Option<ConnectorView> {
    let state = slot.state(&slot.entity())?;
    let hostings = slot.hostings();
    let here = hostings.iter().filter(|(_, hosting)| !matches!(hosting.phase, Phase::Idle | Phase::Elsewhere));
    let mut run_with = here.filter_map(|(_, hosting)| hosting.settings.as_ref());
    let progresses = hostings.iter().filter_map(|(_, hosting)| Some(*hosting.progress.as_ref()?.borrow()));
    Some(ConnectorView {
        id: id.to_owned(),
        kind: facts.kind.clone(),
        name: facts.name.clone(),
        state,
        state_at: facts.state_at,
        settings: Secrecy::of(&facts.settings, &node.catalog).masked(&facts.settings),
        settings_at: facts.settings_at,
        revision: facts.revision,
        position: None,
        position_at: None,
        created_at: facts.created_at,
        updated_at: facts.updated_at,
        deleted_at: facts.deleted_at,
        error: facts.error.clone(),
        progress: summed(progresses),
        shards: Vec::new(),
        parked: ParkedCount::default(),
        restart_needed: run_with.any(|settings| *settings != facts.settings),
    })
}
