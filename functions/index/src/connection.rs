//! One connection per sandbox, made on first use and made again when it breaks.
//!
//! On a machine of one's own: a URL with a password, no TLS. On AWS: TLS against the regional roots of Amazon RDS and, for
//! the application's role, an IAM token instead of a password
//! (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html>).

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use docuchat_domain::{Clock, Error, Result};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use std::{ops::DerefMut, sync::Arc, time::Duration};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::{Client, Config, NoTls, config::SslMode, error::SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The roots of Amazon RDS in all commercial regions, as concatenated DER; `assets/README.md` says where they are from.
const RDS_ROOTS: &[u8] = include_bytes!("../assets/rds-roots.der");

/// Aurora Serverless v2 takes up to 15 seconds to resume from a pause.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(18);

/// A sandbox that was frozen may wake up with a connection whose other end is gone without a word.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(4);

/// How long RDS accepts a token for a new connection; the connection itself may live longer.
const TOKEN_LIFETIME: Duration = Duration::from_mins(15);

/// Who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `docuchat_app`, which row-level security applies to: for everything but migrations.
    App,
    /// The owner of the schema: for `index-migrate` only.
    Admin,
}

/// Where the database is and how to log in.
#[derive(Debug, Clone)]
pub struct Settings {
    config: Config,
    login: Login,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Login {
    /// The password is in the configuration; no TLS.
    Plain,
    /// The password is in the configuration; TLS.
    Password,
    /// A token is signed for every new connection; TLS.
    Iam,
}

impl Settings {
    /// Reads the settings of `role` from the environment.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_env(role: Role) -> Result<Self> {
        Self::from_lookup(role, |name| std::env::var(name).ok())
    }

    /// As [`Settings::from_env`], from any source of variables. An empty value counts as a missing one.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_lookup(role: Role, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = |name: &'static str| lookup(name).filter(|value| !value.is_empty());
        let require = |name: &'static str| get(name).ok_or_else(|| setting(name, "is not set"));
        let url_name = match role {
            Role::App => "DATABASE_URL",
            Role::Admin => "DATABASE_ADMIN_URL",
        };
        let (mut config, login) = if let Some(url) = get(url_name) {
            // The parser's own message is left out: it can quote the URL, and the password with it.
            let config = url.parse::<Config>().map_err(|_| {
                setting(url_name, "is not of the form postgres://user:password@host:port/database")
            })?;
            (config, Login::Plain)
        } else {
            let mut config = Config::new();
            config.host(require("DATABASE_HOST")?).ssl_mode(SslMode::Require);
            config.dbname(get("DATABASE_NAME").unwrap_or_else(|| "docuchat".into()));
            let port = get("DATABASE_PORT").unwrap_or_else(|| "5432".into());
            config.port(port.parse().map_err(|_| setting("DATABASE_PORT", "is not a port number"))?);
            match role {
                Role::App => {
                    config.user(get("DATABASE_USER").unwrap_or_else(|| "docuchat_app".into()));
                    (config, Login::Iam)
                }
                Role::Admin => {
                    config
                        .user(require("DATABASE_ADMIN_USER")?)
                        .password(require("DATABASE_ADMIN_PASSWORD")?);
                    (config, Login::Password)
                }
            }
        };
        config
            .application_name("docuchat")
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(UNACKNOWLEDGED_TIMEOUT)
            .keepalives_idle(Duration::from_secs(30));
        Ok(Self { config, login })
    }
}

fn setting(name: &str, problem: &str) -> Error {
    Error::internal("reading the settings", format!("{name} {problem}"))
}

/// The database of one sandbox.
#[derive(Debug)]
pub struct Database {
    settings: Settings,
    clock: Arc<dyn Clock>,
    connection: Mutex<Option<Client>>,
}

impl Database {
    /// Does not connect yet.
    #[must_use]
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self { settings, clock, connection: Mutex::new(None) }
    }

    /// Where it is and how it is logged in to.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Begins to connect while the runtime asks for its first event. Whoever needs the connection first waits for it.
    pub fn warm(self: &Arc<Self>) {
        let database = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = database.session().await {
                // The first invocation tries again and reports.
                tracing::debug!(error = error.chain(), "could not connect in advance");
            }
        });
    }

    /// The connection, for one caller at a time; opens it if there is none or the last one broke.
    ///
    /// # Errors
    /// Unavailable if the server cannot be reached or refuses the login.
    pub async fn session(&self) -> Result<Session<'_>> {
        let mut guard = self.connection.lock().await;
        if guard.as_ref().is_none_or(Client::is_closed) {
            *guard = Some(connect(&self.settings, &*self.clock).await?);
        }
        Ok(Session(guard))
    }
}

/// The connection while it is in use.
#[derive(Debug)]
pub struct Session<'a>(MutexGuard<'a, Option<Client>>);

impl Session<'_> {
    /// The client.
    ///
    /// # Errors
    /// Only after [`Session::discard`].
    pub fn client(&mut self) -> Result<&mut Client> {
        self.0
            .deref_mut()
            .as_mut()
            .ok_or_else(|| Error::unavailable("using the database", "the connection was given up"))
    }

    /// Closes the connection; the next session opens another.
    pub fn discard(mut self) {
        *self.0 = None;
    }
}

/// Whether the connection itself is at fault, so that the same transaction is worth one more try on a new one.
#[must_use]
pub fn is_broken(error: &tokio_postgres::Error) -> bool {
    let shut_down = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
    match error.code() {
        Some(code) => shut_down.contains(code) || code.code().starts_with("08"),
        // No code: not an answer of the server. Closed and I/O errors are; conversion errors have another cause.
        None => {
            error.is_closed()
                || std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
        }
    }
}

/// Sorts a database error: time-outs, lock conflicts and lost connections may pass, anything else is a defect.
#[must_use]
pub fn failure(what: &'static str, error: tokio_postgres::Error) -> Error {
    let transient = is_broken(&error)
        || error.code().is_some_and(|code| {
            // Transaction rollback (deadlock, serialization), insufficient resources, operator intervention, lock.
            ["40", "53", "57", "55"].iter().any(|class| code.code().starts_with(class))
        });
    // The driver's own text says no more than "db error".
    let detail = error.as_db_error().map(|db| format!("{} ({})", db.message(), db.code().code()));
    match (transient, detail) {
        (true, Some(detail)) => Error::unavailable(what, detail),
        (true, None) => Error::unavailable(what, error),
        (false, Some(detail)) => Error::internal(what, detail),
        (false, None) => Error::internal(what, error),
    }
}

/// Opens a connection and keeps it served on a task of its own.
///
/// # Errors
/// Unavailable if the server cannot be reached or refuses the login.
pub async fn connect(settings: &Settings, clock: &dyn Clock) -> Result<Client> {
    match settings.login {
        Login::Plain => open(&settings.config, NoTls).await,
        Login::Password => open(&settings.config, tls(&region()?)?).await,
        Login::Iam => {
            let region = region()?;
            let credentials = EnvironmentVariableCredentialsProvider::new()
                .provide_credentials()
                .await
                .map_err(|error| Error::internal("reading the credentials", error))?;
            let mut config = settings.config.clone();
            config.password(token(&config, &region, credentials, clock)?);
            open(&config, tls(&region)?).await
        }
    }
}

async fn open<T>(config: &Config, tls: T) -> Result<Client>
where
    T: tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await.map_err(|error| {
        let detail = error.as_db_error().map(|db| format!("{} ({})", db.message(), db.code().code()));
        match detail {
            Some(detail) => Error::unavailable("connecting to the database", detail),
            None => Error::unavailable("connecting to the database", error),
        }
    })?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            // The statement that meets it reports the error; here it is only worth a trace.
            tracing::debug!(%error, "the database connection ended");
        }
    });
    Ok(client)
}

fn region() -> Result<String> {
    std::env::var("AWS_REGION").map_err(|_| setting("AWS_REGION", "is not set"))
}

/// TLS that trusts the RDS roots of this region and nothing else.
fn tls(region: &str) -> Result<MakeRustlsConnect> {
    let mut roots = RootCertStore::empty();
    for certificate in rds_roots(region) {
        roots.add(certificate).map_err(|error| Error::internal("reading the RDS roots", error))?;
    }
    if roots.is_empty() {
        let problem =
            format!("no RDS root certificates for region {region}: add them to functions/index/assets");
        return Err(Error::internal("reading the RDS roots", problem));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("setting up TLS", error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// The certificates whose name begins `Amazon RDS <region> Root CA`: three of 81, which keeps start-up short.
fn rds_roots(region: &str) -> Vec<CertificateDer<'static>> {
    let name = format!("Amazon RDS {region} Root CA ");
    let mut found = Vec::new();
    let mut rest = RDS_ROOTS;
    // Each certificate is a DER sequence with a two-byte length: 30 82 hi lo.
    while let [0x30, 0x82, high, low, ..] = rest {
        let length = 4 + usize::from(u16::from_be_bytes([*high, *low]));
        let Some((certificate, after)) = rest.split_at_checked(length) else { break };
        if certificate.windows(name.len()).any(|window| window == name.as_bytes()) {
            found.push(CertificateDer::from(certificate));
        }
        rest = after;
    }
    found
}

/// The password for an IAM login: a presigned `rds-db:connect` request without its scheme.
fn token(config: &Config, region: &str, credentials: Credentials, clock: &dyn Clock) -> Result<String> {
    let what = "signing the database token";
    let Some(tokio_postgres::config::Host::Tcp(host)) = config.get_hosts().first() else {
        return Err(setting("DATABASE_HOST", "is not a host name"));
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let user = config.get_user().unwrap_or_default();
    let time = clock.now().into();

    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(TOKEN_LIFETIME);
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("rds-db")
        .time(time)
        .settings(settings)
        .build()
        .map_err(|error| Error::internal(what, error))?
        .into();
    let url = format!("https://{host}:{port}/?Action=connect&DBUser={user}");
    let signable = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))
        .map_err(|error| Error::internal(what, error))?;
    let (instructions, _) =
        sign(signable, &params).map_err(|error| Error::internal(what, error))?.into_parts();
    let mut request =
        http::Request::builder().uri(&url).body(()).map_err(|error| Error::internal(what, error))?;
    instructions.apply_to_request_http1x(&mut request);
    Ok(request.uri().to_string().trim_start_matches("https://").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use docuchat_domain::FixedClock;
    use std::collections::HashMap;

    fn settings(role: Role, variables: &[(&str, &str)]) -> Result<Settings> {
        let variables: HashMap<_, _> =
            variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::from_lookup(role, |name| variables.get(name).cloned())
    }

    #[test]
    fn a_url_means_a_password_and_no_tls() {
        let settings = settings(Role::App, &[("DATABASE_URL", "postgres://u:p@127.0.0.1:5433/d")]).unwrap();
        assert_eq!(settings.login, Login::Plain);
        assert_eq!(settings.config.get_password(), Some(b"p".as_slice()));
    }

    #[test]
    fn a_host_means_tls_and_a_token_or_the_master_password() {
        let app = settings(Role::App, &[("DATABASE_HOST", "db"), ("DATABASE_URL", "")]).unwrap();
        assert_eq!((app.login, app.config.get_ssl_mode()), (Login::Iam, SslMode::Require));
        assert_eq!(
            (app.config.get_user(), app.config.get_dbname()),
            (Some("docuchat_app"), Some("docuchat"))
        );
        let variables =
            [("DATABASE_HOST", "db"), ("DATABASE_ADMIN_USER", "root"), ("DATABASE_ADMIN_PASSWORD", "secret")];
        let admin = settings(Role::Admin, &variables).unwrap();
        assert_eq!((admin.login, admin.config.get_ssl_mode()), (Login::Password, SslMode::Require));
    }

    #[test]
    fn a_wrong_setting_is_named_and_a_password_is_not_repeated() {
        type Variables = &'static [(&'static str, &'static str)];
        let cases: [(Role, Variables, &str); 4] = [
            (Role::App, &[], "DATABASE_HOST"),
            (Role::Admin, &[("DATABASE_HOST", "db")], "DATABASE_ADMIN_USER"),
            (Role::App, &[("DATABASE_HOST", "db"), ("DATABASE_PORT", "x")], "DATABASE_PORT"),
            (Role::App, &[("DATABASE_URL", "postgres://u:hunter2@h:port/d")], "DATABASE_URL"),
        ];
        for (role, variables, name) in cases {
            let message = settings(role, variables).unwrap_err().chain();
            assert!(message.contains(name), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn every_region_has_its_three_roots() {
        for region in ["us-east-1", "eu-central-1", "me-south-1", "ap-southeast-4"] {
            assert_eq!(rds_roots(region).len(), 3, "{region}");
            assert!(tls(region).is_ok(), "{region}");
        }
        let Err(error) = tls("xx-none-1") else { panic!("a region that does not exist has no roots") };
        assert!(error.chain().contains("xx-none-1"), "{}", error.chain());
    }

    #[test]
    fn a_token_is_a_presigned_request_without_its_scheme() {
        let credentials =
            Credentials::new("AKIDEXAMPLE", "secret", Some("session/token".into()), None, "test");
        let clock = FixedClock::at("2026-01-02T03:04:05Z");
        let settings = settings(Role::App, &[("DATABASE_HOST", "db.example.com")]).unwrap();
        let token = token(&settings.config, "eu-west-1", credentials, &clock).unwrap();
        assert!(
            token.starts_with("db.example.com:5432/?Action=connect&DBUser=docuchat_app&X-Amz-"),
            "{token}"
        );
        for part in [
            "20260102%2Feu-west-1%2Frds-db%2Faws4_request",
            "X-Amz-Date=20260102T030405Z",
            "X-Amz-Expires=900",
            "X-Amz-SignedHeaders=host&",
            "X-Amz-Security-Token=session%2Ftoken",
            "X-Amz-Signature=",
        ] {
            assert!(token.contains(part), "{part} in {token}");
        }
    }
}
