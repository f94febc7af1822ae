//! Owns running the deliberate breaks: a copy of the tree, one break at a time, what must fail, and the table.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::table::{MUTANTS, Mutant, Proof};
use crate::workspace;

/// So many seeds have to be enough to notice a break.
const SEEDS: &str = "300";

/// What became of a break.
enum Fate {
    Noticed(f64),
    Survived,
    DoesNotBuild,
}

/// Runs all breaks, or those whose name holds the word that was given; fails when one is not noticed.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let wanted = |mutant: &&Mutant| arguments.iter().all(|word| mutant.name.contains(word));
    let chosen: Vec<&Mutant> = MUTANTS.iter().filter(wanted).collect();
    if chosen.is_empty() {
        bail!("no mutant has {} in its name", arguments.join(" "));
    }
    let scratch = workspace::target_directory().join("mutants");
    let tree = scratch.join("tree");
    copy_tree(&tree)?;
    for proof in [Proof::Simulation, Proof::Syncs] {
        if chosen.iter().any(|mutant| mutant.noticed_by == proof) {
            if !build(&tree, proof)? {
                bail!("the tree does not build without a mutant");
            }
            if !passes(&tree, proof)? {
                bail!("the proof fails without a mutant, so it proves nothing");
            }
        }
    }
    let mut survivors = Vec::new();
    for mutant in chosen {
        let fate = try_out(&tree, mutant)?;
        let told = match fate {
            Fate::Noticed(seconds) => format!("noticed, {seconds:.0} s"),
            Fate::Survived => "SURVIVED".to_owned(),
            Fate::DoesNotBuild => "DOES NOT BUILD".to_owned(),
        };
        println!("{:<45} {told}", mutant.name);
        if !matches!(fate, Fate::Noticed(_)) {
            survivors.push(mutant.name);
        }
    }
    if !survivors.is_empty() {
        bail!("not noticed: {}", survivors.join(", "));
    }
    Ok(())
}

fn try_out(tree: &Path, mutant: &Mutant) -> Result<Fate> {
    let path = tree.join(mutant.file);
    let sound = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let found = sound.matches(mutant.from).count();
    if found != 1 {
        bail!("the text of mutant {:?} is {found} times in {}: mend the table", mutant.name, mutant.file);
    }
    let begun = Instant::now();
    fs::write(&path, sound.replace(mutant.from, mutant.to))?;
    let built = build(tree, mutant.noticed_by);
    let passed = if matches!(built, Ok(true)) { passes(tree, mutant.noticed_by) } else { Ok(true) };
    fs::write(&path, sound)?;
    Ok(match (built?, passed?) {
        (false, _) => Fate::DoesNotBuild,
        (true, true) => Fate::Survived,
        (true, false) => Fate::Noticed(begun.elapsed().as_secs_f64()),
    })
}

fn build(tree: &Path, proof: Proof) -> Result<bool> {
    let arguments: &[&str] = match proof {
        Proof::Simulation => &["build", "--locked", "--package", "forebay-sim"],
        Proof::Syncs => &["test", "--no-run", "--locked", "--package", "forebay-log", "--test", "syncs"],
    };
    succeeds(in_tree(tree, arguments), false)
}

fn passes(tree: &Path, proof: Proof) -> Result<bool> {
    match proof {
        Proof::Simulation => {
            let mut program = Command::new(target(tree).join("debug").join("forebay-sim"));
            program.args(["--seeds", SEEDS, "--failures", "1"]);
            succeeds(program, true)
        }
        Proof::Syncs => {
            succeeds(in_tree(tree, &["test", "--locked", "--package", "forebay-log", "--test", "syncs"]), true)
        }
    }
}

fn in_tree(tree: &Path, arguments: &[&str]) -> Command {
    let mut command = workspace::cargo(arguments);
    command.current_dir(tree).env("CARGO_TARGET_DIR", target(tree));
    command
}

fn target(tree: &Path) -> PathBuf {
    tree.with_file_name("target")
}

fn succeeds(mut command: Command, is_quiet: bool) -> Result<bool> {
    if is_quiet {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    Ok(command.status().with_context(|| format!("start {command:?}"))?.success())
}

/// Copies every file of the tree that is text; what has not changed keeps its time, so that little is built again.
fn copy_tree(tree: &Path) -> Result<()> {
    for file in workspace::text_files()? {
        let path = tree.join(&file.path);
        if fs::read_to_string(&path).is_ok_and(|text| text == file.text) {
            continue;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, &file.text)?;
    }
    Ok(())
}
