//! Faults on the way to the target: its port, its name, its certificate.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use forebay_connector::testing::names;
use forebay_proof::faults::{Authority, Behaviour, Fault, Target, TlsFault};
use forebay_runtime::pipeline::End;

use crate::told;
use crate::world::World;

async fn all_delivered(world: &mut World, target: &Target) {
    let ended = world.run().await;
    assert_eq!((ended.end, ended.progress.delivered), (End::Stopped, 1_000));
    world.check(target, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_is_refused() {
    let target = Target::start(Behaviour {
        fault: Some(Fault::Down(Duration::from_millis(50))),
        every: 150,
        burst: 1,
        ..Behaviour::default()
    });
    let mut world = World::new("refused", &format!("http://{}/in", target.address()), &[]).await;
    let ended = world.run().await;
    assert_eq!((ended.end, ended.progress.delivered), (End::Stopped, 1_000));
    // Each time the port closes, every lane may lose the request it had under way.
    world.check(&target, false).await;
    assert!(world.told().contains("connection refused"), "{}", world.told());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_does_not_resolve_and_then_does() {
    const NAME: &str = "target.proof.test";
    let target = Target::start(Behaviour::default());
    names::set(NAME, None);
    // Connections are short-lived here, so that the name matters again and again.
    let pairs = [("pooledConnectionLifetime", "0")];
    let url = format!("http://{NAME}:{}/in", target.address().port());
    let mut world = World::new("unresolved", &url, &pairs).await;
    let appears = async {
        for round in 1..=3 {
            let lines = || told::about("unresolved").matches("cannot resolve host target.proof.test").count();
            let before = lines();
            while lines() <= before {
                tokio::task::yield_now().await;
            }
            names::set(NAME, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
            while target.arrivals().len() < 250 * round {
                tokio::task::yield_now().await;
            }
            names::set(NAME, (round == 3).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        }
    };
    let (ended, ()) = tokio::join!(world.run(), appears);
    assert_eq!((ended.end, ended.progress.delivered), (End::Stopped, 1_000));
    world.check(&target, false).await;
    assert_eq!(target.arrivals().len(), 1_000, "a name that is missing costs no repeat");
}

/// Shows a certificate with this fault on every other connection.
async fn with_certificates(name: &str, fault: TlsFault, words: &str) {
    let authority = Authority::new();
    let certificates = vec![authority.acceptor(fault), authority.acceptor(TlsFault::None)];
    let target = Target::start(Behaviour { certificates, ..Behaviour::default() });
    let pem = authority.pem();
    let pairs = [("tls:caCertificate", pem.as_str()), ("requestTimeoutMs", "5000"), ("connectTimeoutMs", "5000")];
    let mut world = World::new(name, &format!("https://{}/in", target.address()), &pairs).await;
    all_delivered(&mut world, &target).await;
    assert!(target.faults().len() >= 4, "{} connections", target.connections());
    assert!(world.told().contains(words), "{}", world.told());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_has_expired() {
    with_certificates("tls-expired", TlsFault::Expired, "the target's certificate has expired").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_is_for_another_host() {
    with_certificates("tls-other-host", TlsFault::OtherHost, "the target's certificate is for another host").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_nobody_trusts_is_named() {
    let authority = Authority::new();
    let target =
        Target::start(Behaviour { certificates: vec![authority.acceptor(TlsFault::None)], ..Default::default() });
    let pairs = [("resilience:maxRetries", "2")];
    let mut world = World::new("tls-untrusted", &format!("https://{}/in", target.address()), &pairs).await;
    let End::Failed(failure) = world.run().await.end else { panic!("it cannot have delivered anything") };
    assert!(failure.message.contains("unknown issuer (setting tls:caCertificate)"), "{failure}");
    assert!(target.arrivals().is_empty());
}
