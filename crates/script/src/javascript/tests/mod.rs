//! Tests of transforms: what scripts may do, and what they must not be able to do to this process.

mod fixture;
mod records;
mod data;
mod loading;
mod bounds;
mod reach;
