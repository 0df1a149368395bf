//! Name resolution: a stack with a resolver, and one with a name server, in virtual time.

mod clients;
mod connecting;
mod failing;
mod finding;
mod odd_servers;
mod server;

use netstack::netsocket::dns::{Resolver, ResolverConfig};
use netstack::{Pair, Stack};
use std::time::Duration;

/// Where the name server is.
const SERVER: &str = "10.0.0.2:53";
/// An unused address on the link.
const NOBODY: &str = "10.0.0.99";

/// Two stacks joined by packets as on a wire; the second is the name server of the first.
async fn pair() -> (Stack, Stack) {
    let (near, far) = Pair::new().jumbo(false).spawn().expect("a runtime");
    ask(&near, &["10.0.0.2"], &[]).await;
    (near, far)
}

/// Has the stack ask these servers.
async fn ask(stack: &Stack, servers: &[&str], domains: &[&str]) {
    let servers = servers.iter().map(|ip| ip.parse().expect("an address")).collect();
    let domains = domains.iter().map(|&domain| domain.to_owned()).collect();
    stack.net().control().set_name_servers(servers, domains).await.expect("a running stack");
}

/// A resolver made by hand.
fn resolver(stack: &Stack, servers: &[&str], change: impl FnOnce(&mut ResolverConfig)) -> Resolver {
    let servers = servers.iter().map(|at| at.parse().expect("an address")).collect();
    let mut config = ResolverConfig { servers, ..ResolverConfig::default() };
    change(&mut config);
    Resolver::new(stack, config).expect("a good configuration")
}

/// Waits until the stack has no socket but the given number of them.
async fn sockets_are(stack: &Stack, number: usize) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(300);
    loop {
        let snapshot = stack.net().snapshot().await.expect("a running stack");
        if snapshot.sockets.len() == number {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "left behind:\n{snapshot}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
