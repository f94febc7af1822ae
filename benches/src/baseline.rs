//! Owns the yardstick: the product's own requests, sent by a plain client loop that does nothing else.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;

use crate::clock::now_us;
use crate::connection::Connection;
use crate::load::{self, Place};

/// How the loop sends.
#[derive(Clone, Debug)]
pub(crate) struct Loop {
    pub(crate) receiver: SocketAddr,
    pub(crate) slot: usize,
    /// Connections, each with one request in flight; a stream's events stay on one.
    pub(crate) connections: u32,
    /// Events in a request: 1 sends the data as it is, more sends a JSON array.
    pub(crate) batch: usize,
    /// The headers that the product sends.
    pub(crate) headers: Vec<(String, String)>,
}

impl Loop {
    /// Sends all events once.
    pub(crate) async fn run(&self, places: &[Place]) -> Result<()> {
        let mut lanes = tokio::task::JoinSet::new();
        for lane in 0..self.connections {
            let mine: Vec<Place> =
                places.iter().filter(|place| place.stream % self.connections == lane).copied().collect();
            lanes.spawn(self.clone().lane(mine));
        }
        while let Some(ended) = lanes.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn lane(self, places: Vec<Place>) -> Result<()> {
        let mut connection = Connection::open(self.receiver).await?;
        for batch in places.chunks(self.batch.max(1)) {
            let (status, _) = connection.send(self.request(batch)?).await?;
            if !status.is_success() {
                bail!("the receiver answered {status}");
            }
        }
        Ok(())
    }

    fn request(&self, batch: &[Place]) -> Result<Request<Full<Bytes>>> {
        let bodies: Vec<String> = batch.iter().map(|place| load::data(*place, now_us())).collect();
        let body = if self.batch == 1 { bodies.concat() } else { format!("[{}]", bodies.join(",")) };
        let mut request = Request::post(format!("/in/{}", self.slot));
        for (name, value) in &self.headers {
            if !matches!(name.as_str(), "host" | "content-length" | "connection" | "transfer-encoding") {
                request = request.header(name, value);
            }
        }
        Ok(request.body(Full::from(body))?)
    }
}
