//! Owns the PostgreSQL sink itself: from settings to a target, from a batch to marks in a receipt.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::settings::{SettingsErrors, SettingsMap, decode, describe};
use forebay_connector::{
    Batch, DefaultAction, DefaultRow, Epoch, Failure, FailureClass, Guarantee, Kind, Lane, LaneSupport, Receipt, Sink,
    SinkContext, Target,
};
use forebay_event::Position;

use super::access::Access;
use super::settings::PostgresSettings;
use super::writer::{Site, Writer};
use crate::table::{Dialect, Plan, items, mark};

const BATCH_RECORDS_DEFAULT: usize = 500;
/// An attempt holds a claim, the transaction, and the search for a record that is refused.
const STATEMENTS_PER_ATTEMPT: u32 = 4;

const POLICY: &[DefaultRow] = &[
    DefaultRow::new(FailureClass::Connect, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Timeout, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Busy, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Malformed, DefaultAction::Reject),
    DefaultRow::new(FailureClass::TooLarge, DefaultAction::Reject),
    DefaultRow::new(FailureClass::Unauthorised, DefaultAction::Stop),
    DefaultRow::new(FailureClass::Setup, DefaultAction::Stop),
    DefaultRow::new(FailureClass::Broken, DefaultAction::Retry),
];

pub(crate) const KIND: Kind = Kind {
    name: "postgres-sink",
    aliases: &["PostgresSink", "postgresql-sink"],
    title: "PostgreSQL",
    summary: "writes rows to PostgreSQL, each record effectively once",
    page: include_str!("page.md"),
    guarantee: Guarantee::EffectivelyOnce,
    lanes: LaneSupport::Many,
    batch_records_default: BATCH_RECORDS_DEFAULT,
    policy: POLICY,
    settings: describe::<PostgresSettings>,
    connect,
};

fn connect(map: &SettingsMap, context: &SinkContext) -> Result<Box<dyn Target>, SettingsErrors> {
    let settings: PostgresSettings = decode(map)?;
    let access = Access::new(&settings, &context.connector_id);
    let plan = Plan::new(&settings.into_table(), Dialect::Postgres);
    let (access, plan) = SettingsErrors::both(access, plan)?;
    let connector_id = Arc::clone(&context.connector_id);
    Ok(Box::new(PostgresTarget { plan: Arc::new(plan), access: Arc::new(access), connector_id }))
}

struct PostgresTarget {
    plan: Arc<Plan>,
    access: Arc<Access>,
    connector_id: Arc<str>,
}

impl Target for PostgresTarget {
    fn sink(&self, lane: Lane) -> Box<dyn Sink> {
        let site = Site { connector_id: Arc::clone(&self.connector_id), lane };
        let writer = Writer::new(Arc::clone(&self.plan), Arc::clone(&self.access), site);
        Box::new(PostgresSink { plan: Arc::clone(&self.plan), writer })
    }

    fn attempt_limit(&self, _: usize) -> Duration {
        let statements = self.access.statement_timeout.saturating_mul(STATEMENTS_PER_ATTEMPT);
        self.access.connect_timeout.saturating_add(statements)
    }

    fn keeps_position(&self) -> bool {
        true
    }
}

struct PostgresSink {
    plan: Arc<Plan>,
    writer: Writer,
}

#[async_trait]
impl Sink for PostgresSink {
    async fn probe(&mut self) -> Result<(), Failure> {
        self.writer.probe().await
    }

    async fn standing(&mut self) -> Result<Option<Position>, Failure> {
        self.writer.standing().await
    }

    async fn take_over(&mut self, epoch: Epoch) -> Result<Option<Position>, Failure> {
        self.writer.take_over(epoch).await
    }

    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        let items = items(&self.plan, batch);
        let written = self.writer.write(batch.epoch(), &items, batch.parked().map(|parked| parked.oldest)).await?;
        mark(written, receipt)
    }

    async fn close(&mut self) -> Result<(), Failure> {
        self.writer.close().await;
        Ok(())
    }
}
