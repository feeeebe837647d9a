//! What Ctrl-C does to a command that terminates sessions.

use std::{convert::Infallible, io, process::exit, time::Duration};

use anyhow::bail;
use session_reaper::aws::Ssm;
use tokio::{signal::ctrl_c, time::sleep};

use crate::{exit::INTERRUPTED, stdio::eprintln};

/// Runs the work. The first Ctrl-C stops, so that no further termination starts, and the work goes on to
/// verify those that have started. The second one ends the process.
pub(crate) async fn interruptible<T>(stop: impl Fn(), work: impl Future<Output = T>) -> T {
    let interrupted = async {
        ctrl_c().await?;
        stop();
        eprintln!("interrupted: no further termination starts; those that started are verified");
        ctrl_c().await?;
        exit(INTERRUPTED)
    };
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => result,
        Err::<Infallible, io::Error>(_no_handler) = interrupted => work.await,
    }
}

/// Waits for the work, or fails once Ctrl-C has stopped the terminations.
pub(crate) async fn unless_stopped<T>(
    ssm: &Ssm,
    work: impl Future<Output = T>,
) -> anyhow::Result<T> {
    tokio::select! {
        result = work => Ok(result),
        () = stopped(ssm) => bail!("interrupted"),
    }
}

/// Waits until Ctrl-C has stopped the terminations.
pub(crate) async fn stopped(ssm: &Ssm) {
    while !ssm.is_stopped() {
        sleep(Duration::from_millis(100)).await;
    }
}
