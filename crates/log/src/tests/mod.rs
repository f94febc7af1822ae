//! Tests of the log as a whole: the conformance suite, recovery, damage, faults, packing, and a comparison with a model.

mod fixture;
mod conformance;
mod recovery;
mod faults;
mod packing;
mod offline;
mod model;
mod images;
