//! Owns network namespaces: each node has a network of its own, joined to the test's by one link that can be taken down,
//! so that every packet is lost, in both directions and to everybody.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

/// Networks, one for each node, and an address that all of them reach.
pub(crate) struct Namespaces {
    /// What the nodes reach the test's services at.
    pub(crate) hub: IpAddr,
    pub(crate) all: Vec<Namespace>,
}

/// The network of one node.
pub(crate) struct Namespace {
    name: String,
    link: String,
    /// The node's end of the link.
    pub(crate) address: IpAddr,
}

fn ip(arguments: &str) -> bool {
    let status = Command::new("ip").args(arguments.split(' ')).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

impl Namespaces {
    /// Makes them; nothing, and a word about it, where that is not allowed.
    pub(crate) fn make(count: usize) -> Option<Self> {
        // Several tests at once do not meet.
        let process = std::process::id();
        let net = u8::try_from(process % 200).unwrap();
        let hub = Ipv4Addr::new(10, net, 255, 1);
        let mut namespaces = Self { hub: hub.into(), all: Vec::new() };
        let mut made = ip(&format!("address add {hub}/32 dev lo"));
        for number in 0..count {
            let (name, link) = (format!("forebay-{process}-{number}"), format!("fb{process}-{number}"));
            let (near, far) =
                (format!("10.{net}.{number}.1"), Ipv4Addr::new(10, net, u8::try_from(number).unwrap(), 2));
            made = made
                && ip(&format!("netns add {name}"))
                && ip(&format!("link add {link} type veth peer name uplink netns {name}"))
                && ip(&format!("address add {near}/24 dev {link}"))
                && ip(&format!("link set {link} up"))
                && ip(&format!("-n {name} link set lo up"))
                && ip(&format!("-n {name} address add {far}/24 dev uplink"))
                && ip(&format!("-n {name} link set uplink up"))
                && ip(&format!("-n {name} route add default via {near}"));
            namespaces.all.push(Namespace { name, link, address: far.into() });
        }
        if made {
            return Some(namespaces);
        }
        println!(
            "SKIPPED: nodes in networks of their own: network namespaces cannot be made here (they need root and ip)"
        );
        None
    }
}

impl Namespace {
    /// What a command must begin with to run there.
    pub(crate) fn prefix(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(ToOwned::to_owned).to_vec()
    }

    /// Loses every packet from now on.
    pub(crate) fn take_down(&self) {
        assert!(ip(&format!("link set {} down", self.link)), "the link {} cannot be taken down", self.link);
    }

    /// Loses none any more.
    pub(crate) fn bring_up(&self) {
        assert!(ip(&format!("link set {} up", self.link)), "the link {} cannot be brought up", self.link);
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in &self.all {
            ip(&format!("netns delete {}", namespace.name));
        }
        ip(&format!("address delete {}/32 dev lo", self.hub));
    }
}
