//! `reapctl emulate`: the Session Manager API on loopback.

use std::{fs, net::Ipv4Addr, path::PathBuf};

use anyhow::Context;
use session_manager_emulator::{Emulator, Fleet, serve};
use tokio::{net::TcpListener, signal};

use crate::{file::Invalid, stdio::println};

/// The default fleet.
pub(crate) const SAMPLE_FLEET: &str = include_str!("../demo/fleet.yaml");

/// Serve the Session Manager API on 127.0.0.1, for the AWS CLI, the SDKs and the function.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl emulate\n  reapctl emulate --port 9000 --fleet fleet.yaml"
)]
pub(crate) struct Args {
    /// The port; 0 for any free port
    #[arg(long, default_value_t = 8377)]
    port: u16,
    /// The sessions, tags, parameters and faults, in YAML [default: the fleet of `reapctl demo`]
    #[arg(long, value_name = "FILE")]
    fleet: Option<PathBuf>,
}

/// Serves until it is interrupted.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let fleet = match &args.fleet {
        None => Fleet::parse(SAMPLE_FLEET)?,
        Some(path) => {
            let name = path.display();
            let text = fs::read_to_string(path).with_context(|| format!("cannot read `{name}`"))?;
            let fleet = Fleet::parse(&text);
            fleet.map_err(|err| Invalid(format!("cannot use `{name}`: {err}")))?
        }
    };
    let region = fleet.region.clone();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await;
    let listener = listener.with_context(|| {
        format!("cannot listen on port {}; choose another with `--port`", args.port)
    })?;
    let address = listener.local_addr()?;
    println!(
        "Serving the Session Manager API on http://{address}. To use it:\n\n\
         export AWS_ENDPOINT_URL=http://{address} AWS_REGION={region} AWS_DEFAULT_REGION={region}\n\
         export AWS_ACCESS_KEY_ID=emulator AWS_SECRET_ACCESS_KEY=emulator\n\
         aws ssm describe-sessions --state Active\n\n\
         Press Ctrl-C to stop it."
    );
    tokio::select! {
        never = serve(listener, Emulator::new(fleet)) => match never {},
        interrupted = signal::ctrl_c() => Ok(interrupted?),
    }
}
