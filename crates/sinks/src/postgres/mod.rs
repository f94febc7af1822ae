//! Owns the PostgreSQL sink: rows and the lane's position in one transaction.

mod settings;
mod access;
mod failure;
mod value;
mod link;
mod writer;
mod sink;

pub(crate) use sink::KIND;
