//! The bucket: uploads and what is derived from them.
//!
//! Keys are made by [`docuchat_domain::document::keys`] only, and all of them begin with the tenant's prefix.

use crate::failure::failure;
use aws_config::SdkConfig;
use aws_credential_types::{Credentials, provider::ProvideCredentials as _};
use aws_sdk_s3::{
    Client,
    config::{Builder, timeout::TimeoutConfig},
    error::SdkError,
    primitives::ByteStream,
};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use docuchat_domain::{Error, Kind, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

/// One bucket.
#[derive(Debug, Clone)]
pub struct Objects {
    client: Client,
    bucket: String,
    region: String,
    /// Set for an emulator, which knows buckets by path and not by host name.
    endpoint: Option<String>,
    config: SdkConfig,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its size in bytes.
    pub size: u64,
}

/// A form that uploads exactly one object.
#[derive(Debug, Clone, Copy)]
pub struct UploadForm<'a> {
    /// Where the object goes.
    pub key: &'a str,
    /// Its media type, to be sent unchanged.
    pub content_type: &'a str,
    /// Its largest size in bytes; S3 itself refuses more, and refuses nothing at all.
    pub max_bytes: u64,
    /// How long the form is valid, in seconds.
    pub seconds: u32,
}

/// Where to post a file to and the fields that go before it
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PresignedPost {
    /// The address.
    pub url: String,
    /// The fields, in any order, before the field `file`.
    pub fields: BTreeMap<String, String>,
}

impl Objects {
    /// A client for a bucket.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: impl Into<String>) -> Self {
        let endpoint = config.endpoint_url().map(|url| url.trim_end_matches('/').to_owned());
        // 25 MB, or an artifact of several times that, may take longer than a call to a database.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(Duration::from_mins(1))
            .build();
        let client =
            Builder::from(config).force_path_style(endpoint.is_some()).timeout_config(timeouts).build();
        Self {
            client: Client::from_conf(client),
            bucket: bucket.into(),
            region: config.region().map_or_else(|| "us-east-1".to_owned(), ToString::to_string),
            endpoint,
            config: config.clone(),
        }
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Writes an object, whole or not at all.
    pub async fn put(&self, key: &str, content_type: &str, body: Vec<u8>) -> Result<()> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(content_type)
            .body(ByteStream::from(body))
            .send()
            .await
            .map_err(|e| failure("writing an object", e))?;
        Ok(())
    }

    /// Reads an object, whole. One above `max_bytes` is an error of kind [`Kind::TooLarge`] with the code
    /// `file_too_large`, and no more than its head is read.
    pub async fn get(&self, key: &str, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let sent = self.client.get_object().bucket(&self.bucket).key(key).send().await;
        let object = match sent {
            Ok(object) => object,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failure("reading an object", error)),
        };
        let size = object.content_length.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
        if size > max_bytes {
            let detail = format!("The file is larger than {} MB.", max_bytes / (1024 * 1024));
            return Err(Error::new(Kind::TooLarge, "file_too_large", detail));
        }
        // A connection that breaks in the middle is worth another try.
        let bytes =
            object.body.collect().await.map_err(|e| Error::unavailable("reading an object's body", e))?;
        Ok(Some(bytes.to_vec()))
    }

    /// Reads the first `count` bytes of an object, or all of a shorter one.
    pub async fn get_start(&self, key: &str, count: u32) -> Result<Option<Vec<u8>>> {
        let range = format!("bytes=0-{}", count.saturating_sub(1));
        let sent = self.client.get_object().bucket(&self.bucket).key(key).range(range).send().await;
        let object = match sent {
            Ok(object) => object,
            Err(error) if is_missing(&error) => return Ok(None),
            // 416: an empty object has no first byte.
            Err(error) if error.raw_response().is_some_and(|r| r.status().as_u16() == 416) => {
                return Ok(None);
            }
            Err(error) => return Err(failure("reading the start of an object", error)),
        };
        let bytes =
            object.body.collect().await.map_err(|e| Error::unavailable("reading an object's body", e))?;
        Ok(Some(bytes.to_vec()))
    }

    /// Looks at an object without reading it.
    pub async fn head(&self, key: &str) -> Result<Option<Head>> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(head) => {
                let size = head.content_length.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                Ok(Some(Head { size }))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failure("looking at an object", error)),
        }
    }

    /// Removes an object; one that is not there counts as removed.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.client
            .delete_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .map_err(|e| failure("deleting an object", e))?;
        Ok(())
    }

    /// Removes every object under a prefix, which must end with a slash, and says how many there were.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<u64> {
        if !prefix.ends_with('/') {
            // `derived/a` would take `derived/ab` with it.
            return Err(Error::internal("deleting by prefix", "the prefix does not end with a slash"));
        }
        let mut removed = 0;
        // Always the first page: what was on it is gone after the round, and a listing is consistent.
        loop {
            let page = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(prefix)
                .send()
                .await
                .map_err(|e| failure("listing objects", e))?;
            let keys: Vec<_> =
                page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect();
            if keys.is_empty() {
                return Ok(removed);
            }
            // A document has a handful of objects: single deletions need no checksums and say what failed.
            for key in keys {
                self.delete(&key).await?;
                removed += 1;
            }
        }
    }

    /// Signs a form that uploads one object, and nothing else.
    ///
    /// On AWS the address is the bucket's own host in its region: the global one would redirect, and a browser does not
    /// repeat a form with a file.
    pub async fn presign_post(&self, form: UploadForm<'_>, now: Timestamp) -> Result<PresignedPost> {
        let provider = self
            .config
            .credentials_provider()
            .ok_or_else(|| Error::internal("signing a form", "no credentials"))?;
        let credentials =
            provider.provide_credentials().await.map_err(|e| Error::internal("signing a form", e))?;
        Ok(PresignedPost {
            url: post_url(&self.bucket, &self.region, self.endpoint.as_deref()),
            fields: signed_fields(form, &self.bucket, &self.region, &credentials, now),
        })
    }
}

fn is_missing<E>(error: &SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>) -> bool {
    error.raw_response().is_some_and(|response| response.status().as_u16() == 404)
}

fn post_url(bucket: &str, region: &str, endpoint: Option<&str>) -> String {
    if let Some(endpoint) = endpoint {
        return format!("{endpoint}/{bucket}");
    }
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://{bucket}.s3.{region}.{suffix}/")
}

fn signed_fields(
    form: UploadForm<'_>,
    bucket: &str,
    region: &str,
    credentials: &Credentials,
    now: Timestamp,
) -> BTreeMap<String, String> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = now.strftime("%Y%m%d").to_string();
    let mut fields = BTreeMap::from([
        ("key".to_owned(), form.key.to_owned()),
        ("Content-Type".to_owned(), form.content_type.to_owned()),
        ("x-amz-algorithm".to_owned(), "AWS4-HMAC-SHA256".to_owned()),
        (
            "x-amz-credential".to_owned(),
            format!("{}/{day}/{region}/s3/aws4_request", credentials.access_key_id()),
        ),
        ("x-amz-date".to_owned(), stamp),
    ]);
    if let Some(token) = credentials.session_token() {
        fields.insert("x-amz-security-token".to_owned(), token.to_owned());
    }
    let mut conditions =
        vec![json!({ "bucket": bucket }), json!(["content-length-range", 1, form.max_bytes])];
    // Each field exactly as given: S3 refuses a form with a field that no condition names.
    conditions.extend(fields.iter().map(|(name, value)| json!(["eq", format!("${name}"), value])));
    let expires =
        now.saturating_add(SignedDuration::from_secs(i64::from(form.seconds))).unwrap_or(Timestamp::MAX);
    let policy = json!({
        "expiration": expires.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string(),
        "conditions": conditions,
    });
    let policy = BASE64_STANDARD.encode(policy.to_string());
    fields.insert(
        "x-amz-signature".to_owned(),
        sign_policy(&policy, credentials.secret_access_key(), region, now),
    );
    fields.insert("policy".to_owned(), policy);
    fields
}

/// The signature of a base64-encoded policy: for a form, that text itself is the string to sign.
fn sign_policy(policy: &str, secret: &str, region: &str, now: Timestamp) -> String {
    calculate_signature(generate_signing_key(secret, now.into(), region, "s3"), policy.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html>, byte by byte.
    #[test]
    fn the_signature_is_that_of_the_published_example() {
        let policy = [
            r#"{ "expiration": "2015-12-30T12:00:00.000Z","#,
            r#"  "conditions": ["#,
            r#"    {"bucket": "sigv4examplebucket"},"#,
            r#"    ["starts-with", "$key", "user/user1/"],"#,
            r#"    {"acl": "public-read"},"#,
            r#"    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},"#,
            r#"    ["starts-with", "$Content-Type", "image/"],"#,
            r#"    {"x-amz-meta-uuid": "14365123651274"},"#,
            r#"    {"x-amz-server-side-encryption": "AES256"},"#,
            r#"    ["starts-with", "$x-amz-meta-tag", ""],"#,
            "",
            r#"    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},"#,
            r#"    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},"#,
            r#"    {"x-amz-date": "20151229T000000Z" }"#,
            "  ]",
            "}",
        ]
        .join("\r\n");
        let signature = sign_policy(
            &BASE64_STANDARD.encode(policy),
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "us-east-1",
            "2015-12-29T00:00:00Z".parse().unwrap(),
        );
        assert_eq!(signature, "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e");
    }

    #[test]
    fn the_policy_pins_every_field() {
        let form = UploadForm {
            key: "uploads/t/d/گزارش.pdf",
            content_type: "application/pdf",
            max_bytes: 26_214_400,
            seconds: 3600,
        };
        let credentials = Credentials::new("AKID", "secret", Some("session".to_owned()), None, "test");
        let now = "2026-01-31T23:30:00.123456Z".parse().unwrap();
        let fields = signed_fields(form, "docs", "eu-central-1", &credentials, now);
        assert_eq!(fields["x-amz-date"], "20260131T233000Z");
        assert_eq!(fields["x-amz-credential"], "AKID/20260131/eu-central-1/s3/aws4_request");
        let policy: serde_json::Value =
            serde_json::from_slice(&BASE64_STANDARD.decode(&fields["policy"]).unwrap()).unwrap();
        assert_eq!(policy["expiration"], "2026-02-01T00:30:00.000Z");
        let conditions = policy["conditions"].as_array().unwrap();
        for expected in [
            json!({"bucket": "docs"}),
            json!(["content-length-range", 1, 26_214_400]),
            json!(["eq", "$key", "uploads/t/d/گزارش.pdf"]),
            json!(["eq", "$Content-Type", "application/pdf"]),
            json!(["eq", "$x-amz-security-token", "session"]),
        ] {
            assert!(conditions.contains(&expected), "{expected}");
        }
        assert_eq!(fields["x-amz-signature"], sign_policy(&fields["policy"], "secret", "eu-central-1", now));
    }

    #[test]
    fn addresses() {
        assert_eq!(post_url("docs", "eu-central-1", None), "https://docs.s3.eu-central-1.amazonaws.com/");
        assert_eq!(
            post_url("docs", "us-east-1", Some("http://127.0.0.1:4566")),
            "http://127.0.0.1:4566/docs"
        );
    }
}
