//! gRPC on the same port as HTTP: which services are mounted, what every call passes through, and what is not served.

mod routes;
mod dialled;
mod call;
mod not_served;
mod rights;
#[cfg(feature = "testing")]
pub(crate) mod doors;

pub(crate) use call::{deadline, within};
pub(crate) use dialled::Dialled;
pub(crate) use not_served::{is_call, not_served};
pub(crate) use routes::routes;
