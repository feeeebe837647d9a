//! Parses a command line like Python's `argparse`: options anywhere, unambiguous abbreviations,
//! `--name value` or `--name=value`, and the same error messages.

use std::{collections::BTreeMap, fmt::Write};

use crate::value::{parse_int, quoted};

/// An option.
pub(crate) struct Spec {
    /// The name, with its dashes.
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    pub(crate) choices: &'static [&'static str],
    pub(crate) is_required: bool,
    pub(crate) help: &'static str,
}

/// The values of an option.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Takes {
    Nothing,
    One,
    Number,
    /// One, or this default.
    Optional(&'static str),
    /// Any number, including none.
    Many,
}

/// A parsed command line.
#[derive(Default)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, Vec<String>>,
    /// The first argument that belongs to no option.
    pub(crate) positional: Option<String>,
    /// The arguments that belong to no option of this parser.
    pub(crate) rest: Vec<String>,
}

impl Given {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value of an option that takes one.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.first().map(String::as_str)
    }

    /// The values of an option that takes many.
    pub(crate) fn many(&self, name: &str) -> Option<&[String]> {
        self.values.get(name).map(Vec::as_slice)
    }
}

/// The kind of an argument.
enum Word {
    Value,
    /// An option and the text after its `=`; `None` for an unknown option.
    Option(Option<&'static Spec>, Option<String>),
}

/// Parses the known options; the other arguments are left for the next parser.
pub(crate) fn parse(
    specs: &'static [Spec],
    words: &[String],
    mut takes_positional: bool,
) -> Result<Given, String> {
    let kinds = words.iter().enumerate().map(|(i, word)| {
        let is_after_dashes = words.iter().take(i + 1).any(|it| it == "--");
        if is_after_dashes { Ok(Word::Value) } else { understand(specs, word) }
    });
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    let mut given = Given::default();
    let mut i = 0;
    while let (Some(word), Some(kind)) = (words.get(i), kinds.get(i)) {
        i += 1;
        match kind {
            Word::Value if takes_positional => {
                takes_positional = false;
                given.positional = Some(word.clone());
            }
            Word::Value | Word::Option(None, _) => given.rest.push(word.clone()),
            Word::Option(Some(spec), explicit) => {
                let following = kinds.iter().skip(i).take_while(|it| matches!(it, Word::Value));
                let following: Vec<_> =
                    words.iter().skip(i).take(following.count()).cloned().collect();
                i += spec.take(explicit.as_ref(), &following, &mut given)?;
            }
        }
    }
    Ok(given)
}

/// Fails if a required option is missing.
pub(crate) fn check_required(specs: &[Spec], given: &Given) -> Result<(), String> {
    let missing = specs.iter().filter(|it| it.is_required && !given.has(it.name));
    let missing: Vec<_> = missing.map(|it| it.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("the following arguments are required: {}", missing.join(", ")))
}

fn understand(specs: &'static [Spec], word: &str) -> Result<Word, String> {
    if !word.starts_with('-') || word.len() == 1 {
        return Ok(Word::Value);
    }
    let exact = |name: &str| specs.iter().find(|it| it.name == name);
    if let Some(spec) = exact(word) {
        return Ok(Word::Option(Some(spec), None));
    }
    let (name, explicit) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    if let Some(spec) = exact(name) {
        return Ok(Word::Option(Some(spec), explicit));
    }
    let matches: Vec<_> = specs.iter().filter(|it| it.name.starts_with(name)).collect();
    match matches.as_slice() {
        [spec] => return Ok(Word::Option(Some(spec), explicit)),
        [] => {}
        several => {
            let names: Vec<_> = several.iter().map(|it| it.name).collect();
            return Err(format!("ambiguous option: {word} could match {}", names.join(", ")));
        }
    }
    let (whole, fraction) = word.split_once('.').unwrap_or((word, "0"));
    let is_digits = |it: &str| it.chars().all(|it| it.is_ascii_digit());
    let is_number = !fraction.is_empty()
        && is_digits(fraction)
        && whole.get(1..).is_some_and(|it| is_digits(it) && (word.contains('.') || !it.is_empty()));
    Ok(if is_number || word.contains(' ') { Word::Value } else { Word::Option(None, None) })
}

impl Spec {
    /// Takes the values of the option. Returns their number.
    fn take(
        &self,
        explicit: Option<&String>,
        following: &[String],
        given: &mut Given,
    ) -> Result<usize, String> {
        let fail = |message: &str| Err(format!("argument {}: {message}", self.name));
        let available = explicit.map_or(following, std::slice::from_ref);
        let taken = match (self.takes, available) {
            (Takes::Nothing, _) => match explicit {
                Some(it) => return fail(&format!("ignored explicit argument {}", quoted(it))),
                None => &[],
            },
            (Takes::Optional(_), []) => &[],
            (Takes::One | Takes::Number, []) => return fail("expected one argument"),
            (Takes::Many, all) => all,
            (Takes::One | Takes::Number | Takes::Optional(_), [first, ..]) => {
                std::slice::from_ref(first)
            }
        };
        for value in taken {
            if self.takes == Takes::Number && parse_int(value).is_none() {
                return fail(&format!("invalid int value: {}", quoted(value)));
            }
            if !self.choices.is_empty() && !self.choices.contains(&value.as_str()) {
                return fail(&invalid_choice(self.choices, value));
            }
        }
        let mut values = taken.to_vec();
        if let (Takes::Optional(default), []) = (self.takes, taken) {
            values.push(default.to_owned());
        }
        given.values.insert(self.name, values);
        Ok(if explicit.is_some() { 0 } else { taken.len() })
    }
}

/// The valid choices, two per line, and those that are similar to the invalid one.
fn invalid_choice(choices: &[&str], value: &str) -> String {
    let mut message = String::from("Invalid choice, valid choices are:\n");
    for pair in choices.chunks(2) {
        let cells: Vec<_> = pair.iter().map(|it| format!("{it:<40}")).collect();
        message.push('\n');
        message.push_str(&cells.join(" | "));
    }
    let mut similar: Vec<_> = choices
        .iter()
        .map(|it| (similarity(it, value), *it))
        .filter(|(ratio, _)| *ratio >= 0.8)
        .collect();
    similar.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(a.1)));
    if !similar.is_empty() {
        let _ = write!(message, "\n\n\nInvalid choice: {}, maybe you meant:\n", quoted(value));
        for (_, it) in similar.iter().take(3) {
            let _ = write!(message, "\n  * {it}");
        }
    }
    message
}

/// `difflib`'s ratio: twice the number of characters in common runs, divided by that of all characters.
fn similarity(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let share = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    2.0 * share(common(&a, &b)) / share((a.len() + b.len()).max(1))
}

fn common(a: &[char], b: &[char]) -> usize {
    let run = |i: usize, j: usize| {
        a.iter().skip(i).zip(b.iter().skip(j)).take_while(|(a, b)| a == b).count()
    };
    let mut best = (0, 0, 0);
    for i in 0..a.len() {
        for j in 0..b.len() {
            if best.0 < run(i, j) {
                best = (run(i, j), i, j);
            }
        }
    }
    let (length, i, j) = best;
    let parts = |it: &[char], at: usize| {
        let (left, right) = it.split_at_checked(at).unwrap_or_default();
        (left.to_vec(), right.get(length..).unwrap_or_default().to_vec())
    };
    if length == 0 {
        return 0;
    }
    let ((left_a, right_a), (left_b, right_b)) = (parts(a, i), parts(b, j));
    length + common(&left_a, &left_b) + common(&right_a, &right_b)
}
