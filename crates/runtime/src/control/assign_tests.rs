//! Tests of the assignment: balance, stickiness, affinity, and that all nodes answer the same.
