//! Tests of a server as a process of its own: killed, asked to stop, given wrong config.
//!
//! The server is this test program itself, started again to run only the test `child`.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use forebay_server::{ServeOptions, run};

/// Tells the test program that it is the server.
const CHILD_DATA: &str = "SERVER_UNDER_TEST_DATA";
const CHILD_LISTEN: &str = "SERVER_UNDER_TEST_LISTEN";

/// Not a test of its own: the server, when the test program was started as one.
#[test]
fn child() {
    let Ok(data) = std::env::var(CHILD_DATA) else { return };
    let options =
        ServeOptions { data: Some(data.into()), listen: std::env::var(CHILD_LISTEN).ok(), ..ServeOptions::default() };
    let code = run(&options);
    // The code cannot be read back, so it is printed as its debug form.
    let failed = format!("{code:?}") != format!("{:?}", std::process::ExitCode::SUCCESS);
    std::process::exit(if failed { 9 } else { 0 });
}

fn spawn(data: &Path, listen: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD_DATA, data)
        .env(CHILD_LISTEN, listen)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for the line that says where it serves.
fn address(child: &mut Child) -> SocketAddr {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.find(|line| line.as_ref().unwrap().contains("serving")).unwrap().unwrap();
    // Keeps reading, so that the server is never held up by a full pipe.
    std::thread::Builder::new().spawn(move || lines.for_each(drop)).unwrap();
    let plain: String = strip_colours(&line);
    plain.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

fn strip_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

fn request(address: SocketAddr, head: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let length = body.len();
    write!(stream, "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn append(address: SocketAddr) -> bool {
    let body = r#"{"events":[{"type":"T","data":1}]}"#;
    request(address, "POST /streams/s/events", body).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn exit(mut child: Child) -> ExitStatus {
    child.wait().unwrap()
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let data = tempfile::tempdir().unwrap();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    for round in 1..=3 {
        let mut child = spawn(data.path(), "127.0.0.1:0");
        let (address, count) = (address(&mut child), Arc::clone(&acknowledged));
        let writer = std::thread::Builder::new().spawn(move || {
            while append(address) {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        while acknowledged.load(Ordering::SeqCst) < round * 20 {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        exit(child);
        writer.unwrap().join().unwrap();
    }
    let acknowledged = acknowledged.load(Ordering::SeqCst);
    let mut child = spawn(data.path(), "127.0.0.1:0");
    let answer = request(address(&mut child), "GET /streams/s/events?direction=backward&limit=1", "").unwrap();
    let last: usize = answer.split("\"lastRevision\":").nth(1).unwrap().trim_end_matches('}').parse().unwrap();
    assert!(last + 1 >= acknowledged, "{acknowledged} were acknowledged, {} are there", last + 1);
    assert!(last < acknowledged + 3, "at most the one in flight of each round was not acknowledged");
    signal(&child, "-TERM");
    assert_eq!(exit(child).code(), Some(0));
}

#[test]
fn both_signals_stop_in_order() {
    let data = tempfile::tempdir().unwrap();
    for name in ["-TERM", "-INT"] {
        let mut child = spawn(data.path(), "127.0.0.1:0");
        let address = address(&mut child);
        signal(&child, "-HUP");
        assert!(append(address), "SIGHUP asks for certificates to be read, and ends nothing");
        signal(&child, name);
        assert_eq!(exit(child).code(), Some(0), "{name}");
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    }
}

#[test]
fn what_prevents_a_start_is_said_in_one_line() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (listen, expected) in [
        (address.as_str(), format!("forebay: cannot listen on {address}: ")),
        ("0.0.0.0:0", "forebay: the config is wrong: listen is 0.0.0.0:0".to_owned()),
        ("nowhere", "forebay: the config is wrong: listen is \"nowhere\" (flag --listen): expected".to_owned()),
    ] {
        let output = spawn(data.path(), listen).wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(9), "{said}");
        let lines: Vec<_> = said.lines().filter(|line| line.starts_with("forebay: ")).collect();
        assert!(lines.len() == 1 && lines[0].starts_with(&expected), "{said}");
    }
}
