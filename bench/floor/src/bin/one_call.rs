//! A Lambda function that makes one call, like the SDK's examples.

use aws_config::BehaviorVersion;
use aws_sdk_ssm::types::SessionState;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let client = &aws_sdk_ssm::Client::new(&config);
    let handle = async |_: LambdaEvent<Value>| {
        let request = client.describe_sessions().state(SessionState::Active).max_results(200);
        let page = request.send().await?;
        Ok::<_, Error>(json!({"sessions": page.sessions().len()}))
    };
    lambda_runtime::run(service_fn(handle)).await
}
