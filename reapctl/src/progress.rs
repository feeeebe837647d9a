//! The progress of a command: a line on standard error, if that is a terminal.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio::time::interval;

use crate::aws::AccountRegion;

/// Waits, and shows the number of API calls and of accepted terminations. With `--debug` it shows
/// nothing, because each call is shown. Of one of many account-Regions it shows nothing either.
pub(crate) async fn with_progress<T>(
    what: &str,
    at: AccountRegion<'_>,
    work: impl Future<Output = T>,
) -> T {
    let ssm = at.ssm;
    if at.shows_calls || at.is_one_of_many || !std::io::stderr().is_terminal() {
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
                let accepted = match ssm.n_terminations() {
                    0 => String::new(),
                    n => format!(", {n} terminations accepted"),
                };
                spinner.set_message(format!("{what}: {} API calls{accepted}", ssm.n_calls() - calls_before));
                spinner.tick();
            }
        }
    }
}

/// Shows on a terminal how many items are done, until it is dropped.
pub(crate) fn bar(what: &'static str, n: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}: {pos} of {len}");
    let bar = ProgressBar::new(n as u64).with_message(what).with_finish(ProgressFinish::AndClear);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar, // The default style is good enough.
    }
}
