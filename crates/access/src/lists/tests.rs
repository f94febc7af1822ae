//! Tests of decisions: a table, and what holds whatever lists say.

use std::sync::Arc;

use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use serde_json::json;

use super::*;
use crate::caller::Member;

fn user(login: &str, groups: &[&str]) -> Caller {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Caller { who: Who::User(Arc::new(Member { login: login.to_owned(), groups })) }
}

fn decide(caller: &Caller, stream: &str, right: Right, acl: &Value, settings: &Value) -> bool {
    let (stream, right) = right.decided_by(&StreamName::new(stream).unwrap());
    let list = AccessList::read(Some(acl));
    allows(caller, (&stream, right), &list, &DefaultLists::read(settings.to_string().as_bytes()), false)
}

/// Who is let in, of: anonymous, ann, bob of the group editors, an operator, an administrator.
fn let_in(stream: &str, right: Right, acl: Value, settings: Value) -> String {
    let callers = [
        ("anonymous", Caller::anonymous()),
        ("ann", user("ann", &[])),
        ("bob", user("bob", &["editors"])),
        ("ops", user("ops", &["$ops"])),
        ("admin", user("admin", &["$admins"])),
    ];
    let admitted = callers.iter().filter(|(_, caller)| decide(caller, stream, right, &acl, &settings));
    admitted.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

#[test]
fn lists_decide_as_the_table_says() {
    use Right::{Delete, Read, ReadMetadata, Write, WriteMetadata};
    let none = || Value::Null;
    let everybody = "ann bob ops admin";
    for (stream, right, acl, settings, expected) in [
        // Nobody says anything.
        ("orders", Read, none(), none(), everybody),
        ("orders", Delete, none(), none(), everybody),
        ("$orders", Read, none(), none(), "admin"),
        ("$all", Read, none(), none(), "admin"),
        ("$$orders", Read, none(), none(), everybody),
        ("$$$orders", Write, none(), none(), "admin"),
        // The stream speaks: a name, a group, several, nobody.
        ("orders", Read, json!({"$r": "ann"}), none(), "ann admin"),
        ("orders", Read, json!({"$r": ["ann", "editors"]}), none(), "ann bob admin"),
        ("orders", Read, json!({"$r": []}), none(), "admin"),
        ("orders", Read, json!({"$r": ""}), none(), "admin"),
        ("orders", Write, json!({"$r": "ann"}), none(), everybody),
        ("orders", Read, json!({"$r": "$ops"}), none(), "ops admin"),
        ("$all", Read, json!({"$r": "editors"}), none(), "bob admin"),
        ("$orders", Read, json!({"$r": "$all"}), none(), everybody),
        // Metadata streams obey the rights on metadata.
        ("$$orders", Read, json!({"$mr": "ann", "$r": "bob"}), none(), "ann admin"),
        ("$$orders", Write, json!({"$mw": "ann", "$w": "bob"}), none(), "ann admin"),
        ("$$orders", Delete, json!({"$mw": "ann", "$d": "bob"}), none(), "ann admin"),
        ("orders", ReadMetadata, json!({"$mr": "ann"}), none(), "ann admin"),
        ("orders", WriteMetadata, json!({"$mw": "ann"}), none(), "ann admin"),
        // The settings speak where the stream does not.
        ("orders", Read, none(), json!({"$userStreamAcl": {"$r": "editors"}}), "bob admin"),
        ("orders", Write, none(), json!({"$userStreamAcl": {"$r": "editors"}}), everybody),
        ("$orders", Read, none(), json!({"$userStreamAcl": {"$r": "editors"}}), "admin"),
        ("$orders", Read, none(), json!({"$systemStreamAcl": {"$r": ["editors", "$ops"]}}), "bob ops admin"),
        ("orders", Read, json!({"$r": "ann"}), json!({"$userStreamAcl": {"$r": "editors"}}), "ann admin"),
        // A stream may be like one of the other kind.
        ("$orders", Read, json!("$userStreamAcl"), none(), everybody),
        ("orders", Read, json!("$systemStreamAcl"), none(), "admin"),
        ("orders", Read, json!("$systemStreamAcl"), json!({"$systemStreamAcl": {"$r": "ann"}}), "ann admin"),
        ("orders", Read, none(), json!({"$userStreamAcl": "$systemStreamAcl"}), everybody),
        // What cannot be understood lets nobody in.
        ("orders", Read, json!({"$r": 7}), none(), "admin"),
        ("orders", Read, json!({"$r": ["ann", 7]}), none(), "admin"),
        ("orders", Read, json!("everybody"), none(), "admin"),
        ("orders", Read, none(), json!({"$userStreamAcl": []}), "admin"),
        ("orders", Read, none(), json!("nonsense"), everybody),
    ] {
        assert_eq!(
            let_in(stream, right, acl.clone(), settings.clone()),
            expected,
            "{stream} {right:?} {acl} {settings}"
        );
    }
}

#[test]
fn callers_without_credentials_count_as_everybody_only_where_that_is_switched_on() {
    let stream = StreamName::new("orders").unwrap();
    let (list, defaults) = (AccessList::default(), DefaultLists::default());
    let anonymous = Caller::anonymous();
    assert!(!allows(&anonymous, (&stream, Right::Read), &list, &defaults, false));
    assert!(allows(&anonymous, (&stream, Right::Read), &list, &defaults, true));
    let listed = AccessList::read(Some(&json!({"$r": ["ann", "$admins"]})));
    assert!(!allows(&anonymous, (&stream, Right::Read), &listed, &defaults, true));
}

fn names() -> impl Strategy<Value = Value> {
    let name = prop_oneof!["ann", "bob", "editors", r"\$admins", r"\$ops", r"\$all", "", "[a-z]{1,3}"];
    prop_oneof![
        name.clone().prop_map(Value::from),
        proptest::collection::vec(name, 0..4).prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        proptest::strategy::Just(Value::Null),
    ]
}

fn access_list() -> impl Strategy<Value = Value> {
    let keys = proptest::sample::select(vec!["$r", "$w", "$d", "$mr", "$mw", "other"]);
    proptest::collection::btree_map(keys, names(), 0..6).prop_map(|map| json!(map))
}

fn right() -> impl Strategy<Value = Right> {
    proptest::sample::select(Right::ALL.to_vec())
}

proptest! {
    /// Whatever lists say: administrators pass; nobody without credentials does; more groups never mean less; and who
    /// is not covered by a name in the list that decides does not pass.
    #[test]
    fn lists_never_let_in_whom_they_do_not_name(
        acl in access_list(),
        user_list in access_list(),
        system_list in access_list(),
        right in right(),
        stream in proptest::sample::select(vec!["orders", "$orders", "$$orders", "$$$orders", "$all"]),
    ) {
        let settings = json!({"$userStreamAcl": user_list, "$systemStreamAcl": system_list});
        let decide = |caller: &Caller| decide(caller, stream, right, &acl, &settings);
        assert!(decide(&user("root", &["$admins"])));
        assert!(!decide(&Caller::anonymous()));
        let (plain, grouped) = (user("bob", &[]), user("bob", &["editors"]));
        assert!(!decide(&plain) || decide(&grouped));
        let (decided, key) = right.decided_by(&StreamName::new(stream).unwrap());
        let of_kind = if decided.is_system() { &system_list } else { &user_list };
        let said = [&acl, of_kind].into_iter().map(|list| &list[key.key()]).find(|said| !said.is_null());
        let expected = match said {
            None => !decided.is_system(),
            Some(Value::String(name)) => ["bob", "editors", "$all"].contains(&name.as_str()),
            Some(Value::Array(names)) => ["bob", "editors", "$all"].iter().any(|name| names.contains(&json!(name))),
            Some(_) => false,
        };
        assert_eq!(decide(&grouped), expected);
    }
}
