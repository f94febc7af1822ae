//! Owns a connection: opened, set up, with its statements prepared; thrown away when its state is unclear.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use forebay_connector::{Failure, FailureClass};
use futures_util::future::{MaybeDone, maybe_done};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls, Statement};

use super::access::Access;
use super::failure::failure;
use crate::table::{Plan, TableName};

/// Serialises the making of tables by lanes that start together; any number will do that others do not use.
const CREATE_LOCK: i64 = 0x466f_7265_6261_7901;

/// A connection of one lane. Dropping it closes the socket, and the server undoes what was not committed.
pub(super) struct Link {
    pub(super) client: Client,
    driver: Driver,
    prepared: Option<Prepared>,
}

/// The statements of deliveries.
pub(super) struct Prepared {
    /// Those of the plan, in its order.
    pub(super) statements: Vec<Statement>,
    pub(super) bulk: Option<Statement>,
    /// Moves the position where the claim still holds.
    pub(super) advance: Statement,
}

/// The task that reads what the server says while nobody asks; it ends with the connection.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    pub(super) async fn open(access: &Access) -> Result<Self, Failure> {
        let opening = async {
            let link = Self::connect(access).await?;
            link.client.batch_execute(&session(access)).await?;
            Ok(link)
        };
        match timeout(access.connect_timeout, opening).await {
            Ok(opened) => opened.map_err(|error: tokio_postgres::Error| failure(&error)),
            Err(_) => {
                let limit = access.connect_timeout.as_millis();
                Err(Failure::retry(FailureClass::Timeout, format!("no connection within {limit} ms")))
            }
        }
    }

    async fn connect(access: &Access) -> Result<Self, tokio_postgres::Error> {
        let (client, driver) = match &access.tls {
            None => {
                let (client, connection) = access.config.connect(NoTls).await?;
                (client, tokio::spawn(async { drop(connection.await) }))
            }
            Some(tls) => {
                let (client, connection) = access.config.connect(tls.clone()).await?;
                (client, tokio::spawn(async { drop(connection.await) }))
            }
        };
        Ok(Self { client, driver: Driver(driver), prepared: None })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.client.is_closed()
    }

    /// Ends the connection after what was asked is answered.
    pub(super) async fn close(self) {
        let Self { client, mut driver, .. } = self;
        // Without the client, the driver says goodbye and ends.
        drop(client);
        let _ = (&mut driver.0).await;
    }

    /// Whether a table is there.
    pub(super) async fn has(&self, table: &TableName) -> Result<bool, tokio_postgres::Error> {
        let row = self.client.query_one("SELECT to_regclass($1::text) IS NOT NULL", &[&table.to_string()]).await?;
        row.try_get(0)
    }

    /// Whether all tables of the plan are there.
    pub(super) async fn has_tables(&self, plan: &Plan) -> Result<bool, tokio_postgres::Error> {
        for table in plan.table.iter().chain([&plan.positions]) {
            if !self.has(table).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes what is missing, if the plan says so.
    pub(super) async fn create(&self, plan: &Plan) -> Result<(), tokio_postgres::Error> {
        if plan.creates.is_empty() || self.has_tables(plan).await? {
            return Ok(());
        }
        let creates = plan.creates.join("; ");
        self.client
            .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({CREATE_LOCK}); {creates}; COMMIT"))
            .await
    }

    /// Prepares all statements, which also checks that tables and columns fit them.
    pub(super) async fn prepare(&mut self, plan: &Plan) -> Result<(), tokio_postgres::Error> {
        if self.prepared.is_some() {
            return Ok(());
        }
        let mut statements = Vec::with_capacity(plan.statements.len());
        for sql in &plan.statements {
            statements.push(self.client.prepare(sql).await?);
        }
        let bulk = match &plan.bulk {
            Some(sql) => Some(self.client.prepare(sql).await?),
            None => None,
        };
        let advance = format!(
            "UPDATE {} SET position = coalesce($1, position), prepare = coalesce($2, prepare), token = $3 \
             WHERE connector = $4 AND lane = $5 AND epoch = $6 AND session = $7",
            plan.positions
        );
        self.prepared = Some(Prepared { statements, bulk, advance: self.client.prepare(&advance).await? });
        Ok(())
    }

    pub(super) fn prepared(&self) -> Option<&Prepared> {
        self.prepared.as_ref()
    }
}

/// What holds for the whole connection. A commit must be on the server's disk before it is answered, and a transaction
/// that is left behind must not hold the lane's row for long.
fn session(access: &Access) -> String {
    let limit = access.statement_timeout.as_millis().max(1);
    format!(
        "SET statement_timeout = {limit}; SET idle_in_transaction_session_timeout = {limit}; \
         SET client_min_messages = error; \
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
}

/// Asks everything in order before the first answer is waited for; answers in the same order.
pub(super) async fn pipelined<F: Future>(requests: Vec<F>) -> Vec<F::Output> {
    let mut requests: Vec<Pin<Box<MaybeDone<F>>>> = requests.into_iter().map(|one| Box::pin(maybe_done(one))).collect();
    poll_fn(|context| {
        for request in &mut requests {
            // What is ready stays in place until it is taken below.
            let _ = request.as_mut().poll(context);
        }
        Poll::Ready(())
    })
    .await;
    let mut answers = Vec::with_capacity(requests.len());
    for mut request in requests {
        request.as_mut().await;
        answers.extend(request.as_mut().take_output());
    }
    answers
}
