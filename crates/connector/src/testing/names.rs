//! Owns the names that tests answer for in the system's place.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, PoisonError};

/// By name: the address, or none for a name that does not resolve.
static NAMES: LazyLock<Mutex<HashMap<String, Option<IpAddr>>>> = LazyLock::new(Mutex::default);

/// From now on this name has this address, or none.
pub fn set(name: &str, address: Option<IpAddr>) {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), address);
}

/// What a test has set for this name; nothing for names that the system answers for.
pub(crate) fn answer(name: &str) -> Option<io::Result<IpAddr>> {
    let known = NAMES.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()?;
    Some(known.ok_or_else(|| io::Error::other("the name is not known")))
}
