//! How far a command is: a line on standard error that comes and goes, on a terminal only.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressFinish, ProgressIterator, ProgressStyle};
use tokio::time::interval;

use crate::aws::Aws;

/// Waits, and tells meanwhile how many API calls have been made and how many sessions ended.
/// Where each call is shown, that is progress enough.
pub(crate) async fn with_progress<T>(what: &str, aws: &Aws, work: impl Future<Output = T>) -> T {
    let ssm = &aws.ssm;
    if aws.shows_calls || !std::io::stderr().is_terminal() {
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

/// The items, with how many of them are done; shown on a terminal only.
pub(crate) fn counted<'a, T>(what: &'static str, items: &'a [T]) -> impl Iterator<Item = &'a T> {
    let style = ProgressStyle::with_template("{msg}: {pos} of {len}");
    let bar = ProgressBar::new(items.len() as u64).with_message(what);
    let bar = match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar, // Its own style tells as much.
    };
    items.iter().progress_with(bar.with_finish(ProgressFinish::AndClear))
}
