//! Standard output and standard error. A command continues if they cannot be written.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
    sync::OnceLock,
};

use reaper_core::printable::printable;

/// How to print a result.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Output {
    /// For machines
    Json,
    /// For people
    #[value(alias = "table")]
    Text,
}

/// The first error of writing to standard output.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Writes to standard output. An error is kept for the end; a closed pipe is not an error.
pub(crate) fn out(text: fmt::Arguments<'_>) {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_fmt(text).and_then(|()| stdout.flush()) {
        Err(err) if err.kind() != ErrorKind::BrokenPipe => drop(FAILURE.set(err)),
        Ok(()) | Err(_) => {}
    }
}

/// Writes to standard error. Errors are ignored.
pub(crate) fn err(text: fmt::Arguments<'_>) {
    drop(anstream::stderr().lock().write_fmt(text));
}

/// Writes warnings to standard error, one per line.
pub(crate) fn warn(warnings: impl IntoIterator<Item = impl AsRef<str>>) {
    for warning in warnings {
        err(format_args!("warning: {}\n", printable(warning.as_ref())));
    }
}

/// Why standard output is incomplete, if it is.
pub(crate) fn failure() -> Option<&'static io::Error> {
    FAILURE.get()
}

macro_rules! out {
    ($($text:tt)*) => { $crate::stdio::out(format_args!($($text)*)) };
}

macro_rules! out_line {
    ($($text:tt)*) => { $crate::stdio::out(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! err {
    ($($text:tt)*) => { $crate::stdio::err(format_args!($($text)*)) };
}

macro_rules! err_line {
    ($($text:tt)*) => { $crate::stdio::err(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) use {err as eprint, err_line as eprintln, out as print, out_line as println};
