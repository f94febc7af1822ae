//! `cargo xtask mutants`: breaks the code on purpose, one way after the other, and demands that each is noticed.

mod table;
mod run;

pub(crate) use run::run;
