//! Owns starting the real program with an empty directory of its own.

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
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = free.local_addr().expect("it has an address");
        drop(free);
        let data = tempfile::tempdir().expect("there is a temporary folder");
        let mut command = Command::new(program);
        command.arg("serve").arg("--data").arg(data.path()).arg("--listen").arg(address.to_string());
        let process = command.stderr(Stdio::null()).spawn().expect("the server starts");
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < START_LIMIT, "the server did not start in time");
            std::thread::yield_now();
        }
        Self { process, address, _data: data }
    }

    /// How a client is told to find it.
    pub(crate) fn uri(&self, scheme: &str) -> String {
        format!("{scheme}://someone:ignored@localhost:{}?tls=false", self.address.port())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().expect("the server is running");
        self.process.wait().expect("it ends");
    }
}
