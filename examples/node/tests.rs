//! Real nodes on the loopback interface, asked over HTTP as a browser would.

use std::{sync::Arc, time::Duration};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    args::{self, Command, Config},
    run::Runner,
    status::{self, Status},
};

const LIMIT: Duration = Duration::from_secs(30);

fn config(line: &[&str]) -> Config {
    match args::parse(line.iter().map(|arg| (*arg).into())) {
        Ok(Command::Run(config)) => config,
        other => panic!("{other:?}"),
    }
}

/// Starts a node on tasks of its own. Returns what it shows, and the port it shows it on.
async fn start(line: &[&str]) -> (Arc<Status>, u16) {
    let (mut node, status) = Runner::new(config(line)).expect("started");
    let http = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = http.local_addr().expect("an address").port();
    tokio::spawn(status::serve(http, Arc::clone(&status)));
    tokio::spawn(async move {
        if let Err(error) = node.run().await {
            panic!("{error}");
        }
    });
    (status, port)
}

/// Asks, and returns the whole answer.
async fn ask(port: u16, host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

/// Asks again and again until the answer is what is wanted.
async fn ask_until(port: u16, path: &str, wanted: impl Fn(&str) -> bool) -> String {
    loop {
        let answer = ask(port, &format!("127.0.0.1:{port}"), path).await;
        if wanted(&answer) {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

/// Where a node listens that has the first of its addresses, with its id.
async fn address_of(status: &Status) -> (PeerId, Multiaddr) {
    loop {
        if let Some(address) = status.heard().listens.first() {
            return (status.peer, address.clone().with(Protocol::P2p(status.peer)));
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_peer_is_tagged_protected_and_shown_with_its_name_escaped() {
    let meets = async {
        for listen in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"] {
            let (first, first_port) =
                start(&["--listen", listen, "--agent", "<script>alert(1)</script>&"]).await;
            let (peer, address) = address_of(&first).await;
            let address = address.to_string();
            let (second, port) =
                start(&["--listen", listen, "--bootstrap", &address, "--publish", "1"]).await;

            let all_tags = |page: &str| {
                ["kad/routing", "gossip/topic", "gossip/mesh", "protected: bootstrap", "alert"]
                    .iter()
                    .all(|part| page.contains(part))
            };
            let page = ask_until(port, "/", all_tags).await;
            assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;"), "escaped: {page}");
            assert!(!page.contains("<script"), "and nowhere else: {page}");
            assert!(second.manager.is_protected(&peer, Some("bootstrap")));
            ask_until(first_port, "/", |page| page.contains("gossip/news")).await;
            let metrics = ask_until(port, "/metrics", |text| {
                text.contains("connmgr_connections{direction=\"outbound\"} 1")
            });
            let metrics = metrics.await;
            assert!(metrics.contains("connmgr_protected 1") && metrics.contains("# EOF"), "{metrics}");
            let gossip = second.manager.tag_info(&peer).expect("known").conns[0].streams;
            assert!(gossip >= Some(2), "gossip each way, counted: {gossip:?}");
        }
    };
    timeout(LIMIT, meets).await.expect("they meet in time");
}

#[tokio::test]
async fn only_its_own_name_is_answered() {
    let asked = async {
        let (_, port) = start(&[]).await;
        for host in [format!("127.0.0.1:{port}"), format!("LocalHost:{port}")] {
            let answer = ask(port, &host, "/").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
            let answer = answer.to_lowercase();
            assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
        }
        for host in ["evil.example".to_owned(), format!("evil.example:{port}"), "127.0.0.1".to_owned()] {
            for path in ["/", "/metrics", "/nothing"] {
                let answer = ask(port, &host, path).await;
                assert!(answer.starts_with("HTTP/1.1 421"), "{host}{path}: {answer}");
            }
        }
        let answer = ask(port, &format!("127.0.0.1:{port}"), "/nothing").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    };
    timeout(LIMIT, asked).await.expect("answered in time");
}
