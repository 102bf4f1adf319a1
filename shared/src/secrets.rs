//! AWS Secrets Manager: the database's login and the signing keys, where the settings name their ARNs.

use std::time::Duration;

use aws_sdk_secretsmanager::{
    Client,
    config::{
        BehaviorVersion, Credentials, Region, RuntimeComponents,
        http::{HttpRequest, HttpResponse},
        retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
    operation::get_secret_value::GetSecretValueError,
};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_types::body::SdkBody;

use crate::{
    config::{BadSetting, Secret, Settings},
    error::chain,
    https::{self, HttpsClient},
    tls,
};

/// Longest wait for one answer; there are two attempts.
const ANSWER: Duration = Duration::from_secs(2);
/// The stage of a secret's value that is in use.
const CURRENT: &str = "AWSCURRENT";
/// The stage of the value that was in use before.
const PREVIOUS: &str = "AWSPREVIOUS";

/// A client for the region and with the credentials that Lambda puts into the environment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Secrets {
    client: Client,
}

/// A value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretValue {
    /// Which version of the secret it is.
    pub version_id: String,
    /// The value.
    pub text: Secret,
}

/// Why there is no value: for the log, without the secret or its name.
#[derive(Debug)]
pub struct Unavailable(pub String);

impl Secrets {
    /// Reads `AWS_REGION`, the credentials, and `AWS_ENDPOINT_URL_SECRETS_MANAGER` or `AWS_ENDPOINT_URL`
    /// where another endpoint is meant. Nothing is connected to yet.
    pub fn read(settings: &Settings<'_>) -> Result<Self, BadSetting> {
        let region = settings.required("AWS_REGION")?;
        let credentials = Credentials::new(
            settings.required("AWS_ACCESS_KEY_ID")?,
            settings.required("AWS_SECRET_ACCESS_KEY")?,
            settings.get("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        let endpoint = settings
            .get("AWS_ENDPOINT_URL_SECRETS_MANAGER")
            .or_else(|| settings.get("AWS_ENDPOINT_URL"));
        let mut config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(credentials)
            .http_client(Http(https::client(tls::amazon())))
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_attempt_timeout(ANSWER)
                    .build(),
            );
        config.set_endpoint_url(endpoint);
        Ok(Self {
            client: Client::from_conf(config.build()),
        })
    }

    /// The value that is in use.
    pub async fn current(&self, arn: &str) -> Result<SecretValue, Unavailable> {
        self.value(arn, CURRENT)
            .await?
            .ok_or_else(|| Unavailable("there is no such secret".to_owned()))
    }

    /// The value that was in use before, if there was one.
    pub async fn previous(&self, arn: &str) -> Result<Option<SecretValue>, Unavailable> {
        self.value(arn, PREVIOUS).await
    }

    async fn value(&self, arn: &str, stage: &str) -> Result<Option<SecretValue>, Unavailable> {
        let request = self
            .client
            .get_secret_value()
            .secret_id(arn)
            .version_stage(stage);
        // Boxed, since the SDK's futures are large and deep.
        let answer = Box::pin(request.send()).await;
        match answer {
            Ok(answer) => {
                Ok(answer
                    .secret_string
                    .zip(answer.version_id)
                    .map(|(text, version_id)| SecretValue {
                        version_id,
                        text: Secret::new(text),
                    }))
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(Unavailable(describe(&error))),
        }
    }
}

/// The code of a refusal, whose message names the secret; else the error and what is behind it. Never its
/// `Debug`, which shows the body of an answer that could not be read: the secret, perhaps.
fn describe(error: &SdkError<GetSecretValueError>) -> String {
    let code = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code);
    let said = code.map_or_else(|| chain(error), str::to_owned);
    format!("Secrets Manager: {said}")
}

/// What carries the SDK's requests. The SDK's own client, `aws-smithy-http-client`, brings HTTP/2 and a second
/// way to find roots, 0.4 MB of them; every wait is bounded by the SDK's limit for an attempt.
#[derive(Clone, Debug)]
struct Http(HttpsClient<SdkBody>);

impl HttpClient for Http {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            // Whatever went wrong, a secret may be asked for twice.
            let answer = client
                .request(request)
                .await
                .map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
