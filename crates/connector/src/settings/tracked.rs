//! Owns a JSON deserializer that knows which key it failed at, for types that check their own values.

use std::cell::RefCell;

use serde::de::value::StringDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use serde_json::{Error, Value};

/// What a type said about its value, and where.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) key: String,
    pub(super) reason: String,
}

/// Deserialises a value; on failure answers the key of the innermost value that was refused.
pub(super) fn deserialize_tracked<T: DeserializeOwned>(value: Value) -> Result<T, Wrong> {
    let failed_at = RefCell::new(None);
    let tracked = Tracked { value, key: String::new(), failed_at: &failed_at };
    T::deserialize(tracked)
        .map_err(|reason| Wrong { key: failed_at.take().unwrap_or_default(), reason: reason.to_string() })
}

struct Tracked<'a> {
    value: Value,
    key: String,
    failed_at: &'a RefCell<Option<String>>,
}

impl Tracked<'_> {
    fn child(&self, name: &str, value: Value) -> Self {
        let key = if self.key.is_empty() { name.to_owned() } else { format!("{}:{name}", self.key) };
        Self { value, key, failed_at: self.failed_at }
    }

    /// Notes the first key that fails: failures travel outwards, so it is the innermost.
    fn noting<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.failed_at.borrow_mut().get_or_insert_with(|| self.key.clone());
        }
        result
    }
}

impl<'de> Deserializer<'de> for Tracked<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        match self.value.take() {
            Value::Object(object) => visitor.visit_map(Level { at: &self, rest: object.into_iter(), value: None }),
            Value::Array(items) => visitor.visit_seq(Items { at: &self, rest: items.into_iter().enumerate() }),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.value.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Level<'a, 'b> {
    at: &'a Tracked<'b>,
    rest: serde_json::map::IntoIter,
    value: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Level<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        let key: StringDeserializer<Error> = name.clone().into_deserializer();
        self.value = Some((name, value));
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (name, value) = self.value.take().unwrap_or_default();
        let child = self.at.child(&name, value);
        let place = self.at.child(&name, Value::Null);
        place.noting(seed.deserialize(child))
    }
}

struct Items<'a, 'b> {
    at: &'a Tracked<'b>,
    rest: std::iter::Enumerate<std::vec::IntoIter<Value>>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((index, value)) = self.rest.next() else { return Ok(None) };
        let child = self.at.child(&index.to_string(), value);
        let place = self.at.child(&index.to_string(), Value::Null);
        place.noting(seed.deserialize(child)).map(Some)
    }
}
