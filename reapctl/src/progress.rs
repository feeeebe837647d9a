//! How far a command is: a line on standard error that comes and goes, on a terminal only.

use std::{io::IsTerminal, time::Duration};

use indicatif::ProgressBar;
use session_reaper::ssm::Ssm;
use tokio::time::interval;

/// Waits, and tells meanwhile how many API calls have been made and how many sessions ended.
pub(crate) async fn with_progress<T>(what: &str, ssm: &Ssm, work: impl Future<Output = T>) -> T {
    if !std::io::stderr().is_terminal() {
        return work.await;
    }
    tokio::pin!(work);
    let spinner = ProgressBar::new_spinner();
    let mut ticks = interval(Duration::from_millis(100));
    let calls_before = ssm.n_calls();
    loop {
        tokio::select! {
            result = &mut work => {
                spinner.finish_and_clear();
                return result;
            }
            _ = ticks.tick() => {
                let ended = match ssm.n_terminations() {
                    0 => String::new(),
                    n => format!(", {n} terminations accepted"),
                };
                spinner.set_message(format!("{what}: {} API calls{ended}", ssm.n_calls() - calls_before));
                spinner.tick();
            }
        }
    }
}
