//! Owns starting the real program with an empty directory of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(60);

/// The real program, ended when this is dropped.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    _data: tempfile::TempDir,
}

impl Server {
    /// Starts it on a free port and waits until it serves.
    pub(crate) fn start(program: &str) -> Self {
        Self::start_with(program, &[])
    }

    /// The same, with environment variables.
    pub(crate) fn start_with(program: &str, variables: &[(&str, &str)]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = free.local_addr().expect("it has an address");
        drop(free);
        let data = tempfile::tempdir().expect("there is a temporary folder");
        let mut command = Command::new(program);
        command.arg("serve").arg("--data").arg(data.path()).arg("--listen").arg(address.to_string());
        command.envs(variables.iter().copied());
        let process = command.stderr(Stdio::null()).spawn().expect("the server starts");
        let started = Instant::now();
        while !is_live(address) {
            assert!(started.elapsed() < START_LIMIT, "the server did not start in time");
            std::thread::yield_now();
        }
        Self { process, address, _data: data }
    }

    /// How a client is told to find it.
    pub(crate) fn uri(&self, scheme: &str) -> String {
        self.uri_as(scheme, "someone:ignored@")
    }

    /// The same, with other credentials.
    pub(crate) fn uri_as(&self, scheme: &str, who: &str) -> String {
        format!("{scheme}://{who}localhost:{}?tls=false", self.address.port())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().expect("the server is running");
        self.process.wait().expect("it ends");
    }
}

/// The port is bound before the log is open, so only an answer says that the server serves.
fn is_live(address: SocketAddr) -> bool {
    let Ok(mut connection) = TcpStream::connect(address) else { return false };
    let request = "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    connection.write_all(request.as_bytes()).is_ok()
        && connection.read_to_string(&mut answer).is_ok()
        && answer.contains(" 204 ")
}
