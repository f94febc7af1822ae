//! Owns the HTTP sink: one request per event, or one per batch.

mod settings;
mod url;
mod signature;
mod request;
mod answer;
mod sink;
#[cfg(feature = "testing")]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use sink::KIND;
