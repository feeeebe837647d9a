//! The log of a lock: the function's log lines, written to a file.

use std::{
    collections::VecDeque,
    env::temp_dir,
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use reaper_core::{
    event::{CompliantLines, Severity},
    pattern::OwnerPattern,
    printable::printable,
};
use serde_json::json;
use session_reaper::sinks::{
    Sinks,
    log::{self, LogSettings},
};

use crate::{clock::now, stdio::eprintln};

/// The log: kept in memory until it is opened, which is before the question whether to terminate.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<LogState>>);

struct LogState {
    /// The lines of the current round, while the log is not open.
    before: Vec<u8>,
    /// Where the log is written.
    sink: Option<Box<dyn Write + Send>>,
    /// The files to try next, and how to open them. After them comes standard error.
    places: VecDeque<(PathBuf, OpenOptions)>,
    /// Why a line could not be written anywhere, not even to standard error.
    failure: Option<io::Error>,
}

impl Log {
    /// A log whose lines go to this file, or else to a new one, and the sinks that write it: the
    /// function's log lines, with the owners and the reason in each.
    pub(super) fn start(
        path: Option<&str>,
        owners: &[OwnerPattern],
        reason: &str,
    ) -> (Self, Sinks) {
        let name = format!("reapctl-lock-{}.jsonl", now().strftime("%Y%m%dT%H%M%SZ"));
        let mut appended = OpenOptions::new();
        appended.create(true).append(true);
        let mut created = OpenOptions::new();
        created.create_new(true).append(true); // Another user may have put a link there.
        let path = path.unwrap_or(&name).into();
        let places = [(path, appended), (temp_dir().join(&name), created)].into();
        let log = Self(Arc::new(Mutex::new(LogState {
            before: Vec::new(),
            sink: None,
            places,
            failure: None,
        })));
        let owners: Vec<String> = owners.iter().map(ToString::to_string).collect();
        let common = json!({
            "service": "session-reaper",
            "command": "reapctl lock",
            "locked": owners.join(", "),
            "reason": reason,
        });
        let common = common.as_object().cloned().unwrap_or_default();
        let settings = LogSettings {
            is_json: true,
            least: Severity::Info,
            compliant: CompliantLines::All,
            common,
        };
        let lines = log::Log::new(settings, log.clone());
        (log, Sinks { log: Some(lines), ..Sinks::NONE })
    }

    /// Why lines are missing, if any are.
    pub(super) fn failure(&self) -> Option<String> {
        self.state().failure.as_ref().map(ToString::to_string)
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the lines of the previous round if the log is not open, because a lock may wait long
    /// until there is a session to terminate.
    pub(super) fn begin_round(&self) {
        self.state().before.clear();
    }

    /// Opens the first file that can be written, and writes the lines that there are so far.
    pub(super) fn open(&self) {
        let mut state = self.state();
        if state.sink.is_none() {
            state.sink = Some(state.next_sink());
            let before = std::mem::take(&mut state.before);
            state.write(&before);
        }
    }
}

impl LogState {
    fn next_sink(&mut self) -> Box<dyn Write + Send> {
        while let Some((path, options)) = self.places.pop_front() {
            let shown = printable(&path.to_string_lossy());
            match options.open(&path) {
                Ok(file) => {
                    eprintln!("The log is {shown}.");
                    return Box::new(file);
                }
                Err(err) => eprintln!("warning: cannot write the log `{shown}`: {err}"),
            }
        }
        eprintln!("The log is standard error.");
        Box::new(io::stderr())
    }

    /// Writes whole lines. If that fails, writes them to the next place.
    fn write(&mut self, lines: &[u8]) {
        let Some(sink) = &mut self.sink else {
            self.before.extend_from_slice(lines);
            return;
        };
        let Err(err) = sink.write_all(lines) else { return };
        if self.failure.is_some() {
            return; // It is shown at the end.
        }
        eprintln!("warning: cannot continue the log: {err}");
        let mut sink = self.next_sink();
        self.failure = sink.write_all(lines).err();
        self.sink = Some(sink);
    }
}

impl Write for Log {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.state().write(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // Nothing is buffered.
    }
}
