//! Tests of several nodes over one store, in the runtime's paused time.
