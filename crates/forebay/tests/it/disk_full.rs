//! A full disk: appends fail clearly, reads go on, and room lets appends through again after a restart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hyper::Method;
use serde_json::json;

use crate::server::Server;

/// A file system of a few megabytes, taken away when dropped.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts it, or says why not.
    fn mount(at: &Path) -> Result<Self, String> {
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(at).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(Self { at: at.to_owned() })
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_appends_and_lets_reads_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let _disk = match SmallDisk::mount(directory.path()) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("SKIPPED: no small file system can be mounted here: {reason}");
            return;
        }
    };
    let mut server = Server::start(directory.path()).await;
    // Text that does not compress: the disk is to be full soon.
    let mut state = 88_172_645_463_325_252_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    let mut appended = 0;
    let (status, told) = loop {
        let text: String = (0..16_000).map(|_| noise()).collect();
        let body = json!({"events": [{"type": "Filled", "data": {"text": text}}]});
        match server.http.try_send(Method::POST, "/streams/filling/events", Some(&body)).await.unwrap() {
            (200..300, _) => appended += 1,
            (status, told) => break (status, String::from_utf8_lossy(&told).into_owned()),
        }
        assert!(appended < 1000, "the disk is never full");
    };
    println!("after {appended} appends: {status} {told}");
    assert!(status >= 500, "{status} {told}");
    assert!(!told.is_empty());
    let page = server.http.get("/streams/filling/events?from=end&direction=backward&limit=1").await;
    assert_eq!(page["lastRevision"], appended - 1, "what was acknowledged is there, and no more");
    server.http.get("/health/live").await;
    std::fs::remove_file(directory.path().join("server.log")).unwrap();
    let _ = server.terminate(Duration::from_secs(20)).await;
}
