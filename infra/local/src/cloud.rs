//! The emulator's AWS services, as the runner uses them: deploy, invoke, seed.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_cloudformation::{
    error::ProvideErrorMetadata,
    types::{Capability, Parameter, StackStatus},
};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};

use crate::{
    error::{Context, Problem, Result},
    functions::Package,
};

/// Region and account that the emulator assumes when nothing is said.
pub(crate) const REGION: &str = "us-east-1";
/// Access key and secret of the runner.
pub(crate) const ADMIN_KEY: &str = "test";
/// Name of the CloudFormation stack.
const STACK: &str = "docuchat";
/// Bucket for function packages.
const DEPLOY_BUCKET: &str = "docuchat-local-packages";

/// Clients of one emulator.
#[derive(Clone, Debug)]
pub struct Cloud {
    endpoint: String,
    config: SdkConfig,
    cloudformation: aws_sdk_cloudformation::Client,
    dynamodb: aws_sdk_dynamodb::Client,
    lambda: aws_sdk_lambda::Client,
    s3: aws_sdk_s3::Client,
}

/// What the deployment made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deployed {
    /// Outputs of the stack.
    pub outputs: BTreeMap<String, String>,
    /// Physical ids by logical id.
    pub resources: BTreeMap<String, String>,
}

impl Cloud {
    /// Clients for the emulator at this address.
    #[must_use]
    pub fn new(endpoint: &str) -> Self {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(endpoint)
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "test", "test", None, None, "local",
            )))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .sleep_impl(aws_smithy_types_sleep())
            .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_mins(5)).build())
            .build();
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        Self {
            endpoint: endpoint.to_owned(),
            cloudformation: aws_sdk_cloudformation::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            lambda: aws_sdk_lambda::Client::new(&config),
            s3: aws_sdk_s3::Client::from_conf(s3),
            config,
        }
    }

    /// Settings with which a test makes a client of its own.
    #[must_use]
    pub fn sdk_config(&self) -> &SdkConfig {
        &self.config
    }

    /// Uploads the packages that are not there yet and gives their S3 addresses by binary name.
    pub(crate) async fn upload(&self, packages: &[Package]) -> Result<BTreeMap<String, String>> {
        if self.s3.head_bucket().bucket(DEPLOY_BUCKET).send().await.is_err() {
            self.s3
                .create_bucket()
                .bucket(DEPLOY_BUCKET)
                .send()
                .await
                .context(|| "Could not create the bucket for function packages")?;
        }
        let mut addresses = BTreeMap::new();
        for package in packages {
            let key = format!("{}/{}.zip", package.name, package.sha256);
            if self.s3.head_object().bucket(DEPLOY_BUCKET).key(&key).send().await.is_err() {
                let failed = || format!("Could not upload the package of {}", package.name);
                let body = ByteStream::from(std::fs::read(&package.file).context(failed)?);
                self.s3
                    .put_object()
                    .bucket(DEPLOY_BUCKET)
                    .key(&key)
                    .body(body)
                    .send()
                    .await
                    .context(failed)?;
            }
            addresses.insert(package.name.clone(), format!("s3://{DEPLOY_BUCKET}/{key}"));
        }
        Ok(addresses)
    }

    /// Creates the stack or brings it up to date.
    pub(crate) async fn deploy(
        &self,
        template: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Deployed> {
        // By address, because a template in the request may have 51,200 bytes only.
        self.s3
            .put_object()
            .bucket(DEPLOY_BUCKET)
            .key("template.yaml")
            .body(ByteStream::from(template.as_bytes().to_vec()))
            .send()
            .await
            .context(|| "Could not upload the template")?;
        let address = format!("{}/{DEPLOY_BUCKET}/template.yaml", self.endpoint);
        let parameters: Vec<Parameter> = parameters
            .iter()
            .map(|(name, value)| Parameter::builder().parameter_key(name).parameter_value(value).build())
            .collect();
        let capabilities =
            [Capability::CapabilityIam, Capability::CapabilityNamedIam, Capability::CapabilityAutoExpand];
        let mut status = self.status().await?;
        if matches!(
            status,
            Some(
                StackStatus::RollbackComplete
                    | StackStatus::RollbackFailed
                    | StackStatus::CreateFailed
                    | StackStatus::ReviewInProgress
            )
        ) {
            // A stack whose creation failed can only be deleted.
            self.delete().await?;
            status = None;
        }
        let failed = || "The emulator refused template.yaml";
        if status.is_none() {
            self.cloudformation
                .create_stack()
                .stack_name(STACK)
                .template_url(address)
                .set_parameters(Some(parameters))
                .set_capabilities(Some(capabilities.to_vec()))
                .send()
                .await
                .context(failed)?;
        } else {
            let update = self
                .cloudformation
                .update_stack()
                .stack_name(STACK)
                .template_url(address)
                .set_parameters(Some(parameters))
                .set_capabilities(Some(capabilities.to_vec()))
                .send()
                .await;
            match update {
                Ok(_) => {}
                Err(error) if error.message().is_some_and(|text| text.contains("No updates")) => {
                    return self.deployed().await;
                }
                Err(error) => return Err(error).context(failed),
            }
        }
        self.settle().await?;
        self.deployed().await
    }

    /// Deletes the stack with all that it made.
    async fn delete(&self) -> Result<()> {
        self.cloudformation
            .delete_stack()
            .stack_name(STACK)
            .send()
            .await
            .context(|| "The emulator could not delete the stack")?;
        for _ in 0..600 {
            match self.status().await? {
                None | Some(StackStatus::DeleteComplete) => return Ok(()),
                Some(StackStatus::DeleteFailed) => break,
                Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        Err(Problem::new("The emulator could not delete the stack").remedy("Run `cargo local reset`."))
    }

    async fn status(&self) -> Result<Option<StackStatus>> {
        match self.cloudformation.describe_stacks().stack_name(STACK).send().await {
            Ok(answer) => Ok(answer
                .stacks()
                .first()
                .and_then(|stack| stack.stack_status())
                .filter(|status| **status != StackStatus::DeleteComplete)
                .cloned()),
            Err(error) if error.message().is_some_and(|text| text.contains("does not exist")) => Ok(None),
            Err(error) => Err(error).context(|| "The emulator does not answer"),
        }
    }

    /// Waits for the end of a deployment.
    async fn settle(&self) -> Result<()> {
        for _ in 0..3600 {
            match self.status().await? {
                Some(StackStatus::CreateComplete | StackStatus::UpdateComplete) => return Ok(()),
                Some(status) if status.as_str().ends_with("IN_PROGRESS") => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                status => {
                    let reason = self.first_failure().await;
                    let status =
                        status.map_or_else(|| "gone".to_owned(), |status| status.as_str().to_owned());
                    return Err(Problem::new(format!(
                        "template.yaml could not be deployed ({status}): {reason}"
                    ))
                    .remedy("emulator.log in the log folder says more."));
                }
            }
        }
        Err(Problem::new("The deployment did not end within three minutes"))
    }

    async fn first_failure(&self) -> String {
        let Ok(events) = self.cloudformation.describe_stack_events().stack_name(STACK).send().await else {
            return "no reason was given".to_owned();
        };
        // Newest first: the last failure in the list is the one that caused the others.
        let reason = events
            .stack_events()
            .iter()
            .rev()
            .filter(|event| event.resource_status().is_some_and(|status| status.as_str().ends_with("FAILED")))
            .map(|event| {
                format!(
                    "{}: {}",
                    event.logical_resource_id().unwrap_or_default(),
                    event.resource_status_reason().unwrap_or_default()
                )
            })
            .next();
        reason.unwrap_or_else(|| "no reason was given".to_owned())
    }

    async fn deployed(&self) -> Result<Deployed> {
        let failed = || "The emulator could not describe the stack";
        let answer = self.cloudformation.describe_stacks().stack_name(STACK).send().await.context(failed)?;
        let outputs = answer
            .stacks()
            .first()
            .map(aws_sdk_cloudformation::types::Stack::outputs)
            .unwrap_or_default()
            .iter()
            .filter_map(|output| Some((output.output_key()?.to_owned(), output.output_value()?.to_owned())))
            .collect();
        let answer =
            self.cloudformation.describe_stack_resources().stack_name(STACK).send().await.context(failed)?;
        let resources = answer
            .stack_resources()
            .iter()
            .filter_map(|resource| {
                Some((
                    resource.logical_resource_id()?.to_owned(),
                    resource.physical_resource_id()?.to_owned(),
                ))
            })
            .collect();
        Ok(Deployed { outputs, resources })
    }

    /// The tables of the stack that are missing: the emulator keeps tables only when it is stopped gently.
    pub(crate) async fn missing_tables(&self, outputs: &BTreeMap<String, String>) -> Vec<String> {
        let mut missing = Vec::new();
        for (name, table) in outputs.iter().filter(|(name, _)| name.ends_with("TableName")) {
            if self.dynamodb.describe_table().table_name(table).send().await.is_err() {
                missing.push(name.clone());
            }
        }
        missing
    }

    /// The environment variables that a function was deployed with.
    pub async fn environment_of(&self, function: &str) -> Result<HashMap<String, String>> {
        let failed = || format!("Could not read the settings of {function}");
        let settings = self.lambda.get_function_configuration().function_name(function).send().await;
        let environment = settings.context(failed)?.environment;
        Ok(environment.and_then(|environment| environment.variables).unwrap_or_default())
    }

    /// Invokes a function and waits for its answer.
    pub async fn invoke(&self, function: &str, payload: &serde_json::Value) -> Result<serde_json::Value> {
        let failed = || format!("Could not invoke {function}");
        let answer = self
            .lambda
            .invoke()
            .function_name(function)
            .payload(payload.to_string().into_bytes().into())
            .send()
            .await
            .context(failed)?;
        let bytes = answer.payload().map(|payload| payload.as_ref().to_vec()).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if answer.function_error().is_some() {
            let text = value
                .get("errorMessage")
                .and_then(|text| text.as_str())
                .unwrap_or("it failed without a message");
            return Err(Problem::new(format!("{function} failed: {text}"))
                .remedy(format!("`cargo local logs {function}` shows its log.")));
        }
        Ok(value)
    }

    /// Writes an item unless its key is already taken; says whether it was written.
    pub(crate) async fn put_new(&self, table: &str, item: HashMap<String, AttributeValue>) -> Result<bool> {
        let answer = self
            .dynamodb
            .put_item()
            .table_name(table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(false),
            Err(error) => Err(error).context(|| format!("Could not write to {table}")),
        }
    }
}

/// The timer that the SDK's time-outs and retries need.
fn aws_smithy_types_sleep() -> aws_sdk_s3::config::SharedAsyncSleep {
    aws_sdk_s3::config::SharedAsyncSleep::new(TokioSleep)
}

#[derive(Debug)]
struct TokioSleep;

impl aws_sdk_s3::config::AsyncSleep for TokioSleep {
    fn sleep(&self, duration: Duration) -> aws_sdk_s3::config::Sleep {
        aws_sdk_s3::config::Sleep::new(tokio::time::sleep(duration))
    }
}
