//! Owns the server under test: a process that is started, killed, terminated and started again.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::http::{Http, eventually};

const READY_LIMIT: Duration = Duration::from_secs(30);
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// A server on a port and a data directory that it keeps over restarts.
pub(crate) struct Server {
    child: Option<Child>,
    data: PathBuf,
    log: PathBuf,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    /// What the command line begins with.
    prefix: Vec<String>,
    pub(crate) address: SocketAddr,
    pub(crate) http: Http,
}

/// The binary, without settings from this process's environment.
pub(crate) fn forebay() -> Command {
    forebay_behind(&[])
}

/// The same behind a command that runs another one in its place.
fn forebay_behind(prefix: &[String]) -> Command {
    let words = prefix.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_forebay")]).collect::<Vec<_>>();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("FOREBAY_") {
            command.env_remove(key);
        }
    }
    command.kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn run(args: &[&str]) -> Output {
    let output = forebay().args(args).stdin(Stdio::null()).output();
    tokio::time::timeout(COMMAND_LIMIT, output)
        .await
        .unwrap_or_else(|_| panic!("forebay {args:?} does not end"))
        .unwrap()
}

/// A port that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Server {
    /// Starts a server whose data lies in `directory/data`, and waits until it answers.
    pub(crate) async fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[]).await
    }

    /// The same with more flags, which later launches are given as well.
    pub(crate) async fn start_with(directory: &Path, flags: &'static [&'static str]) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut server = Self::prepare(directory, flags, Vec::new());
        server.launch().await;
        server
    }

    /// A server that is not started yet, with flags and environment variables of its own.
    pub(crate) fn prepare(directory: &Path, flags: Vec<String>, environment: Vec<(String, String)>) -> Self {
        let address = free_address();
        let (data, log) = (directory.join("data"), directory.join("server.log"));
        Self { child: None, data, log, flags, environment, prefix: Vec::new(), address, http: Http::to(address) }
    }

    /// The same server in another network, where commands that begin so run, at its address there.
    pub(crate) fn in_network(mut self, prefix: Vec<String>, ip: IpAddr) -> Self {
        self.address.set_ip(ip);
        self.prefix = prefix;
        Self { http: Http::to(self.address), ..self }
    }

    /// Starts the process, and waits until it answers.
    pub(crate) async fn launch(&mut self) {
        self.spawn();
        let child = self.child.as_mut().expect("it was started");
        let http = &self.http;
        let mut exited = None;
        eventually(&format!("the server answers; its log: {}", self.log.display()), READY_LIMIT, || {
            exited = exited.or(child.try_wait().unwrap());
            async { matches!(http.try_send(Method::GET, "/health/live", None).await, Ok((200..300, _))) }
        })
        .await;
        assert_eq!(exited, None, "the server ended: {}", self.log_text());
    }

    /// Starts the process, and waits for nothing.
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = std::fs::File::options().create(true).append(true).open(&self.log).unwrap();
        let listen = self.address.to_string();
        let mut command = forebay_behind(&self.prefix);
        command.arg("serve").arg("--data").arg(&self.data).args(["--listen", &listen]).args(&self.flags);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// What the server has logged so far.
    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// kill -9, and gone when this returns.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.unwrap();
    }

    /// SIGTERM; how it ended, or a failed test after the limit.
    pub(crate) async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let status = tokio::time::timeout(limit, child.wait()).await;
        status.unwrap_or_else(|_| panic!("it did not end within {limit:?}: {}", self.log_text())).unwrap()
    }

    /// Whether there is a process.
    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// The number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("it runs")
    }

    /// Whether it is stopped by a signal, and has not been continued.
    pub(crate) fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name stands in brackets and may hold spaces.
        stat.rsplit_once(')').unwrap().1.trim_start().starts_with('T')
    }

    /// Sends a signal such as `-STOP` to the process.
    pub(crate) async fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
    }

    /// Runs an operator's command against this server.
    pub(crate) async fn command(&self, args: &[&str]) -> Output {
        let url = format!("http://{}", self.address);
        run(&[args, &["--server", &url]].concat()).await
    }

    /// Runs an operator's command with `--json`, expects success, and reads what it says.
    pub(crate) async fn command_json(&self, args: &[&str]) -> Value {
        let output = self.command(&[args, &["--json"]].concat()).await;
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// Creates an HTTP connector with these settings over the usual ones, and starts it at the beginning of the log.
    pub(crate) async fn connect(&self, id: &str, url: &str, over: &[(&str, &str)]) {
        let mut settings = json!({"instanceTypeName": "http-sink", "url": url});
        for (key, value) in over {
            settings[*key] = (*value).into();
        }
        self.http.post(&format!("/connectors/{id}"), &json!({"settings": settings})).await;
        self.http.post(&format!("/connectors/{id}/start"), &json!({"from": "earliest"})).await;
    }

    /// Waits until a connector is in a state, such as `RUNNING`.
    pub(crate) async fn reaches(&self, id: &str, state: &str) {
        let wanted = format!("CONNECTOR_STATE_{state}");
        eventually(&format!("{id} is {state}"), READY_LIMIT, || async {
            self.http.get(&format!("/connectors/{id}")).await["state"] == wanted.as_str()
        })
        .await;
    }
}
