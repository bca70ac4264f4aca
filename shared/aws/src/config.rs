//! One SDK configuration for all clients of a function.
//!
//! Built by hand instead of by the default loader, which costs milliseconds at every cold start: Lambda always gives
//! region and credentials by environment, and the pinned Amazon roots spare reading the system's certificates.

use aws_config::{BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use std::time::Duration;

/// Amazon Root CA 1-4 and the Starfield root, which sign every AWS endpoint
/// (<https://www.amazontrust.com/repository/>).
const ROOTS: &[u8] = include_bytes!("../assets/amazon-roots.pem");

/// The configuration of this process: region, credentials and an optional endpoint (`AWS_ENDPOINT_URL`) from the
/// environment, three attempts, two seconds to connect and ten per attempt.
#[must_use]
pub fn config() -> SdkConfig {
    config_with(
        TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(Duration::from_secs(10))
            .build(),
        3,
    )
}

/// As [`config`], for calls that may take as long as the called function runs: no attempt time-out but the given one,
/// and no repetition, because the caller decides what may run twice.
#[must_use]
pub fn config_for_long_calls(limit: Duration) -> SdkConfig {
    config_with(
        TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(limit)
            .build(),
        1,
    )
}

fn config_with(timeouts: TimeoutConfig, attempts: u32) -> SdkConfig {
    let region = std::env::var("AWS_REGION").or_else(|_| std::env::var("AWS_DEFAULT_REGION"));
    let mut builder = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.unwrap_or_else(|_| "us-east-1".into())))
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(
            EnvironmentVariableCredentialsProvider::new(),
        ))
        .retry_config(RetryConfig::standard().with_max_attempts(attempts))
        .timeout_config(timeouts)
        .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(TokioSleep::new()))
        .http_client(http_client());
    if let Some(endpoint) = std::env::var("AWS_ENDPOINT_URL").ok().filter(|url| !url.is_empty()) {
        builder = builder.endpoint_url(endpoint);
    }
    builder.build()
}

fn http_client() -> SharedHttpClient {
    let roots = TrustStore::empty().with_native_roots(false).with_pem_certificate(ROOTS);
    match TlsContext::builder().with_trust_store(roots).build() {
        Ok(context) => Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context)
            .build_https(),
        // The roots are part of the binary, so this cannot happen; without TLS every https call fails with its own error.
        Err(_) => Builder::new().build_http(),
    }
}
