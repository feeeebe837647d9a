//! The Lambda function.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use session_reaper::{
    lambda::config,
    lambda::handler::{App, handle},
    sinks::log::Log,
};

// Without this build setting, every cold start would take tens of milliseconds longer, unnoticed.
const _: () = assert!(
    option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY").is_some(),
    "build in the repository, where .cargo/config.toml sets AWS_LC_SYS_NO_JITTER_ENTROPY"
);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let variables = config::environment();
    let log = &Log::new(config::log_settings(&variables), std::io::stdout()).with_other_crates();
    let app = &App::new(&variables).await;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<_>| handle(app, log, event).await))
        .await
}
