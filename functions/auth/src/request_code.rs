//! `POST /v1/auth/request-code`: mails a sign-in code.
//!
//! | status | code | when |
//! |---|---|---|
//! | 200 | | for every address, whether a code was mailed or not |
//! | 400 | `missing_tenant`, `invalid_tenant` | the tenant header |
//! | 400 | `invalid_field`, `malformed_json`, `invalid_email` | the body |
//! | 403 | `tenant_suspended` | the tenant is locked |
//! | 404 | `tenant_not_found` | there is no such tenant |
//!
//! Nobody learns here who is a user. Every address gets the same answer after the same reads and the same write; only
//! the mail makes a difference, and its time is hidden: see [`ANSWER_STEP`].

use crate::{code, mail, verify_code::active};
use docuchat_aws::{codes::Codes, identity::Identity, mail::Mailer};
use docuchat_domain::{Clock as _, Error, Result, SystemClock, SystemEntropy, tenant::Email};
use docuchat_kit::{
    Env, RuntimeError, identity, logs,
    rest::{Call, Reply},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;

/// An answer leaves at a whole multiple of this time after its request came, mail or no mail.
///
/// Lambda freezes a function once it has answered, so the mail must be sent before. SES takes 50 to 150 ms, with the
/// first connection of a sandbox some 100 ms more: one step covers that with room to spare, and a rare slower mail shows
/// as one more step instead of as its exact time. The caller waits for a mail anyway.
pub const ANSWER_STEP: Duration = Duration::from_millis(400);

/// The body of the request. Without `Debug`: it holds an address.
#[derive(Deserialize)]
struct Request {
    /// Where the code shall go.
    email: String,
}

/// The body of the answer.
#[derive(Debug, Serialize)]
pub struct Response {
    /// Always the same sentence.
    pub message: &'static str,
}

/// What the route needs.
#[derive(Debug)]
pub struct RequestCode {
    identity: Identity,
    codes: Codes,
    mailer: Mailer,
}

impl RequestCode {
    /// From `IDENTITY_TABLE`, `CODES_TABLE`, `CODE_SECRET` and `MAIL_FROM`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let config = docuchat_aws::config();
        Ok(Self {
            identity: Identity::new(&config, env.required("IDENTITY_TABLE")?),
            codes: Codes::new(&config, env.required("CODES_TABLE")?, env.secret("CODE_SECRET")?.reveal())?,
            mailer: Mailer::new(&config, env.required("MAIL_FROM")?),
        })
    }

    /// Answers one request.
    pub async fn handle(&self, call: Call) -> Result<Reply> {
        let began = Instant::now();
        let result = self.request(&call).await;
        tokio::time::sleep_until(answer_at(began, Instant::now())).await;
        result
    }

    async fn request(&self, call: &Call) -> Result<Reply> {
        let tenant_id = identity::tenant(call)?;
        logs::note("tenant_id", tenant_id.to_string());
        let email = Email::parse(&call.json::<Request>()?.email)?;

        // Boxed like every pair of SDK calls: each is a state machine of some 10 KB.
        let reads = Box::pin(async {
            tokio::join!(self.identity.tenant(tenant_id), self.identity.user_id_by_email(tenant_id, &email))
        });
        let (tenant, user) = logs::timed("db_ms", reads).await;
        let tenant = active(tenant?)?;
        let welcome = user?.is_some() || tenant.admits(&email);

        // Made and stored for strangers as well: the same work, and a code that nobody is told opens nothing.
        let code = code::generate(&SystemEntropy);
        let issue = self.codes.issue(tenant_id, &email, &code, SystemClock.now());
        let within_limit = logs::timed("db_ms", issue).await?;
        if welcome && within_limit {
            self.send(&email, &code).await;
        }
        Reply::json(200, &Response { message: "Verification code sent" })
    }

    /// A mail that cannot be sent is an alarm for us. The caller is not told, for a stranger would never see that error.
    async fn send(&self, email: &Email, code: &str) {
        let sent = logs::timed("mail_ms", self.mailer.send(email, mail::SUBJECT, &mail::text(code))).await;
        logs::note("mail_sent", sent.is_ok());
        if let Err(error) = sent {
            tracing::error!(error = without_address(&error, email), "the mail was not sent");
        }
    }
}

/// The error for the log. SES quotes the address in some of its messages; one that is not ASCII may stand there in an
/// escaped form, so then only the class of the error is kept.
fn without_address(error: &Error, email: &Email) -> String {
    if email.as_str().is_ascii() { error.chain().replace(email.as_str(), "***") } else { error.to_string() }
}

/// The end of the step that has begun.
fn answer_at(began: Instant, done: Instant) -> Instant {
    let steps = done.duration_since(began).as_nanos().div_ceil(ANSWER_STEP.as_nanos()).max(1);
    began + ANSWER_STEP * u32::try_from(steps).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_at_whole_steps() {
        let began = Instant::now();
        let after = |millis| {
            answer_at(began, began + Duration::from_millis(millis)).duration_since(began).as_millis()
        };
        assert_eq!([after(0), after(1), after(399), after(400)], [400, 400, 400, 400]);
        assert_eq!([after(401), after(900)], [800, 1200]);
    }

    #[test]
    fn the_body_of_the_answer() {
        let body = serde_json::to_value(Response { message: "Verification code sent" }).unwrap();
        assert_eq!(body, serde_json::json!({ "message": "Verification code sent" }));
    }

    #[test]
    fn the_log_holds_no_address() {
        let email = Email::parse("sara@example.com").unwrap();
        let error = Error::internal("sending a mail", "MessageRejected: sara@example.com is not verified");
        let logged = without_address(&error, &email);
        assert!(logged.contains("MessageRejected: *** is not verified"), "{logged}");
        let escaped = Error::internal("sending a mail", "b\"s\\xc3\\xa1ra@example.com\"");
        let logged = without_address(&escaped, &Email::parse("sára@example.com").unwrap());
        assert!(!logged.contains("example.com"), "{logged}");
    }
}
