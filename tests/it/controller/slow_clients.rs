//! Clients of the port for health and metrics that send nothing, little or too much.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use axum::{Router, routing::get};
use futures::future::join_all;
use muster::{
    config::Config,
    crd::worker_fleet::WorkerFleet,
    http::{
        health,
        server::{self, Limits},
    },
    metrics::Metrics,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::support::{
    fleet::{spec, wait_settled},
    scene::{Controller, PATIENCE, Scene},
};

const NEVER: Duration = Duration::from_secs(3600);

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn served(limits: Limits) -> SocketAddr {
    let (listener, address) = listen().await;
    let ready = Arc::new(AtomicBool::new(true));
    tokio::spawn(health::serve(listener, limits, Arc::new(Metrics::default()), ready));
    address
}

/// Connects from 127.0.0.`client`.
async fn connect(client: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, client], 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Requests of which the headers never end.
async fn half_open(client: u8, to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let open = (0..count).map(|_| async move {
        let mut stream = connect(client, to).await;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        stream
    });
    join_all(open).await
}

/// What the server sends until it closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is closed while the client still sends is reset.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    String::from_utf8(answer).unwrap()
}

async fn request(mut stream: TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    rest(stream).await
}

#[tokio::test]
async fn half_open_requests_are_closed_and_delay_no_scrape() {
    let address = served(Limits { connections: 300, head: Duration::from_millis(300), request: NEVER }).await;
    let mut hanging = half_open(1, address, 200).await;
    hanging.push(connect(1, address).await);
    assert!(request(connect(1, address).await, "/metrics").await.starts_with("HTTP/1.1 200"));
    for stream in hanging {
        assert_eq!(rest(stream).await, "");
    }
}

#[tokio::test]
async fn probes_are_answered_while_more_clients_hang_than_may_connect() {
    let address = served(Limits { connections: 8, head: NEVER, request: NEVER }).await;
    let slow_probe = connect(2, address).await;
    for _ in 0..10 {
        let hanging = half_open(3, address, 20).await;
        // From an address of its own, as the kubelet, and from the address that hangs.
        for client in [4, 3] {
            assert!(request(connect(client, address).await, "/healthz").await.starts_with("HTTP/1.1 200"));
        }
        let closed = join_all(hanging.into_iter().take(13).map(rest)).await;
        assert!(closed.iter().all(String::is_empty), "the oldest ones make room");
    }
    assert!(request(slow_probe, "/readyz").await.starts_with("HTTP/1.1 200"), "another client loses no connection");
}

#[tokio::test]
async fn a_request_is_bounded_in_time_and_in_size_and_ends_its_connection() {
    let (listener, address) = listen().await;
    let app = Router::new().route("/", get(|| async { "ok" })).route("/stuck", get(std::future::pending::<()>));
    let limits = Limits { connections: 8, head: NEVER, request: Duration::from_millis(300) };
    tokio::spawn(server::serve(listener, app, limits, None));
    assert_eq!(request(connect(1, address).await, "/stuck").await, "");
    let long = format!("/{}", "x".repeat(100 * 1024));
    assert!(!request(connect(1, address).await, &long).await.starts_with("HTTP/1.1 2"));
    assert!(request(connect(1, address).await, "/").await.contains("connection: close"));
}

#[tokio::test]
async fn a_fleet_is_reconciled_while_clients_flood_the_port() {
    let scene = Scene::new().await;
    let (listener, address) = listen().await;
    drop(listener);
    let config = Config { metrics_addr: address, ..scene.config() };
    let _controller = Controller::start(config, scene.connection(), |client| client).await;
    scene.create::<WorkerFleet>("before", spec(&scene, 0, json!({}))).await;
    wait_settled(&scene, "before", 0).await;
    let hanging = half_open(3, address, 500).await;
    scene.create::<WorkerFleet>("during", spec(&scene, 2, json!({}))).await;
    wait_settled(&scene, "during", 2).await;
    assert!(request(connect(1, address).await, "/metrics").await.contains("muster_leading 1"));
    drop(hanging);
}
