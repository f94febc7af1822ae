//! Generates the Rust code of the client protocol from our `.proto` files, or checks that it is current.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

const FILES: [&str; 9] = [
    "client/shared.proto",
    "client/streams.proto",
    "client/server_features.proto",
    "client/gossip.proto",
    "client/operations.proto",
    "client/users.proto",
    "client/monitoring.proto",
    "client/persistent.proto",
    "google/rpc/status.proto",
];

fn main() -> anyhow::Result<()> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => bail!("unknown argument {other:?}: expected nothing or --check"),
    };
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/wire");
    let fresh = tempfile::tempdir()?;
    generate(&wire.join("proto"), fresh.path())?;
    let committed = wire.join("src/generated");
    for file in rust_files(fresh.path())? {
        let name = file.file_name().context("a generated file has a name")?;
        let text = fs::read_to_string(&file)?;
        let target = committed.join(name);
        if check {
            ensure!(
                fs::read_to_string(&target).ok().as_deref() == Some(text.as_str()),
                "{} is not what the .proto files say: run `cargo run -p forebay-protos`",
                target.display()
            );
        } else {
            fs::write(&target, text).with_context(|| format!("failed to write {}", target.display()))?;
        }
    }
    Ok(())
}

fn generate(protos: &Path, out: &Path) -> anyhow::Result<()> {
    let descriptors = protox::compile(FILES, [protos])?;
    let configured = tonic_prost_build::configure().out_dir(out).bytes(".").emit_rerun_if_changed(false);
    configured.compile_fds(descriptors).context("failed to generate code")
}

fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let files: Result<Vec<PathBuf>, _> = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect();
    Ok(files?.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect())
}
