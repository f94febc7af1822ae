//! Subscriptions: the messages of one call, what is made of them, and going on when a call breaks.

mod feed;
mod progress;
mod remote;

pub(crate) use remote::RemoteSubscription;
