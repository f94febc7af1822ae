//! Owns the targets that read what was stored: blocks, the high-water file, checkpoints, management events.

use forebay_event::{ContentType, RecordedEvent};
use forebay_log::testing::{block_events, high_water as high_water_of, repacked, sealed};
use forebay_runtime::management::doors::read_event;
use forebay_runtime::pipeline::doors::rewritten_checkpoint;

use super::sample::{event, halves, text};

/// A block as it lies on disk, with the checksum that it has and with the one that it should have.
pub fn log_block(bytes: &[u8]) {
    for (first, stored) in [(1, bytes.to_vec()), (1, sealed(1, bytes)), (u64::MAX, sealed(u64::MAX, bytes))] {
        let Ok(events) = block_events(first, &stored) else { continue };
        let again = repacked(first, &stored).expect("what was read is read again").expect("a block is not empty");
        let content = |events: Vec<RecordedEvent>| -> Vec<_> {
            events.into_iter().map(|event| (event.id(), event.stream_name(), event.data(), event.metadata())).collect()
        };
        let back = block_events(first, &again).expect("what was packed is read");
        assert_eq!(content(back), content(events), "packing a block anew changes it");
    }
}

/// The content of the high-water file.
pub fn high_water(bytes: &[u8]) {
    if let Some(position) = high_water_of(bytes) {
        assert_eq!(high_water_of(bytes), Some(position));
        let place = position.to_le_bytes();
        assert!(bytes.windows(place.len()).any(|window| window == place), "{position} is made up");
    }
}

/// The data of a checkpoint: what was read is written so that it reads the same.
pub fn checkpoint(bytes: &[u8]) {
    if let Some(written) = rewritten_checkpoint(bytes) {
        assert_eq!(
            rewritten_checkpoint(&written).as_ref(),
            Some(&written),
            "a checkpoint changes when it is rewritten"
        );
    }
}

/// The end of the type of a management event, and after a line break its data.
pub fn management_event(bytes: &[u8]) {
    let (word, data) = halves(bytes);
    let event_type = format!("$conn-mgmt-{}", text(word));
    drop(read_event(&event("$connectors/sample", &event_type, ContentType::Json, data)));
}
