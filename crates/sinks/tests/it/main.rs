//! Tests of sinks against real services, which the tests start themselves.

#[cfg(test)]
mod postgres;
