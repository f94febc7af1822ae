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
    is_tls: bool,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts it on a free port and waits until it serves.
    ///
    /// Over TLS a server asks callers who they are unless it is told not to.
    pub(crate) fn start(program: &str, is_tls: bool) -> Self {
        Self::start_with(program, is_tls, &[("FOREBAY_AUTH", "off")])
    }

    /// The same, with environment variables.
    pub(crate) fn start_with(program: &str, is_tls: bool, variables: &[(&str, &str)]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = free.local_addr().expect("it has an address");
        drop(free);
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let mut command = Command::new(program);
        command.arg("serve").arg("--data").arg(path("data")).arg("--listen").arg(address.to_string());
        command.envs(variables.iter().copied());
        if is_tls {
            let mut make = Command::new(program);
            make.args(["certificates", "dev", "--out"]).arg(folder.path()).stdout(Stdio::null());
            assert!(make.status().expect("the program is there").success(), "certificates can be made");
            command.arg("--tls-certificate").arg(path("server.pem")).arg("--tls-key").arg(path("server.key"));
        }
        let process = command.stderr(Stdio::null()).spawn().expect("the server starts");
        let started = Instant::now();
        while !is_live(address, is_tls) {
            assert!(started.elapsed() < START_LIMIT, "the server did not start in time");
            std::thread::yield_now();
        }
        Self { process, address, is_tls, folder }
    }

    /// How a client is told to find it.
    pub(crate) fn uri(&self, scheme: &str) -> String {
        self.uri_as(scheme, "someone:ignored@")
    }

    /// The same, with other credentials.
    pub(crate) fn uri_as(&self, scheme: &str, who: &str) -> String {
        let ca = self.folder.path().join("ca.pem");
        let tls = if self.is_tls {
            format!("tls=true&tlsVerifyCert=true&tlsCaFile={}", ca.display())
        } else {
            "tls=false".to_owned()
        };
        format!("{scheme}://{who}localhost:{}?{tls}", self.address.port())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().expect("the server is running");
        self.process.wait().expect("it ends");
    }
}

/// The port is bound before the log is open, so only an answer says that the server serves.
///
/// Where TLS is served, the refusal of clear text is an answer as well; the client's own calls wait for the rest.
fn is_live(address: SocketAddr, is_tls: bool) -> bool {
    let Ok(mut connection) = TcpStream::connect(address) else { return false };
    let request = "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    connection.write_all(request.as_bytes()).is_ok()
        && connection.read_to_string(&mut answer).is_ok()
        && answer.contains(if is_tls { " 400 " } else { " 204 " })
}
