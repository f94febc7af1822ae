//! Owns a PostgreSQL server for one test: private, in a temporary folder, on a free port.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

/// A server that does not answer within this time is broken.
const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

pub(super) struct Server {
    _folder: tempfile::TempDir,
    data: PathBuf,
    bin: PathBuf,
    port: u16,
    options: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Server {
    /// Starts a server; nothing, and a word about it, when PostgreSQL is not installed.
    pub(super) async fn start() -> Option<Self> {
        Self::start_with(&[], |_| {}).await
    }

    /// The same with options, and files put into its data folder.
    pub(super) async fn start_with(options: &[&str], prepare: impl FnOnce(&Path)) -> Option<Self> {
        let Some(bin) = find_bin() else {
            println!(
                "SKIPPED: the PostgreSQL sink is not tested against a server: no initdb found (package postgresql)"
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        own(&data);
        let made = as_owner(&bin.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=forebay", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        prepare(&data);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let server = Self { _folder: folder, data, bin, port, options, child: Mutex::new(None) };
        server.spawn();
        server.ready().await;
        Some(server)
    }

    /// The settings that lead to it.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        [
            ("host", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("database", "postgres".to_owned()),
            ("authentication:username", "forebay".to_owned()),
            ("sslMode", "disable".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec()
    }

    /// A connection of the test's own.
    pub(super) async fn client(&self) -> Client {
        self.try_client().await.expect("the server is up")
    }

    async fn try_client(&self) -> Option<Client> {
        let text = format!("host=127.0.0.1 port={} user=forebay dbname=postgres", self.port);
        let (client, connection) = tokio_postgres::connect(&text, NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    pub(super) async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }

    /// Rows of one column of text.
    pub(super) async fn rows(&self, sql: &str) -> Vec<String> {
        self.client().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Stops it as `pg_ctl stop -m immediate` does: no goodbye, no checkpoint; the next start recovers.
    pub(super) fn stop_immediately(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let sent = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            assert!(sent.is_ok_and(|status| status.success()), "the server cannot be stopped");
            child.wait().unwrap();
        }
    }

    /// Starts it again in the same place.
    pub(super) fn spawn(&self) {
        let log = std::fs::File::create(self.data.join("../log")).unwrap();
        let child = as_owner(&self.bin.join("postgres"))
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "max_connections=40", "-c", "shared_buffers=16MB"])
            .args(self.options.iter().flat_map(|option| ["-c", option]))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.child.lock().unwrap() = Some(child);
    }

    /// Waits until it answers.
    pub(super) async fn ready(&self) {
        let begun = Instant::now();
        while self.try_client().await.is_none() {
            let log = std::fs::read_to_string(self.data.join("../log")).unwrap_or_default();
            assert!(begun.elapsed() < START_LIMIT, "the server does not start: {log}");
            // tidy: sleep allowed: a server that starts cannot be waited for otherwise.
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_immediately();
    }
}

/// The newest installed version.
fn find_bin() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut packaged: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    packaged.sort();
    packaged.into_iter().rev().chain(std::env::split_paths(&on_path)).find(|bin| bin.join("initdb").exists())
}

/// A program run by somebody who is not root, which PostgreSQL refuses.
fn as_owner(program: &Path) -> Command {
    match unprivileged() {
        None => Command::new(program),
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
            command.arg(program);
            command
        }
    }
}

pub(super) fn own(path: &Path) {
    if let Some((user, group)) = unprivileged() {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

/// Whom the server runs as when the test is root's: the package's user, or nobody.
fn unprivileged() -> Option<(u32, u32)> {
    if std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() != 0) {
        return None;
    }
    let id = |flag: &str, name: &str| {
        let output = Command::new("id").args([flag, name]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    let find = |name: &str| Some((id("-u", name)?, id("-g", name)?));
    find("postgres").or_else(|| find("nobody"))
}
