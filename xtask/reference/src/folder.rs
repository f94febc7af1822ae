//! Owns the generated folder on disk: written anew, or compared with what would be written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::page::{FOLDER, Page};

/// Writes every page and removes those that are no longer made.
pub(crate) fn write(pages: &[Page]) -> Result<String> {
    let folder = folder();
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let wanted = texts(pages);
    for name in present(&folder)?.into_keys().filter(|name| !wanted.contains_key(name)) {
        std::fs::remove_file(folder.join(&name)).with_context(|| format!("remove {name}"))?;
    }
    for (name, text) in &wanted {
        std::fs::write(folder.join(name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(format!("{FOLDER}: {} pages written", wanted.len()))
}

/// Compares every page with what is on disk.
pub(crate) fn check(pages: &[Page]) -> Result<String> {
    let stale = differences(&texts(pages), &present(&folder())?);
    if !stale.is_empty() {
        bail!("stale in {FOLDER}: {}; run `cargo xtask docs` and commit what it writes", stale.join(", "));
    }
    Ok(format!("{FOLDER}: {} pages, all current", pages.len()))
}

fn folder() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.ancestors().nth(2).expect("the manifest lies two folders below the root").join(FOLDER)
}

fn texts(pages: &[Page]) -> BTreeMap<String, String> {
    pages.iter().map(|page| (page.name.clone(), page.text())).collect()
}

fn present(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut present = BTreeMap::new();
    if !folder.exists() {
        return Ok(present);
    }
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        present.insert(name, text);
    }
    Ok(present)
}

/// The names of pages that are missing, changed or left over.
fn differences(wanted: &BTreeMap<String, String>, present: &BTreeMap<String, String>) -> Vec<String> {
    let changed = wanted.iter().filter(|(name, text)| present.get(*name) != Some(text)).map(|(name, _)| name);
    let left_over = present.keys().filter(|name| !wanted.contains_key(*name));
    changed.chain(left_over).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_changed_and_left_over_pages_are_stale() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let wanted = map(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let present = map(&[("a", "1"), ("b", "0"), ("d", "4")]);
        assert_eq!(differences(&wanted, &present), ["b", "c", "d"]);
        assert!(differences(&wanted, &wanted).is_empty());
    }
}
