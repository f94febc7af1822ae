//! Owns `/gossip`: the one member there is, as tools and older clients read it.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri};
use serde_json::json;
use uuid::Uuid;

use super::grpc::PROTOCOL_VERSION;
use super::node::OperationsApi;
use crate::grpc::Dialled;
use crate::status::Refusal;

/// The member, at the address that the caller has dialled. The TCP protocol of old is not there: its ports are 0.
pub(super) async fn members(
    State(OperationsApi { api, instance }): State<OperationsApi>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let dialled = Dialled::of(&uri, &headers).ok_or_else(|| Refusal::bad_request("the request names no host"))?;
    let head = api.store.head().await?.map_or(0, |head| head.commit());
    let is_stopping = api.stopping.is_cancelled();
    let (host, port) = (&dialled.host, dialled.port);
    let member = json!({
        "instanceId": instance,
        "timeStamp": api.clock.now().to_string(),
        "state": if is_stopping { "ShuttingDown" } else { "Leader" },
        "isAlive": !is_stopping,
        "internalTcpIp": host, "internalTcpPort": 0, "internalSecureTcpPort": 0,
        "externalTcpIp": host, "externalTcpPort": 0, "externalSecureTcpPort": 0,
        "internalHttpEndPointIp": host, "internalHttpEndPointPort": port,
        "httpEndPointIp": host, "httpEndPointPort": port,
        "lastCommitPosition": head, "writerCheckpoint": head, "chaserCheckpoint": head,
        "epochPosition": 0, "epochNumber": 0, "epochId": Uuid::nil(),
        "nodePriority": 0,
        "isReadOnlyReplica": false,
        "esVersion": PROTOCOL_VERSION,
    });
    Ok(Json(json!({ "members": [member], "serverIp": host, "serverPort": port })).into_response())
}
