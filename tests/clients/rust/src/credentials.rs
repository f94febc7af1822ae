//! Owns the conversation with a server that asks callers who they are.

use kurrentdb::operations::{Client as Operator, OperationalOptions};
use kurrentdb::{
    Acl, AppendToStreamOptions, Client, Credentials, DeleteStreamOptions, Error, EventData, ReadAllOptions,
    ReadStreamOptions, StreamAclBuilder, StreamMetadataBuilder, SubscribeToStreamOptions, SubscriptionEvent,
};
use serde_json::json;
use uuid::Uuid;

use crate::server::Server;

const ADMIN_PASSWORD: &str = "root-pw";

fn event() -> EventData {
    EventData::json("Written", &json!({})).expect("it is JSON").id(Uuid::new_v4())
}

/// What a server answers, and a client for each who asks it.
struct Callers {
    admin: Client,
    ann: Client,
    bob: Client,
    wrong: Client,
    nobody: Client,
}

async fn append(client: &Client, stream: &str) -> kurrentdb::Result<()> {
    client.append_to_stream(stream, &AppendToStreamOptions::default(), event()).await.map(drop)
}

async fn read(client: &Client, stream: &str) -> kurrentdb::Result<usize> {
    let mut read = client.read_stream(stream, &ReadStreamOptions::default()).await?;
    let mut count = 0;
    while read.next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

async fn read_all(client: &Client) -> kurrentdb::Result<()> {
    client.read_all(&ReadAllOptions::default().max_count(1)).await?.next().await.map(drop)
}

fn is_denied<T>(outcome: kurrentdb::Result<T>) -> bool {
    matches!(outcome, Err(Error::AccessDenied))
}

/// Says all of it.
pub(crate) async fn converse(program: &str, is_tls: bool) -> kurrentdb::Result<()> {
    let server =
        Server::start_with(program, is_tls, &[("FOREBAY_AUTH", "on"), ("FOREBAY_ADMIN_PASSWORD", ADMIN_PASSWORD)]);
    let settings = |who: &str| server.uri_as("kurrentdb", who).parse().expect("it is a connection string");
    let client = |who: &str| Client::new(settings(who)).expect("the settings are valid");
    let operator = Operator::new(settings("admin:root-pw@")).expect("the settings are valid");
    users(&operator).await?;
    let callers = Callers {
        admin: client("admin:root-pw@"),
        ann: client("ann:ann-pw@"),
        bob: client("bob:bob-pw@"),
        wrong: client("ann:wrong@"),
        nobody: client(""),
    };
    lists(&callers).await?;
    subscriptions(&callers).await?;
    let way = if is_tls { "over TLS" } else { "in clear text" };
    println!("ok kurrentdb with credentials: 3 parts passed {way}");
    Ok(())
}

async fn users(operator: &Operator) -> kurrentdb::Result<()> {
    let options = OperationalOptions::default();
    operator.create_user("ann", "first", "Ann O.", vec!["editors".to_owned()], &options).await?;
    operator.create_user("bob", "bob-pw", "Bob", vec![], &options).await?;
    assert!(operator.create_user("bob", "bob-pw", "Bob", vec![], &options).await.is_err());
    operator.change_user_password("ann", "first", "second", &options).await?;
    operator.reset_user_password("ann", "ann-pw", &options).await?;
    operator.update_user("bob", "", "Bob B.", vec!["readers".to_owned()], &options).await?;
    operator.disable_user("bob", &options).await?;
    operator.enable_user("bob", &options).await?;
    let found = operator.user_details("bob", &options).await?.next().await?.expect("bob is there");
    assert_eq!((found.full_name.as_str(), found.groups, found.disabled), ("Bob B.", vec!["readers".to_owned()], false));
    operator.create_user("eve", "eve-pw", "Eve", vec![], &options).await?;
    operator.delete_user("eve", &options).await?;
    let own = OperationalOptions::default().authenticated(Credentials::new("bob", "bob-pw"));
    assert!(is_denied(operator.create_user("mal", "mal-pw", "Mal", vec![], &own).await));
    assert!(operator.user_details("bob", &own).await?.next().await?.is_some());
    Ok(())
}

async fn lists(callers: &Callers) -> kurrentdb::Result<()> {
    let Callers { admin, ann, bob, wrong, nobody } = callers;
    let stream = format!("secret-{}", Uuid::new_v4());
    append(ann, &stream).await?;
    assert_eq!(read(bob, &stream).await?, 1);
    for refused in [wrong, nobody] {
        assert!(is_denied(append(refused, &stream).await) && is_denied(read(refused, &stream).await));
    }
    assert!(is_denied(read_all(ann).await) && is_denied(read(ann, "$users").await));
    read_all(admin).await?;
    assert_eq!(read(admin, "$users").await?, 5);
    let acl = StreamAclBuilder::new()
        .add_read_roles("editors")
        .add_write_roles("ann")
        .add_delete_roles("$admins")
        .add_meta_write_roles("$admins");
    let metadata = StreamMetadataBuilder::new().acl(Acl::Stream(acl.build())).build();
    admin.set_stream_metadata(&*stream, &Default::default(), &metadata).await?;
    append(ann, &stream).await?;
    assert_eq!(read(ann, &stream).await?, 2);
    assert!(is_denied(append(bob, &stream).await) && is_denied(read(bob, &stream).await));
    assert!(is_denied(ann.delete_stream(&*stream, &DeleteStreamOptions::default()).await));
    assert!(is_denied(ann.set_stream_metadata(&*stream, &Default::default(), &metadata).await));
    let as_ann = AppendToStreamOptions::default().authenticated(Credentials::new("ann", "ann-pw"));
    bob.append_to_stream(&*stream, &as_ann, event()).await?;
    Ok(())
}

async fn subscriptions(callers: &Callers) -> kurrentdb::Result<()> {
    let Callers { admin, bob, .. } = callers;
    let stream = format!("followed-{}", Uuid::new_v4());
    append(bob, &stream).await?;
    let mut followed = bob.subscribe_to_stream(&*stream, &SubscribeToStreamOptions::default()).await;
    while !matches!(followed.next_subscription_event().await?, SubscriptionEvent::CaughtUp(_)) {}
    let acl = StreamAclBuilder::new().add_read_roles("editors").build();
    let metadata = StreamMetadataBuilder::new().acl(Acl::Stream(acl)).build();
    admin.set_stream_metadata(&*stream, &Default::default(), &metadata).await?;
    assert!(is_denied(followed.next_subscription_event().await));
    Ok(())
}
