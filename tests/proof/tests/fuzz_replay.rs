//! Replays the corpus of every fuzz target, and strings made of its pieces, as ordinary tests.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use forebay_proof::targets::ALL;
use proptest::prelude::{ProptestConfig, Strategy, any, prop};
use proptest::test_runner::TestRunner;

/// Inputs besides the corpus, for each target.
const MADE_UP: u32 = 200;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn every_target_holds_for_its_corpus() {
    for (name, target) in ALL {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            target(&input);
            for cut in 0..input.len().min(300) {
                target(&input[..cut]);
            }
        }
    }
}

#[test]
fn every_target_holds_for_changed_pieces_of_its_corpus() {
    for (name, target) in ALL.into_iter().filter(|(name, _)| *name != "script") {
        let pieces = corpus(name);
        let change =
            (0..pieces.len(), any::<prop::sample::Index>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..9));
        let made = prop::collection::vec(change, 1..4).prop_map(move |changes| {
            let mut input = Vec::new();
            for (piece, at, byte, more) in changes {
                let mut piece = pieces[piece].clone();
                if !piece.is_empty() {
                    let at = at.index(piece.len());
                    piece[at] ^= byte;
                    piece.splice(at..at, more);
                }
                input.extend(piece);
            }
            input
        });
        let mut runner =
            TestRunner::new(ProptestConfig { cases: MADE_UP, failure_persistence: None, ..Default::default() });
        let outcome = runner.run(&made, |input| {
            target(&input);
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{name}: {error}");
        }
    }
}
