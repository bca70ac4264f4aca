//! One way to make HTTP clients: plain HTTP to this machine, so no trust roots are loaded.

use std::time::Duration;

use crate::error::{Context, Result};

/// A client without a total time-out: answers may stream for minutes.
pub(crate) fn client() -> Result<reqwest::Client> {
    // The workspace builds reqwest without a default TLS provider; installing one twice is harmless.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .tls_certs_only(std::iter::empty())
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        .build()
        .context(|| "Could not make an HTTP client")
}
