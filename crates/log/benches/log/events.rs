//! Events as they are in practice: some 370 bytes of JSON, some 95 bytes of metadata, ten thousand streams.

use bytes::Bytes;
use forebay_event::{ContentType, ProposedEvent, StreamName};
use uuid::Uuid;

pub(crate) const STREAMS: usize = 10_000;

/// The event of this number.
pub(crate) fn event(number: usize) -> ProposedEvent {
    let customer = number.wrapping_mul(2_654_435_761) % 1_000_000;
    let data = format!(
        "{{\"orderId\":\"ord-{number:010}\",\"customerId\":\"cus-{customer:08}\",\"currency\":\"EUR\",\"total\":{}.{:02},\
         \"items\":[{{\"sku\":\"SKU-{:06}\",\"quantity\":{},\"price\":{}.99,\"title\":\"Garden chair, oak\"}},\
         {{\"sku\":\"SKU-{:06}\",\"quantity\":1,\"price\":{}.49,\"title\":\"Cushion, green\"}}],\
         \"address\":{{\"street\":\"Lindenallee {}\",\"city\":\"Utrecht\",\"country\":\"NL\"}},\"note\":null}}",
        customer % 900,
        customer % 100,
        customer % 77_777,
        1 + number % 5,
        customer % 300,
        number % 99_991,
        customer % 40,
        number % 180,
    );
    let metadata = format!(
        "{{\"correlationId\":\"{}\",\"user\":\"u-{:05}\",\"source\":\"checkout\"}}",
        Uuid::from_u64_pair(customer as u64, number as u64),
        customer % 5000
    );
    ProposedEvent {
        id: Uuid::from_u64_pair(0x4f4e_4545, number as u64 + 1),
        event_type: "OrderPlaced".to_owned(),
        content_type: ContentType::Json,
        data: Bytes::from(data),
        metadata: Bytes::from(metadata),
    }
}

/// The stream of this number.
pub(crate) fn stream(number: usize) -> StreamName {
    StreamName::new(&format!("order-{:05}", number % STREAMS)).unwrap()
}

/// The bytes that a plain log would write for an event: the same header, name, type, data and metadata.
pub(crate) fn plain(event: &ProposedEvent, stream: &StreamName, into: &mut Vec<u8>) {
    into.extend_from_slice(&[0; 40]);
    into.extend_from_slice(event.id.as_bytes());
    into.extend_from_slice(stream.as_str().as_bytes());
    into.extend_from_slice(event.event_type.as_bytes());
    into.extend_from_slice(&event.data);
    into.extend_from_slice(&event.metadata);
}
