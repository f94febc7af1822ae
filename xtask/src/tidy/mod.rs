//! Checks of our own: what the style demands and neither the compiler nor clippy refuses. No network, no build.

mod report;
mod arrows;
mod code;
mod source;
mod tests_rules;
mod layout;
mod text;
mod documents;
mod lockfile;

pub(crate) use report::run;
