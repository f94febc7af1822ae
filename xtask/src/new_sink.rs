//! Owns `cargo xtask new sink NAME`: a file that compiles, its lines in the list of sinks, a contract test that fails.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace;

const TEMPLATE: &str = include_str!("../templates/sink.rs.txt");
const FOLDER: &str = "crates/sinks/src";

/// Writes the sink's file and lists it.
pub(crate) fn run(name: &str) -> Result<()> {
    let folder = workspace::root().join(FOLDER);
    let module = module_name(name)?;
    let file = folder.join(format!("{module}.rs"));
    if file.exists() || folder.join(&module).exists() {
        bail!("{FOLDER}/{module} is there already");
    }
    // Both lists are made before anything is written, so that a refusal leaves nothing behind.
    let (lib, catalog) = (folder.join("lib.rs"), folder.join("catalog.rs"));
    let declared = with_module(&read(&lib)?, &module).context("crates/sinks/src/lib.rs")?;
    let listed = with_kind(&read(&catalog)?, &module).context("crates/sinks/src/catalog.rs")?;
    write(&file, &filled(name))?;
    write(&lib, &declared)?;
    write(&catalog, &listed)?;
    workspace::run(&mut workspace::cargo(&["fmt", "--package", "forebay-sinks"]))?;
    println!("{FOLDER}/{module}.rs: written, declared in lib.rs, listed in catalog.rs");
    println!("next: cargo test -p forebay-sinks {module}, and the steps of CONTRIBUTING.md");
    Ok(())
}

/// The module of a sink: `mongo-db` becomes `mongo_db`.
fn module_name(name: &str) -> Result<String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(good) || name.ends_with("-sink") {
        bail!("{name:?} is not a name: lower-case letters, digits and hyphens, without the -sink at its end");
    }
    Ok(name.replace('-', "_"))
}

fn filled(name: &str) -> String {
    let parts: Vec<String> = name.split('-').filter(|part| !part.is_empty()).map(capital).collect();
    TEMPLATE.replace("{name}", name).replace("{Name}", &parts.concat()).replace("{title}", &parts.join(" "))
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string()).unwrap_or_default() + letters.as_str()
}

/// Adds the `mod` line behind the last one.
fn with_module(text: &str, module: &str) -> Result<String> {
    let end = text.rfind("\nmod ").and_then(|at| text.get(at + 1..)?.find('\n').map(|length| at + 1 + length + 1));
    let (before, after) = end.and_then(|end| text.split_at_checked(end)).context("no `mod` line")?;
    Ok(format!("{before}mod {module};\n{after}"))
}

/// Adds the sink to the `use` line and to the list.
fn with_kind(text: &str, module: &str) -> Result<String> {
    let (before_use, rest) = text.split_once("use crate::{").context("no `use crate::{…}`")?;
    let (used, after_use) = rest.split_once("};").context("`use crate::{` has no end")?;
    let (before_list, rest) = after_use.split_once("Catalog::new(vec![").context("no `Catalog::new(vec![…])`")?;
    let (listed, after_list) = rest.split_once("])").context("the list has no end")?;
    let (used, listed) = (used.trim().trim_end_matches(','), listed.trim().trim_end_matches(','));
    Ok(format!(
        "{before_use}use crate::{{{used}, {module}}};{before_list}Catalog::new(vec![{listed}, {module}::KIND]){after_list}"
    ))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_take_another_sink() {
        assert_eq!(
            with_module("//! X.\n\nmod a;\nmod b;\n\npub use a::x;\n", "nats").unwrap(),
            "//! X.\n\nmod a;\nmod b;\nmod nats;\n\npub use a::x;\n"
        );
        let catalog = "use crate::{\n    a, b,\n};\nfn c() -> Catalog {\n    Catalog::new(vec![a::KIND, b::KIND])\n}\n";
        let expected =
            "use crate::{a, b, nats};\nfn c() -> Catalog {\n    Catalog::new(vec![a::KIND, b::KIND, nats::KIND])\n}\n";
        assert_eq!(with_kind(catalog, "nats").unwrap(), expected);
        assert!(with_kind("fn main() {}", "nats").is_err());
    }

    #[test]
    fn names_become_modules_and_struct_names() {
        assert_eq!(module_name("mongo-db").unwrap(), "mongo_db");
        assert!(module_name("Nats").is_err() && module_name("nats-sink").is_err() && module_name("").is_err());
        let text = filled("mongo-db");
        assert!(text.contains("name: \"mongo-db-sink\"") && text.contains("struct MongoDbSettings"));
        assert!(!text.contains("{name}") && !text.contains("{Name}") && !text.contains("{title}"));
    }
}
