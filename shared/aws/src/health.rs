//! Whether the stores answer, with the smallest request each has.

use crate::{failure::failure, item::s};
use aws_config::SdkConfig;
use docuchat_domain::Result;

/// Asks a table and a bucket.
#[derive(Debug, Clone)]
pub struct StoreProbe {
    dynamodb: aws_sdk_dynamodb::Client,
    table: String,
    s3: aws_sdk_s3::Client,
    bucket: String,
}

impl StoreProbe {
    /// A probe of the identity table (`IDENTITY_TABLE`) and the bucket (`BUCKET`).
    #[must_use]
    pub fn new(config: &SdkConfig, table: impl Into<String>, bucket: impl Into<String>) -> Self {
        // An endpoint of one's own has no host names for buckets.
        let s3 = aws_sdk_s3::config::Builder::from(config)
            .force_path_style(config.endpoint_url().is_some())
            .build();
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            table: table.into(),
            s3: aws_sdk_s3::Client::from_conf(s3),
            bucket: bucket.into(),
        }
    }

    /// Reads a row that is never there.
    pub async fn table(&self) -> Result<()> {
        self.dynamodb
            .get_item()
            .table_name(&self.table)
            .key("pk", s("health"))
            .key("sk", s("health"))
            .send()
            .await
            .map_err(|e| failure("asking DynamoDB", e))?;
        Ok(())
    }

    /// Asks whether the bucket is there and ours.
    pub async fn bucket(&self) -> Result<()> {
        self.s3.head_bucket().bucket(&self.bucket).send().await.map_err(|e| failure("asking S3", e))?;
        Ok(())
    }
}
