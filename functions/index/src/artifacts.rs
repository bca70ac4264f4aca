//! Artifacts in S3.

use crate::write::{Artifacts, Body};
use aws_sdk_s3::{Client, error::SdkError, operation::get_object::GetObjectError};
use docuchat_domain::{Error, Result};
use futures_util::{StreamExt, stream};

/// Reads objects of S3, piece by piece.
#[derive(Debug, Clone)]
pub struct S3Artifacts(Client);

impl S3Artifacts {
    /// With the process's configuration.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig) -> Self {
        // The emulator knows buckets by path; on AWS both spellings work.
        let config = aws_sdk_s3::config::Builder::from(config).force_path_style(true).build();
        Self(Client::from_conf(config))
    }
}

impl Artifacts for S3Artifacts {
    async fn open(&self, bucket: &str, key: &str) -> Result<Option<Body>> {
        let object = match self.0.get_object().bucket(bucket).key(key).send().await {
            Ok(object) => object,
            Err(SdkError::ServiceError(error)) if matches!(error.err(), GetObjectError::NoSuchKey(_)) => {
                return Ok(None);
            }
            Err(error) => return Err(Error::unavailable("opening the artifact", error)),
        };
        let pieces = stream::unfold(object.body, |mut body| async move {
            let piece = body.next().await?;
            Some((piece.map_err(|error| Error::unavailable("reading the artifact", error)), body))
        });
        Ok(Some(pieces.boxed()))
    }
}
