//! Who runs what: the lease on a connector and its activation on this node.
