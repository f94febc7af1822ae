//! JavaScript transforms: a user's `function transform(record)`, run over batches of records on a thread of its own.
//!
//! The script sees one record at a time: `recordId`, `position` (`streamId`, `streamRevision`, `logPosition`),
//! `sequenceId`, `isTransformed`, `isRedacted`, `schemaInfo` (`subject`, `type`: always `"json"`), `headers`, `value`,
//! `streamId` and `timestamp` (RFC 3339). The newer names `id`, `sequence`, `redacted`, `properties`, `schema` (`name`,
//! `format`) and `position.stream` read and write the same members. What counts afterwards is `value`,
//! `schemaInfo.subject` and `headers`; changes elsewhere are ignored.
//!
//! It changes its argument in place, or returns a record that has a `value`; `null` drops the record. Numbers are
//! JavaScript's: integers beyond 2^53 lose digits. Strict mode; no `eval`, no timers, no input or output; `Date` and
//! `Math.random` are there, so a script that uses them answers differently when a record is repeated. Globals last from
//! record to record, but are lost whenever the engine is made anew: at a restart and after a script ran out of time or
//! memory.
//!
//! A script cannot be trusted to end. Three nets hold it: an interrupt when its time for a record is over, a bound on
//! memory and stack, and, for built-ins that answer no interrupt, a caller that stops waiting, leaves the thread behind
//! and starts another. Left-behind threads are bounded too. The nets hold mistakes, not attackers: the engine is written
//! in C and runs in this process, so only those who may administer the server may write scripts.

mod headers;
mod failure;
mod thrown;
mod engine;
mod worker;
mod transform;
#[cfg(test)]
mod tests;

pub use failure::{FailureKind, ScriptError, TransformFailure};
pub use headers::headers_of;
pub use transform::{Transform, Transformed, validate};
