//! What fuzzing feeds with bytes: one function per target, used by the fuzzer and by the replay of its corpus.
//!
//! A target panics when something holds no longer: that is what both look for.

mod sample;
mod configuration;
mod expressions;
mod bodies;
mod stored;
mod requests;
mod calls;

pub use bodies::{connector_file, http_append, http_append_plain};
pub use calls::{call_headers, grpc_frames, grpc_messages};
pub use configuration::{settings, settings_json};
pub use expressions::{filters, jsonpath, script};
pub use requests::{cloud_events, retry_after, signature, url_template};
pub use stored::{checkpoint, high_water, log_block, management_event};

/// A target: takes any bytes, and panics when something does not hold.
pub type Target = fn(&[u8]);

/// Every target with the name of its corpus.
pub const ALL: [(&str, Target); 19] = [
    ("settings", settings),
    ("settings_json", settings_json),
    ("filters", filters),
    ("jsonpath", jsonpath),
    ("url_template", url_template),
    ("script", script),
    ("http_append", http_append),
    ("http_append_plain", http_append_plain),
    ("connector_file", connector_file),
    ("log_block", log_block),
    ("high_water", high_water),
    ("checkpoint", checkpoint),
    ("management_event", management_event),
    ("cloud_events", cloud_events),
    ("signature", signature),
    ("retry_after", retry_after),
    ("grpc_frames", grpc_frames),
    ("grpc_messages", grpc_messages),
    ("call_headers", call_headers),
];
