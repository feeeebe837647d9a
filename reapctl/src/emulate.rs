//! `reapctl emulate`: the Session Manager API on loopback.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use session_manager_emulator::{
    Emulator, Fleet, FleetError, Organization, OrganizationFleet, serve,
};
use tokio::{net::TcpListener, signal};

use crate::{file::Invalid, stdio::println};

/// The default fleet.
pub(crate) const SAMPLE_FLEET: &str = include_str!("../demo/fleet.yaml");

/// The sample organization.
pub(crate) const SAMPLE_ORGANIZATION: &str = include_str!("../demo/organization.yaml");

/// Serve the Session Manager API on 127.0.0.1, for the AWS CLI, the SDKs and the function.
///
/// With `--organization`, also `ListAccounts` of Organizations, and `GetObject` and `PutObject` of S3: the
/// access key says which account is called, and the signature which Region.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  reapctl emulate\n  reapctl emulate --port 9000 --fleet \
                        fleet.yaml\n  reapctl emulate --organization organization.yaml")]
pub(crate) struct Args {
    /// The port; 0 for any free port
    #[arg(long, default_value_t = 8377)]
    port: u16,
    /// The sessions, tags, parameters and faults, in YAML [default: the fleet of `reapctl demo`]
    #[arg(long, value_name = "FILE")]
    fleet: Option<PathBuf>,
    /// Many accounts and Regions instead of one, in YAML
    #[arg(long, value_name = "FILE", conflicts_with = "fleet")]
    organization: Option<PathBuf>,
}

/// Serves until it is interrupted.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(path) = &args.organization {
        let fleet = read(path, OrganizationFleet::parse)?;
        let example = "aws organizations list-accounts";
        let listener = listen(args.port, &fleet.hub.region, example).await?;
        return tokio::select! {
            never = serve(listener, Organization::new(fleet)) => match never {},
            interrupted = signal::ctrl_c() => Ok(interrupted?),
        };
    }
    let fleet = match &args.fleet {
        None => Fleet::parse(SAMPLE_FLEET)?,
        Some(path) => read(path, Fleet::parse)?,
    };
    let example = "aws ssm describe-sessions --state Active";
    let listener = listen(args.port, &fleet.region, example).await?;
    tokio::select! {
        never = serve(listener, Emulator::new(fleet)) => match never {},
        interrupted = signal::ctrl_c() => Ok(interrupted?),
    }
}

fn read<T>(path: &Path, parse: impl Fn(&str) -> Result<T, FleetError>) -> anyhow::Result<T> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read `{name}`"))?;
    Ok(parse(&text).map_err(|err| Invalid(format!("cannot use `{name}`: {err}")))?)
}

/// Listens, and says how to use what will be served.
async fn listen(port: u16, region: &str, example: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener
        .with_context(|| format!("cannot listen on port {port}; choose another with `--port`"))?;
    let address = listener.local_addr()?;
    println!(
        "Serving the Session Manager API on http://{address}. To use it:\n\n\
         export AWS_ENDPOINT_URL=http://{address} AWS_REGION={region} AWS_DEFAULT_REGION={region}\n\
         export AWS_ACCESS_KEY_ID=emulator AWS_SECRET_ACCESS_KEY=emulator\n\
         {example}\n\n\
         Programs from before mid-2023, such as the AWS CLI 2.9.19 of Debian 12, ignore\n\
         AWS_ENDPOINT_URL and would call AWS: give them --endpoint-url http://{address}.\n\n\
         Press Ctrl-C to stop it."
    );
    Ok(listener)
}
