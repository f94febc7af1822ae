//! Owns what answers at the port: the waiting API while the store is not there yet, the whole one from then on.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use tower::ServiceExt;

/// What answers, as long as there is a choice.
#[derive(Clone)]
pub(crate) struct Door {
    waiting: Router,
    whole: Arc<OnceLock<Router>>,
}

impl Door {
    /// Answers with the waiting API.
    pub(crate) fn new(waiting: Router) -> Self {
        Self { waiting, whole: Arc::default() }
    }

    /// Answers with the whole API from now on, for good.
    pub(crate) fn open(&self, whole: Router) {
        // A door is opened once.
        drop(self.whole.set(whole));
    }

    /// A router that answers with whichever it is at the time of a request.
    pub(crate) fn router(&self) -> Router {
        let door = self.clone();
        Router::new().fallback(move |request| door.clone().answer(request))
    }

    async fn answer(self, request: Request) -> Response {
        let router = self.whole.get().unwrap_or(&self.waiting).clone();
        match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::StatusCode;

    async fn status(router: &Router) -> StatusCode {
        let request = Request::builder().uri("/x").body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn the_whole_answers_once_the_door_is_open() {
        let waiting = Router::new().fallback(|| async { StatusCode::SERVICE_UNAVAILABLE });
        let door = Door::new(waiting);
        let router = door.router();
        assert_eq!(status(&router).await, StatusCode::SERVICE_UNAVAILABLE);
        door.open(Router::new().fallback(|| async { StatusCode::OK }));
        assert_eq!(status(&router).await, StatusCode::OK);
    }
}
