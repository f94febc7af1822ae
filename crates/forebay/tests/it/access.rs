//! A server that asks callers who they are, from its first start on, as an operator meets it.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use hyper::Method;

use crate::server::{Server, run};

const LIMIT: Duration = Duration::from_secs(30);

/// The passwords that a log tells, by login.
fn told(log: &str, login: &str) -> Vec<String> {
    let marker = format!("forebay: the user {login} has the password ");
    let rest = log.lines().filter_map(|line| line.strip_prefix(&marker));
    rest.map(|rest| rest.split(' ').next().unwrap().to_owned()).collect()
}

fn keep(directory: &Path, name: &str, password: &str) -> String {
    let file = directory.join(name);
    std::fs::write(&file, format!("{password}\n")).unwrap();
    file.to_str().unwrap().to_owned()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_tells_passwords_once_and_users_are_managed_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_with(directory.path(), &["--auth", "on"]).await;
    let [admin] = told(&server.log_text(), "admin").try_into().unwrap();
    let [ops] = told(&server.log_text(), "ops").try_into().unwrap();
    assert!(admin.len() == 24 && ops.len() == 24 && admin != ops);
    let admin_file = keep(directory.path(), "admin", &admin);
    let as_admin = ["--user", "admin", "--password-file", &admin_file];

    let ann = keep(directory.path(), "ann", "c4n4ry-of-ann");
    let create = ["users", "create", "ann", "--group", "editors", "--new-password-file", &ann];
    server.command_json(&[&create[..], &as_admin].concat()).await;
    let as_ann = ["--user", "ann", "--password-file", &ann];
    let append = ["streams", "append", "--stream", "orders", "--type", "Placed", "--data", "{}"];
    server.command_json(&[&append[..], &as_ann].concat()).await;
    for refused in [&append[..], &[&["connectors", "list"], &as_ann[..]].concat(), &["users", "list"]] {
        let output = server.command(refused).await;
        assert_eq!(output.status.code(), Some(1), "{refused:?}: {}", text(&output));
        assert!(text(&output).contains("denied"), "{}", text(&output));
    }
    let wrong = keep(directory.path(), "wrong", "c4n4ry-wrong");
    let output = server.command(&["users", "show", "ann", "--user", "ann", "--password-file", &wrong]).await;
    assert!(text(&output).contains("wrong (HTTP 401)"), "{}", text(&output));
    // The address may carry credentials as well.
    let url = format!("http://ops:{ops}@{}", server.address);
    assert!(run(&["connectors", "list", "--server", &url]).await.status.success());

    assert!(server.terminate(LIMIT).await.success());
    server.launch().await;
    assert_eq!(told(&server.log_text(), "admin"), [admin], "a second start tells nothing");
    let users = server.command_json(&[&["users", "list"], &as_admin[..]].concat()).await;
    assert_eq!(users["users"].as_array().unwrap().len(), 3);
    let log = server.log_text();
    assert!(!log.contains("c4n4ry") && !log.contains("argon2"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_password_is_reset_where_nobody_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path()).await;
    assert!(told(&server.log_text(), "admin").is_empty(), "nobody is asked, so nobody needs a password");
    let file = keep(directory.path(), "admin", "found again");
    server.command_json(&["users", "reset-password", "admin", "--new-password-file", &file]).await;
    assert!(server.terminate(LIMIT).await.success());
    drop(server);
    let server = Server::start_with(directory.path(), &["--auth", "on"]).await;
    assert!(told(&server.log_text(), "admin").is_empty() && told(&server.log_text(), "ops").len() == 1);
    server.command_json(&["users", "list", "--user", "admin", "--password-file", &file]).await;
    let (status, _) = server.http.try_send(Method::GET, "/metrics", None).await.unwrap();
    assert_eq!(status, 401);
}

#[tokio::test]
async fn other_machines_are_not_served_without_protection() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for flags in [&[][..], &["--auth", "on"], &["--auth", "off"]] {
        let args = [&["serve", "--listen", "0.0.0.0:0", "--data", data.to_str().unwrap()], flags].concat();
        let output = run(&args).await;
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("--insecure"), "{}", text(&output));
    }
    let wrong = run(&["serve", "--auth", "maybe", "--data", data.to_str().unwrap()]).await;
    assert!(text(&wrong).contains("expected on or off"), "{}", text(&wrong));
}
