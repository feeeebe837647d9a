//! What is wrong with a policy, shown in its line.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use reaper_core::policy::PolicyError;

use crate::printable::{is_unsafe, printable_lines};

/// The error, the line that it is about, and its place underlined.
pub(crate) fn render(name: &str, policy: &str, error: &PolicyError) -> String {
    let message = printable_lines(&error.message);
    let title = Level::ERROR.primary_title(&message);
    let text = shown(policy);
    let group = match error.span.clone().or_else(|| line(policy, error.line)) {
        Some(span) => {
            let place = AnnotationKind::Primary.span(span);
            let source = Snippet::source(&text).path(name);
            title.element(source.annotation(place))
        }
        None => Group::with_title(title),
    };
    format!("{}\n\n", Renderer::styled().render(&[group]))
}

/// The text with what a terminal would obey replaced, each character by another of its length, for
/// errors tell places in bytes. The renderer sees to those of one byte.
fn shown(text: &str) -> String {
    let replace = |it: char| match it.len_utf8() {
        2 if is_unsafe(it) => '¤',
        3 if is_unsafe(it) => char::REPLACEMENT_CHARACTER,
        _ => it,
    };
    text.chars().map(replace).collect()
}

/// The bytes of a line, by its number from 1.
fn line(text: &str, number: u64) -> Option<Range<usize>> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    let start = text.split_inclusive('\n').take(index).map(str::len).sum::<usize>();
    Some(start..start + text.lines().nth(index)?.len())
}
