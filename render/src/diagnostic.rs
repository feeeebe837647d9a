//! An error of a policy, shown in its line.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use reaper_core::{
    policy::PolicyError,
    printable::{is_unsafe, printable_lines},
};

/// The error, its line, and its place underlined; coloured.
#[must_use]
pub fn render(name: &str, policy: &str, error: &PolicyError) -> String {
    let message = printable_lines(&error.message);
    let title = Level::ERROR.primary_title(&message);
    let text = shown(policy);
    let group = match error.span.clone().or_else(|| rest_of_line(policy, error)) {
        Some(span) => {
            let place = AnnotationKind::Primary.span(span);
            let source = Snippet::source(&text).path(name);
            title.element(source.annotation(place))
        }
        None => Group::with_title(title),
    };
    format!("{}\n\n", Renderer::styled().render(&[group]))
}

/// The text without control characters. Each is replaced by a character of the same length, because
/// places are in bytes. The renderer replaces those of one byte.
fn shown(text: &str) -> String {
    let replace = |it: char| match it.len_utf8() {
        2 if is_unsafe(it) => '¤',
        3 if is_unsafe(it) => char::REPLACEMENT_CHARACTER,
        _ => it,
    };
    text.chars().map(replace).collect()
}

/// The bytes from an error's column to the end of its line: errors of YAML have no end.
fn rest_of_line(policy: &str, error: &PolicyError) -> Option<Range<usize>> {
    let index = usize::try_from(error.line).ok()?.checked_sub(1)?;
    let start = policy.split_inclusive('\n').take(index).map(str::len).sum::<usize>();
    let line = policy.lines().nth(index)?;
    let before = usize::try_from(error.column).ok()?.saturating_sub(1);
    let at = line.char_indices().nth(before).map_or(line.len(), |(at, _)| at);
    Some(start + at..start + line.len())
}
