//! The contract of every sink, against a real server.

use async_trait::async_trait;
use forebay_connector::Target;
use forebay_connector::testing::contract::{Fixture, check_sink};
use forebay_connector::testing::samples::sample_record;
use tokio::sync::Mutex;
use tokio_postgres::Client;

use super::lane::target;
use super::server::Server;

const SETTINGS: &[(&str, &str)] =
    &[("table", "log.events"), ("createTable", "true"), ("authentication:password", "canary-in-a-password")];

struct Real {
    server: Server,
    /// Holds a lock until the next row is asked for.
    holder: Mutex<Option<Client>>,
}

#[async_trait]
impl Fixture for Real {
    fn connect(&self) -> Box<dyn Target> {
        target(&self.server, SETTINGS)
    }

    async fn arrived(&self) -> Vec<String> {
        *self.holder.lock().await = None;
        let exists = "SELECT coalesce(to_regclass('log.events')::text, '')";
        if self.server.rows(exists).await == [""] {
            return Vec::new();
        }
        self.server.rows("SELECT event_id::text FROM log.events ORDER BY position").await
    }

    fn identity(&self, number: u64) -> String {
        sample_record(number).event().id().to_string()
    }

    /// A passing conflict with another writer, when the record after so many comes.
    async fn refuse_after(&self, records: usize) -> bool {
        let sql = format!(
            "CREATE SEQUENCE refusals; CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('refusals') = {} THEN RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON log.events FOR EACH ROW EXECUTE FUNCTION refuse()",
            records + 1
        );
        self.server.run(&sql).await;
        true
    }

    /// The lane's row is locked by somebody until the test looks at what arrived, or for a second.
    async fn stall(&self) -> bool {
        let client = self.server.client().await;
        let sql = "SET idle_in_transaction_session_timeout = 300; BEGIN; SELECT 1 FROM forebay_positions FOR UPDATE";
        client.batch_execute(sql).await.unwrap();
        *self.holder.lock().await = Some(client);
        true
    }

    async fn restart(&self) -> bool {
        self.server.stop_immediately();
        self.server.spawn();
        self.server.ready().await;
        true
    }

    fn secrets(&self) -> Vec<String> {
        vec!["canary-in-a-password".to_owned()]
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    let Some(server) = Server::start().await else { return };
    check_sink(&Real { server, holder: Mutex::new(None) }).await;
}
