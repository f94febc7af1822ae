//! The client protocol of EventStoreDB: our `.proto` files and the code generated from them.
//!
//! Field numbers and names are facts of the protocol; the files are our own. Nothing here decides anything: the two ends
//! that speak the protocol do. The code under `generated/` is written by `cargo run -p forebay-protos` and checked to be
//! current; it is never edited.
//!
//! Invariant: payloads decode to `Bytes` that share the buffer they came in.
//!
//! Begin reading at `proto/client/streams.proto`.
#![allow(missing_docs, unreachable_pub, reason = "generated code, described in the .proto files")]
#![allow(clippy::all, clippy::too_many_lines, clippy::wildcard_imports, reason = "generated code")]

pub mod google {
    //! Messages of `google.rpc`.
    pub mod rpc {
        //! The status that batch appends carry.
        include!("generated/google.rpc.rs");
    }
}

pub mod event_store {
    //! The packages of the client protocol.
    pub mod client {
        //! Messages that every service uses, and the services below it.
        include!("generated/event_store.client.rs");

        pub mod streams {
            //! Reading, appending, deleting.
            include!("generated/event_store.client.streams.rs");
        }
        pub mod server_features {
            //! What a server can do.
            include!("generated/event_store.client.server_features.rs");
        }
        pub mod gossip {
            //! Who the members of a cluster are.
            include!("generated/event_store.client.gossip.rs");
        }
        pub mod operations {
            //! What an operator asks of a node.
            include!("generated/event_store.client.operations.rs");
        }
        pub mod users {
            //! Users and their passwords.
            include!("generated/event_store.client.users.rs");
        }
        pub mod monitoring {
            //! Figures of a running node.
            include!("generated/event_store.client.monitoring.rs");
        }
        pub mod persistent_subscriptions {
            //! Only what it takes to answer that there are none.
            include!("generated/event_store.client.persistent_subscriptions.rs");
        }
    }
}
