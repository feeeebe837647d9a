//! The Lambda function.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use session_reaper::{
    config,
    handler::{App, handle},
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let variables = config::environment();
    telemetry::init(config::log_settings(&variables));
    let app = &App::new(&variables).await;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<_>| handle(app, event).await)).await
}
