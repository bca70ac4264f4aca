//! The server as a value, so that a test can start one in its own process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::serve::ListenerExt;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    engine::Engine,
    http::{Fault, Shared, Stats, router},
};

/// How long connections may finish their answers when the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// Settings of a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Address to listen on; port 0 takes a free one.
    pub address: SocketAddr,
    /// Pause between two pieces of a streamed answer.
    pub token_delay: Duration,
}

impl Default for ServerOptions {
    /// A free port of this machine, no pause.
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), token_delay: Duration::ZERO }
    }
}

/// A running server. Dropping it stops it without waiting; [`Server::stop`] waits.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens and answers in a task of the current runtime. The error names the address.
    pub async fn start(engine: Engine, options: ServerOptions) -> std::io::Result<Self> {
        let listener = TcpListener::bind(options.address).await.map_err(|error| {
            std::io::Error::new(error.kind(), format!("cannot listen on {}: {error}", options.address))
        })?;
        let address = listener.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let shared = Arc::new(Shared::new(engine, options.token_delay, stopping.clone()));
        // Pieces of a stream are small: they must leave at once. A failure costs speed only.
        let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
        let routes = router(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            let mut stopping = stopping;
            let serve = axum::serve(listener, routes).with_graceful_shutdown(async move {
                // An error means that the server's owner is gone: stop as well.
                let _stopped = stopping.wait_for(|stopping| *stopping).await;
            });
            if let Err(error) = serve.await {
                tracing::error!(%error, "the server ended");
            }
        });
        Ok(Self { address, shared, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for clients of the OpenAI interface: `http://127.0.0.1:4570/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Replaces the faults of the routes that these name.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.shared.faults.replace(faults);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// The counts since the start or the last reset.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats.read()
    }

    /// Sets the counts to zero.
    pub fn reset_stats(&self) {
        self.shared.stats.reset();
    }

    /// Takes no new connections, lets answers finish for two seconds, then ends.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
