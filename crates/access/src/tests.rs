//! Tests of decisions over a real log: users, credentials, and lists that change while they are used.

use std::sync::Arc;
use std::time::Duration;

use forebay_event::{ExpectedRevision, ManualClock, ProposedEvent, StreamName};
use forebay_log::{EmbeddedLog, LogOptions};
use forebay_store::{
    AppendError, AppendRequest, Direction, EventStore, LogPoint, Notice, PageLimit, ReadAll, ReadStream,
    StreamMetadata, StreamPoint, SubscribeStream,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Access, Caller, Credentials, Guard, Need, NewUser, Password, Refused, Right, Rules, SignInError, UserError,
    UserStreams,
};

struct Fixture {
    access: Access,
    store: Arc<dyn EventStore>,
    clock: Arc<ManualClock>,
    _directory: tempfile::TempDir,
}

fn name(stream: &str) -> StreamName {
    StreamName::new(stream).unwrap()
}

fn password(text: &str) -> Password {
    Password::new(text).unwrap()
}

fn event(data: &Value) -> ProposedEvent {
    ProposedEvent::json(Uuid::new_v4(), "T", data.to_string())
}

impl Fixture {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let (log, _) = EmbeddedLog::open(LogOptions::new(directory.path(), clock.clone())).unwrap();
        let store: Arc<dyn EventStore> = Arc::new(log);
        let rules = Rules { asks: true, anonymous_streams: false };
        let access = Access::new(store.clone(), UserStreams::of_the_protocol(), clock.clone(), rules);
        access.users().found().await.unwrap();
        access.users().reset_password("admin", password("root-pw")).await.unwrap();
        Self { access, store, clock, _directory: directory }
    }

    async fn create(&self, login: &str, groups: &[&str]) {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let new =
            NewUser { login: login.to_owned(), full_name: String::new(), groups, password: password("pass-word") };
        self.access.users().create(new).await.unwrap();
    }

    async fn sign_in(&self, login: &str, with: &str) -> Result<Caller, SignInError> {
        let credentials = Credentials { login: login.to_owned(), password: password(with) };
        self.access.identify(Some(&credentials)).await
    }

    async fn guard(&self, login: &str) -> Guard {
        self.access.guard(self.sign_in(login, if login == "admin" { "root-pw" } else { "pass-word" }).await.unwrap())
    }
}

async fn append(guard: &Guard, stream: &str) -> Result<(), Refused<AppendError>> {
    let events = vec![event(&json!({}))];
    let request = AppendRequest { stream: name(stream), expected: ExpectedRevision::Any, events };
    guard.append(request).await.map(drop)
}

async fn may_read(guard: &Guard, stream: &str) -> bool {
    let (direction, from, limit) = (Direction::Forward, StreamPoint::Start, PageLimit::events(1));
    let read = guard.read_stream(ReadStream { stream: name(stream), direction, from, limit }).await;
    !matches!(read, Err(Refused::Denied(_)))
}

async fn set_list(guard: &Guard, stream: &str, list: Value) {
    let metadata = StreamMetadata::from_data(json!({ "$acl": list }).to_string().as_bytes());
    guard.set_metadata(&name(stream), ExpectedRevision::Any, metadata).await.unwrap();
}

#[tokio::test]
async fn users_live_from_create_to_delete() {
    let fixture = Fixture::new().await;
    let users = fixture.access.users();
    assert!(!users.details("ops").await.unwrap().has_password());
    fixture.create("ann", &["editors"]).await;
    let again = NewUser { login: "ann".to_owned(), full_name: String::new(), groups: vec![], password: password("x") };
    assert!(matches!(users.create(again).await, Err(UserError::Conflict { .. })));
    let listed = users.list().await.unwrap().into_iter().map(|user| user.login).collect::<Vec<_>>();
    assert_eq!(listed, ["admin", "ops", "ann"]);

    users.update("ann", "Ann O.".to_owned(), vec!["readers".to_owned()]).await.unwrap();
    let user = users.details("ann").await.unwrap();
    assert_eq!((user.full_name.as_str(), user.groups.as_slice()), ("Ann O.", &["readers".to_owned()][..]));
    assert!(fixture.sign_in("ann", "pass-word").await.is_ok(), "an update leaves the password alone");

    let wrong = users.change_password("ann", password("other"), password("new")).await;
    assert!(matches!(wrong, Err(UserError::WrongPassword { .. })));
    users.change_password("ann", password("pass-word"), password("new")).await.unwrap();
    assert!(matches!(fixture.sign_in("ann", "pass-word").await, Err(SignInError::Wrong)), "at once");
    assert!(fixture.sign_in("ann", "new").await.is_ok());

    users.set_disabled("ann", true).await.unwrap();
    assert!(matches!(fixture.sign_in("ann", "new").await, Err(SignInError::Wrong)), "at once");
    users.set_disabled("ann", false).await.unwrap();
    assert!(fixture.sign_in("ann", "new").await.is_ok());

    users.delete("ann").await.unwrap();
    assert!(matches!(fixture.sign_in("ann", "new").await, Err(SignInError::Wrong)), "at once");
    assert!(matches!(users.details("ann").await, Err(UserError::NotFound { .. })));
    fixture.create("ann", &[]).await;
    assert!(fixture.sign_in("ann", "pass-word").await.is_ok());
    assert_eq!(users.list().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_fresh_log_is_given_its_users_once() {
    let fixture = Fixture::new().await;
    fixture.access.users().delete("ops").await.unwrap();
    fixture.access.users().found().await.unwrap();
    let listed = fixture.access.users().list().await.unwrap();
    assert_eq!(listed.len(), 1, "a user that was deleted does not come back");
    assert_eq!(listed[0].groups, ["$admins"]);
}

#[tokio::test]
async fn who_has_no_password_or_is_nobody_does_not_sign_in() {
    let fixture = Fixture::new().await;
    for (login, with) in [("ops", "x"), ("nobody", "x"), ("$admins", "x"), ("", "x"), ("admin", "root-p")] {
        assert!(matches!(fixture.sign_in(login, with).await, Err(SignInError::Wrong)), "{login}");
    }
    assert!(fixture.access.identify(None).await.unwrap().is_anonymous());
    let unasked = Access::unasked(fixture.store.clone(), fixture.clock.clone());
    let wrong = Credentials { login: "admin".to_owned(), password: password("wrong") };
    let caller = unasked.identify(Some(&wrong)).await.unwrap();
    assert!(unasked.check(&caller, Need::Admin).is_ok(), "credentials that are not asked for are not looked at");
}

/// A pair costs its hash once: ten thousand requests with the same pair, right or wrong, take no time to speak of.
#[tokio::test]
async fn the_same_credentials_are_hashed_once() {
    let fixture = Fixture::new().await;
    let begun = std::time::Instant::now();
    for _ in 0..10_000 {
        assert!(fixture.sign_in("admin", "root-pw").await.is_ok());
        assert!(fixture.sign_in("admin", "wrong").await.is_err());
    }
    // Hashing each time would take minutes.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_flood_of_wrong_passwords_is_sent_away_and_those_who_are_known_pass() {
    let fixture = Arc::new(Fixture::new().await);
    fixture.sign_in("admin", "root-pw").await.unwrap();
    let mut flood = Vec::new();
    for number in 0..200 {
        let fixture = Arc::clone(&fixture);
        flood.push(tokio::spawn(async move { fixture.sign_in("admin", &format!("wrong {number}")).await }));
    }
    tokio::task::yield_now().await;
    assert!(fixture.sign_in("admin", "root-pw").await.is_ok());
    let mut busy = 0;
    for one in flood {
        match one.await.unwrap() {
            Err(SignInError::Busy) => busy += 1,
            Err(SignInError::Wrong) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(busy > 0);
}

#[tokio::test]
async fn lists_hold_for_every_call_and_are_followed_at_once() {
    let fixture = Fixture::new().await;
    fixture.create("ann", &["editors"]).await;
    fixture.create("bob", &[]).await;
    let (admin, ann, bob) = (fixture.guard("admin").await, fixture.guard("ann").await, fixture.guard("bob").await);
    append(&bob, "orders").await.unwrap();
    assert!(may_read(&bob, "orders").await);
    set_list(&admin, "orders", json!({"$r": "editors", "$w": "ann", "$d": [], "$mr": "bob", "$mw": "$admins"})).await;
    assert!(!may_read(&bob, "orders").await && may_read(&ann, "orders").await, "at once");
    assert!(append(&bob, "orders").await.is_err() && append(&ann, "orders").await.is_ok());
    let orders = name("orders");
    assert!(matches!(ann.delete(&orders, ExpectedRevision::Any).await, Err(Refused::Denied(_))));
    assert!(matches!(ann.tombstone(&orders, ExpectedRevision::Any).await, Err(Refused::Denied(_))));
    assert!(matches!(ann.metadata(&orders).await, Err(Refused::Denied(_))) && bob.metadata(&orders).await.is_ok());
    assert!(append(&ann, "$$orders").await.is_err(), "metadata is not written as an event either");
    assert!(matches!(
        ann.set_metadata(&orders, ExpectedRevision::Any, StreamMetadata::default()).await,
        Err(Refused::Denied(_))
    ));

    let read_all = || ReadAll {
        direction: Direction::Forward,
        from: LogPoint::Start,
        limit: PageLimit::events(1),
        filter: forebay_store::EventFilter::All,
    };
    assert!(
        matches!(bob.read_all(read_all()).await, Err(Refused::Denied(_))) && admin.read_all(read_all()).await.is_ok()
    );
    set_list(&admin, "$all", json!({"$r": "bob"})).await;
    assert!(bob.read_all(read_all()).await.is_ok() && bob.head().await.is_ok());

    // The default lists, as an event of a stream.
    let settings = json!({"$userStreamAcl": {"$r": "editors", "$w": "$all"}, "$systemStreamAcl": {"$r": "bob"}});
    let request =
        AppendRequest { stream: name("$settings"), expected: ExpectedRevision::Any, events: vec![event(&settings)] };
    admin.append(request).await.unwrap();
    assert!(!may_read(&bob, "others").await && may_read(&ann, "others").await && may_read(&bob, "$system").await);
    assert!(!may_read(&bob, "$user-admin").await, "users' streams have lists of their own");
    assert!(ann.may::<()>(&name("$settings"), Right::Write).await.is_err());

    // Deleting a stream takes its list away, as it takes all metadata.
    admin.delete(&orders, ExpectedRevision::Any).await.unwrap();
    assert!(append(&bob, "orders").await.is_ok());
}

#[tokio::test]
async fn what_another_process_changes_is_seen_before_long() {
    let fixture = Fixture::new().await;
    fixture.create("bob", &[]).await;
    let bob = fixture.guard("bob").await;
    assert!(may_read(&bob, "orders").await);
    let metadata = StreamMetadata::from_data(br#"{"$acl":{"$r":"ann"}}"#);
    fixture.store.set_metadata(&name("orders"), ExpectedRevision::Any, metadata).await.unwrap();
    fixture.clock.advance(Duration::from_secs(11));
    assert!(!may_read(&bob, "orders").await);
}

#[tokio::test]
async fn a_subscription_ends_when_its_caller_may_read_no_more() {
    let fixture = Fixture::new().await;
    fixture.create("bob", &[]).await;
    let (admin, bob) = (fixture.guard("admin").await, fixture.guard("bob").await);
    append(&admin, "orders").await.unwrap();
    let subscribe =
        || SubscribeStream { stream: name("orders"), from: StreamPoint::Start, limit: PageLimit::events(10) };
    let mut first = bob.subscribe_stream(subscribe()).await.unwrap();
    assert!(matches!(first.next().await, Ok(Notice::Events(_))));
    assert!(matches!(first.next().await, Ok(Notice::CaughtUp { .. })));
    // It waits for events; a change of the list ends it all the same.
    let (ended, ()) = tokio::join!(first.next(), async {
        tokio::task::yield_now().await;
        set_list(&admin, "orders", json!({"$r": "ann"})).await;
    });
    assert!(matches!(ended, Err(Refused::Denied(_))), "{ended:?}");
    assert!(matches!(bob.subscribe_stream(subscribe()).await.err(), Some(Refused::Denied(_))));

    set_list(&admin, "orders", json!({})).await;
    let mut second = bob.subscribe_stream(subscribe()).await.unwrap();
    set_list(&admin, "others", json!({})).await;
    assert!(matches!(second.next().await, Ok(Notice::Events(_))), "another stream's list ends nothing");
    assert!(matches!(second.next().await, Ok(Notice::CaughtUp { .. })));
    let (ended, disabled) = tokio::join!(second.next(), fixture.access.users().set_disabled("bob", true));
    disabled.unwrap();
    assert!(matches!(ended, Err(Refused::Denied(_))), "{ended:?}");
}

#[tokio::test]
async fn needs_are_met_by_roles() {
    let fixture = Fixture::new().await;
    fixture.access.users().reset_password("ops", password("pass-word")).await.unwrap();
    fixture.create("ann", &["editors"]).await;
    let needs = [Need::Nothing, Need::Streams, Need::SignedIn, Need::Operator, Need::Admin];
    let met = |caller: &Caller| needs.iter().take_while(|need| fixture.access.check(caller, **need).is_ok()).count();
    assert_eq!(met(&Caller::anonymous()), 1);
    assert_eq!(met(fixture.guard("ann").await.caller()), 3);
    assert_eq!(met(fixture.guard("ops").await.caller()), 4);
    assert_eq!(met(fixture.guard("admin").await.caller()), 5);
    let ann = fixture.guard("ann").await;
    assert!(fixture.access.check_self(ann.caller(), "ann").is_ok());
    assert!(fixture.access.check_self(ann.caller(), "bob").is_err());
    assert!(fixture.access.check_self(&Caller::anonymous(), "").unwrap_err().is_anonymous);
}
