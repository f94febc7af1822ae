//! Owns the settings that all connectors share: subscription, filter, transform, order, batches, resilience, checkpoint.
