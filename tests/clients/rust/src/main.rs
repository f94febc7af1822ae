//! Talks to a running forebay as an application does, with the official Rust client.
//!
//! Usage: forebay-clients-rust PROGRAM. Everything is said in clear text and over TLS. Prints one line for each part that
//! passed; any failure ends it with a panic.
//! Or: forebay-clients-rust catch-up URI EVENTS. Measures how fast the client takes so many events.
#![expect(clippy::print_stdout, reason = "a tool talks to the terminal it was started in")]

mod catch_up;
mod server;
mod parts;
mod credentials;
mod peers;

use kurrentdb::Client;

use crate::server::Server;

#[tokio::main]
async fn main() -> kurrentdb::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [program] => converse(program).await,
        ["catch-up", uri, events] => catch_up::run(uri, events.parse().expect("a number of events")).await,
        _ => panic!("usage: forebay-clients-rust PROGRAM | catch-up URI EVENTS"),
    }
}

async fn converse(program: &str) -> kurrentdb::Result<()> {
    for is_tls in [false, true] {
        let server = Server::start(program, is_tls);
        for scheme in ["esdb", "kurrentdb+discover"] {
            let settings = server.uri(scheme).parse().expect("it is a connection string");
            let client = Client::new(settings).expect("the settings are valid");
            parts::append_and_read(&client).await?;
            parts::deletes(&client).await?;
            parts::metadata(&client).await?;
            parts::read_all(&client).await?;
            parts::subscriptions(&client).await?;
            parts::checkpoints(&client).await?;
            parts::batches(&client).await?;
            let way = if is_tls { "over TLS" } else { "in clear text" };
            println!("ok kurrentdb {scheme}: 7 parts passed {way}");
        }
        let uri = server.uri("kurrentdb");
        let client = Client::new(uri.parse().expect("it is a connection string")).expect("the settings are valid");
        let told = peers::compare(&client, &uri).await;
        println!("ok kurrentdb and our own client: {told} answers and events are the same");
        credentials::converse(program, is_tls).await?;
    }
    Ok(())
}
