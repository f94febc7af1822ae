//! Tests of the commands on users against a fake server.

use serde_json::json;

use crate::testing::Fake;

#[tokio::test]
async fn passwords_come_from_files_and_are_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let [new, current] = ["new-c4n4ry", "old-c4n4ry"].map(|text| {
        let file = folder.path().join(text);
        std::fs::write(&file, format!("{text}\n")).unwrap();
        file.to_str().unwrap().to_owned()
    });
    let fake = Fake::answering(|_| (200, "{}")).await;
    for args in [
        &["users", "create", "ann", "--group", "editors", "--group", "$ops", "--new-password-file", &new][..],
        &["users", "reset-password", "ann", "--new-password-file", &new],
        &["users", "change-password", "ann", "--new-password-file", &new, "--current-password-file", &current],
        &["users", "disable", "ann"],
        &["users", "update", "ann", "--full-name", "Ann"],
        &["users", "delete", "ann"],
    ] {
        let ran = fake.run(args).await;
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
        assert!(ran.out.contains("user ann") && !ran.out.contains("c4n4ry") && !ran.err.contains("c4n4ry"));
    }
    let seen = fake.seen();
    let lines: Vec<_> = seen.iter().map(super::super::testing::Seen::line).collect();
    assert_eq!(
        lines,
        [
            "POST /users",
            "POST /users/ann/command/reset-password",
            "POST /users/ann/command/change-password",
            "POST /users/ann/command/disable",
            "PUT /users/ann",
            "DELETE /users/ann",
        ]
    );
    let created = json!({
        "loginName": "ann", "password": "new-c4n4ry", "fullName": "", "groups": ["editors", "$ops"],
    });
    assert_eq!(seen[0].json(), created);
    assert_eq!(seen[2].json(), json!({ "currentPassword": "old-c4n4ry", "newPassword": "new-c4n4ry" }));
}

#[tokio::test]
async fn users_are_listed_as_a_table_and_as_json() {
    let body = r#"{"users":[{"loginName":"ann","fullName":"Ann O.","groups":["editors","$ops"],"disabled":true}]}"#;
    let fake = Fake::answering(move |_| (200, body)).await;
    let ran = fake.run(&["users", "list"]).await;
    assert!(ran.out.contains("ann") && ran.out.contains("editors $ops") && ran.out.contains("disabled"), "{}", ran.out);
    let ran = fake.run(&["users", "list", "--json"]).await;
    assert!(ran.out.contains(r#""loginName":"ann""#) || ran.out.contains(r#""loginName": "ann""#), "{}", ran.out);
}
