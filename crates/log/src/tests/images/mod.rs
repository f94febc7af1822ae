//! Crash images: directories as a crash, a lying disk or a flipped bit may leave them, and what opening them answers.
//!
//! `recording` runs a workload and keeps what lies on disk at each stable moment, with what was acknowledged by then;
//! `derive` makes images out of those moments; `checker` opens an image and compares every event with the workload. The
//! checker knows nothing of the log's own checks: it has the list of what was appended, and the port to read it back.

mod workload;
mod recording;
mod derive;
mod checker;
mod run;
