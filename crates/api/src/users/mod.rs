//! Users over HTTP and gRPC: administrators manage them, everybody sees and changes their own.

mod routes;
mod http;
mod grpc;

pub(crate) use grpc::UsersService;
pub(crate) use routes::ROUTES;
