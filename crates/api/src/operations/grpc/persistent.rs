//! Owns the one answer about persistent subscriptions that clients rely on: that there are none.

use forebay_wire::event_store::client::persistent_subscriptions::list_req::options::ListOption;
use forebay_wire::event_store::client::persistent_subscriptions::list_req::stream_option::StreamOption;
use forebay_wire::event_store::client::persistent_subscriptions::persistent_subscriptions_server::PersistentSubscriptions;
use forebay_wire::event_store::client::persistent_subscriptions::{ListReq, ListResp};
use tonic::{Request, Response, Status};

use crate::status::grpc::no_persistent_subscription;

/// Answers that there are none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PersistentSubscriptionsService;

#[tonic::async_trait]
impl PersistentSubscriptions for PersistentSubscriptionsService {
    async fn list(&self, request: Request<ListReq>) -> Result<Response<ListResp>, Status> {
        let asked = request.into_inner().options.and_then(|options| options.list_option);
        let Some(ListOption::ListForStream(stream)) = asked else {
            return Ok(Response::new(ListResp { subscriptions: Vec::new() }));
        };
        match stream.stream_option {
            Some(StreamOption::Stream(stream)) => {
                Err(no_persistent_subscription(&String::from_utf8_lossy(&stream.stream_name)))
            }
            _ => Err(no_persistent_subscription("$all")),
        }
    }
}
