//! Owns the conversations with official clients: installing each client where it can be, and running its conversation
//! against the program of this workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::workspace;

/// One conversation: what the machine must have for it, how the client is installed, how it runs.
struct Conversation {
    /// What is named when it is skipped.
    client: &'static str,
    /// Programs of the machine that it takes.
    programs: &'static [&'static str],
    /// Installs into this folder; done once, as long as this line does not change.
    install: fn(&Path) -> Result<()>,
    /// Runs with the program to talk to and the folder of the installation.
    run: fn(&Path, &Path) -> Result<()>,
    /// The folder, under `clients` in the build folder; holds the versions, so that others are installed anew.
    folder: &'static str,
}

const CONVERSATIONS: &[Conversation] = &[
    Conversation {
        client: "kurrentdbclient (Python)",
        programs: &["python3"],
        install: |folder| install_python(folder, "kurrentdbclient==1.3.5"),
        run: |program, folder| run_python(program, folder, "kurrentdbclient"),
        folder: "kurrentdbclient-1.3.5",
    },
    Conversation {
        client: "esdbclient (Python)",
        programs: &["python3"],
        install: |folder| install_python(folder, "esdbclient==1.1.7"),
        run: |program, folder| run_python(program, folder, "esdbclient"),
        folder: "esdbclient-1.1.7",
    },
    Conversation {
        client: "@kurrent/kurrentdb-client and @eventstore/db-client (Node)",
        programs: &["node", "npm"],
        install: install_node,
        run: run_node,
        folder: "node-1.3.1-6.2.1",
    },
    Conversation { client: "kurrentdb (Rust)", programs: &[], install: install_rust, run: run_rust, folder: "rust" },
];

/// Runs every conversation whose client can be had; says aloud which could not.
pub(crate) fn run() -> Result<()> {
    workspace::run(&mut workspace::cargo(&["build", "--quiet", "--locked", "--package", "forebay"]))?;
    let target = workspace::target_directory();
    let program = target.join("debug").join("forebay");
    for conversation in CONVERSATIONS {
        let Conversation { client, programs, install, run, folder } = conversation;
        if let Some(missing) = programs.iter().find(|program| !workspace::has_program(program)) {
            println!("SKIPPED: the conversation with {client} needs {missing}");
            continue;
        }
        let folder = target.join("clients").join(folder);
        if let Err(error) = prepare(&folder, *install) {
            println!("SKIPPED: the conversation with {client}, which could not be installed: {error:#}");
            continue;
        }
        run(&program, &folder)?;
    }
    Ok(())
}

/// Installs once: the mark is written last, so a broken installation is made anew.
fn prepare(folder: &Path, install: fn(&Path) -> Result<()>) -> Result<()> {
    let mark = folder.join("installed");
    if !mark.is_file() {
        std::fs::create_dir_all(folder)?;
        install(folder)?;
        std::fs::write(mark, "")?;
    }
    Ok(())
}

fn install_python(folder: &Path, package: &str) -> Result<()> {
    workspace::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let mut pip = Command::new(folder.join("bin").join("pip"));
    workspace::run(pip.args(["install", "--quiet", "--disable-pip-version-check", package]))
}

fn run_python(program: &Path, folder: &Path, package: &str) -> Result<()> {
    let mut python = Command::new(folder.join("bin").join("python"));
    workspace::run(python.arg(conversation("python/conversation.py")).arg(program).arg(package))?;
    let mut python = Command::new(folder.join("bin").join("python"));
    workspace::run(python.arg(conversation("python/credentials.py")).arg(program).arg(package))
}

fn install_node(folder: &Path) -> Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--prefix"]).arg(folder);
    workspace::run(npm.args(["@kurrent/kurrentdb-client@1.3.1", "@eventstore/db-client@6.2.1"]))
}

fn run_node(program: &Path, folder: &Path) -> Result<()> {
    let mut node = Command::new("node");
    workspace::run(node.arg(conversation("node/conversation.mjs")).arg(program).arg(folder.join("node_modules")))?;
    let mut node = Command::new("node");
    workspace::run(node.arg(conversation("node/credentials.mjs")).arg(program).arg(folder.join("node_modules")))
}

/// Downloads only; what is built is up to cargo each time.
fn install_rust(_folder: &Path) -> Result<()> {
    let mut fetch = workspace::cargo(&["fetch", "--quiet", "--locked", "--manifest-path"]);
    workspace::run(fetch.arg(conversation("rust/Cargo.toml")))
}

fn run_rust(program: &Path, folder: &Path) -> Result<()> {
    let mut run = workspace::cargo(&["run", "--quiet", "--locked", "--manifest-path"]);
    run.arg(conversation("rust/Cargo.toml")).arg("--target-dir").arg(folder);
    workspace::run(run.arg("--").arg(program))
}

/// Builds the program over the official Rust client as fast as it gets; answers where it lies.
pub(crate) fn build_rust() -> Result<PathBuf> {
    let folder = workspace::target_directory().join("clients").join("rust");
    let mut build = workspace::cargo(&["build", "--quiet", "--release", "--locked", "--manifest-path"]);
    workspace::run(build.arg(conversation("rust/Cargo.toml")).arg("--target-dir").arg(&folder))?;
    Ok(folder.join("release").join("forebay-clients-rust"))
}

fn conversation(path: &str) -> PathBuf {
    workspace::root().join("tests").join("clients").join(path)
}
