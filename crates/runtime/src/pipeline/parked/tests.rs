//! Owns tests of the lot that no pipeline shows: stored forms and counts.
