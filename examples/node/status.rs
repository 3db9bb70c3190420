//! What the page shows besides what the manager knows, and the server, which answers on the loopback interface and to its own name only.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use connmgr::{TrimReport, metrics, swarm::Manager};
use libp2p::{Multiaddr, PeerId};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;

use crate::page;

/// The longest name of a peer that is kept, in characters: peers choose them.
const LONGEST_NAME: usize = 64;

/// The content type of what Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is shown.
pub(crate) struct Status {
    pub(crate) peer: PeerId,
    pub(crate) manager: Arc<Manager>,
    registry: Registry,
    heard: Mutex<Heard>,
}

/// What the swarm's events told.
#[derive(Default, Clone)]
pub(crate) struct Heard {
    pub(crate) listens: Vec<Multiaddr>,
    /// What connected peers call themselves.
    pub(crate) names: HashMap<PeerId, String>,
    /// The last trim that closed or spared anybody, and when it was.
    pub(crate) last_trim: Option<(SystemTime, TrimReport<PeerId>)>,
}

impl Status {
    pub(crate) fn new(peer: PeerId, manager: Arc<Manager>) -> Self {
        let mut registry = Registry::default();
        metrics::register(&mut registry, &manager);
        Self { peer, manager, registry, heard: Mutex::default() }
    }

    fn change(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn heard(&self) -> Heard {
        self.change().clone()
    }

    pub(crate) fn listens(&self, address: Multiaddr) {
        self.change().listens.push(address);
    }

    pub(crate) fn identified(&self, peer: PeerId, name: &str) {
        let name = name.chars().take(LONGEST_NAME).collect();
        self.change().names.insert(peer, name);
    }

    pub(crate) fn left(&self, peer: &PeerId) {
        self.change().names.remove(peer);
    }

    pub(crate) fn trimmed(&self, report: TrimReport<PeerId>) {
        if !report.closed.is_empty() || !report.spared.is_empty() {
            self.change().last_trim = Some((SystemTime::now(), report));
        }
    }
}

/// Serves the page and the metrics.
pub(crate) async fn serve(listener: TcpListener, status: Arc<Status>) -> io::Result<()> {
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics_text))
        .layer(middleware::from_fn_with_state(address, only_by_own_name))
        .with_state(status);
    axum::serve(listener, router).await
}

/// Answers only who asks for this address by its number or as localhost. A page elsewhere could have its own name point
/// here, and would then be let read the answers.
async fn only_by_own_name(State(address): State<SocketAddr>, request: Request, next: Next) -> Response {
    let port = address.port();
    let own = [format!("{}:{port}", address.ip()), format!("localhost:{port}")];
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_none_or(|host| !own.iter().any(|own| own.eq_ignore_ascii_case(host))) {
        return (StatusCode::MISDIRECTED_REQUEST, "this is another host\n").into_response();
    }
    let mut response = next.run(request).await;
    // Nothing is loaded, no script runs, and nobody puts the page into a frame.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

async fn page(State(status): State<Arc<Status>>) -> Html<String> {
    Html(page::page(&status).into_string())
}

async fn metrics_text(State(status): State<Arc<Status>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &status.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
