//! Owns how an event's metadata becomes headers.

use std::fmt;

use forebay_event::Headers;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The headers in an event's metadata: its members as texts, in order, when it is a JSON object of simple values.
///
/// Numbers keep the digits they are written with, `null` is an empty text, and of members with the same name the last
/// one counts. Metadata that is anything else, or has an object or array in it, holds no headers.
pub fn headers_of(metadata: &[u8]) -> Headers {
    let mut headers = Headers::new();
    if metadata.is_empty() {
        return headers;
    }
    let Ok(Members(members)) = serde_json::from_slice(metadata) else {
        return headers;
    };
    for (name, value) in members {
        let Some(value) = simple_text(value.get()) else {
            return Headers::new();
        };
        match headers.iter_mut().find(|(known, _)| *known == name) {
            Some(header) => header.1 = value,
            None => headers.push((name, value)),
        }
    }
    headers
}

fn simple_text(json: &str) -> Option<String> {
    match json.bytes().next()? {
        b'{' | b'[' => None,
        b'"' => serde_json::from_str(json).ok(),
        b'n' => Some(String::new()),
        _ => Some(json.to_owned()),
    }
}

struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(metadata: &str) -> Vec<String> {
        headers_of(metadata.as_bytes()).into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn simple_members_come_as_texts_in_order() {
        let metadata = r#" {"z":"1","$correlationId":"a\nb","n":1.50,"big":12345678901234567890,"t":true,"x":null} "#;
        let wanted = ["z=1", "$correlationId=a\nb", "n=1.50", "big=12345678901234567890", "t=true", "x="];
        assert_eq!(texts(metadata), wanted);
        assert_eq!(texts(r#"{"a":1,"b":2,"a":3}"#), ["a=3", "b=2"]);
        assert_eq!(texts(r#"{"__proto__":"p"}"#), ["__proto__=p"]);
    }

    #[test]
    fn anything_else_holds_no_headers() {
        for metadata in
            ["", "null", "[]", "5", "\"a\"", "{", r#"{"a":{}}"#, r#"{"a":"b","c":[1]}"#, "{} {}", "\u{feff}{}"]
        {
            assert!(texts(metadata).is_empty(), "{metadata}");
        }
        assert!(headers_of(b"{\"a\":\"\xff\"}").is_empty());
        assert!(headers_of(b"{\"\xff\":1}").is_empty());
    }
}
