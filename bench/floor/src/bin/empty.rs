//! A Lambda function that does nothing, or panics if the event asks for it.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let handle = async |event: LambdaEvent<Value>| {
        assert!(event.payload != json!({"panic": true}), "as asked for");
        Ok::<_, Error>(json!({}))
    };
    lambda_runtime::run(service_fn(handle)).await
}
