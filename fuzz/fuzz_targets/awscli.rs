//! Any command line and any answer: no panic, and no overflow of the stack.
//!
//! An input is a command line, a word in each line, and behind an empty line the answer.

#![no_main]

use awscli::{Host, answered};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|text: &str| -> Corpus {
    let Some((words, answer)) = text.split_once("\n\n") else { return Corpus::Reject };
    if words.contains("file") || words.contains("@=") {
        return Corpus::Reject; // Words may name files.
    }
    let host = Host {
        http_client: |_, _| Err("there is no network here".into()),
        printable: str::to_owned,
        printable_json: |json| json,
    };
    let words: Vec<String> = words.split('\n').map(Into::into).collect();
    match answered(&words, answer, &host) {
        None => return Corpus::Reject,
        Some(Ok(_)) => {}
        Some(Err(message)) => assert!(!message.is_empty()),
    }
    Corpus::Keep
});
