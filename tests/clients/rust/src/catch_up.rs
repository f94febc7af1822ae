//! Owns the measurement of catching up: a subscription to everything from the beginning, as fast as the client takes it.

use std::time::Instant;

use kurrentdb::{Client, StreamPosition, SubscribeToAllOptions, SubscriptionEvent};

/// Takes so many events of a running server and prints how many seconds passed from the first call to the last event.
pub(crate) async fn run(uri: &str, events: u64) -> kurrentdb::Result<()> {
    let client = Client::new(uri.parse().expect("it is a connection string")).expect("the settings are valid");
    let begun = Instant::now();
    let options = SubscribeToAllOptions::default().position(StreamPosition::Start);
    let mut followed = client.subscribe_to_all(&options).await;
    let (mut taken, mut size) = (0_u64, 0_usize);
    while taken < events {
        if let SubscriptionEvent::EventAppeared(event) = followed.next_subscription_event().await? {
            size += event.get_original_event().data.len();
            taken += 1;
        }
    }
    println!("{{\"events\": {taken}, \"bytes\": {size}, \"seconds\": {}}}", begun.elapsed().as_secs_f64());
    Ok(())
}
