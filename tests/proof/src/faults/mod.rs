//! A target of HTTP that misbehaves on demand, made of bare sockets.

mod fault;
mod certificates;
mod wire;
mod target;

pub use certificates::{Authority, TlsFault};
pub use fault::Fault;
pub use target::{Behaviour, Judge, Target};
