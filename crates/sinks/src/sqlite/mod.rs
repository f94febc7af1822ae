//! Owns the SQLite sink: rows and the lane's position in one transaction of one file.

mod settings;
mod failure;
mod writer;
mod sink;
#[cfg(test)]
mod tests;

pub(crate) use sink::KIND;
