//! Owns what callers of each service must be; what a call does with streams and users is judged where it is done.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use forebay_access::{Access, Need};

use crate::auth::caller_of;
use crate::status::grpc::access_denied;

/// Services by what their paths begin with.
const NEEDS: &[(&str, Need)] = &[
    ("/event_store.client.streams.", Need::Streams),
    ("/event_store.client.server_features.", Need::Nothing),
    ("/event_store.client.gossip.", Need::Nothing),
    ("/event_store.client.monitoring.", Need::SignedIn),
    ("/event_store.client.persistent_subscriptions.", Need::SignedIn),
    ("/event_store.client.users.", Need::SignedIn),
    ("/event_store.client.operations.", Need::Operator),
];

/// Lets in whoever is what the service needs; a service that is not listed needs an administrator.
pub(super) async fn let_in(State(access): State<Access>, request: Request, next: Next) -> Response {
    let caller = caller_of(&access, request.extensions());
    match access.check(&caller, need_of(request.uri().path())) {
        Ok(()) => next.run(request).await,
        Err(_) => access_denied().into_http(),
    }
}

fn need_of(path: &str) -> Need {
    NEEDS.iter().find(|(prefix, _)| path.starts_with(prefix)).map_or(Need::Admin, |(_, need)| *need)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_for_administrators() {
        assert_eq!(need_of("/event_store.client.gossip.Gossip/Read"), Need::Nothing);
        assert_eq!(need_of("/event_store.client.operations.Operations/Shutdown"), Need::Operator);
        assert_eq!(need_of("/event_store.client.unheard_of.Service/Call"), Need::Admin);
    }
}
