//! Writes seeds, each kind to a folder: hostile policies, hostile texts, deeply nested command lines and
//! answers, less nested ones.

use std::{env, fs, path::PathBuf};

use test_support::{hostile_policies::hostile_policies, hostile_texts::hostile_texts};

fn main() {
    let mut folders = env::args().skip(1).map(PathBuf::from);
    let mut write = |seeds: Vec<String>| {
        let folder = folders.next().expect("four folders");
        fs::create_dir_all(&folder).expect("a folder");
        for (i, text) in seeds.into_iter().enumerate() {
            fs::write(folder.join(format!("{i:03}")), text).expect("a file");
        }
    };
    write(hostile_policies().into_iter().map(|(_name, text)| text).collect());
    write(hostile_texts());
    // The deepest that is allowed is 500.
    write(command_lines(100_000));
    write([1, 3, 600].into_iter().flat_map(command_lines).collect());
}

/// Each way to nest, so many times, as inputs of the target `awscli`.
fn command_lines(n: usize) -> Vec<String> {
    let nested =
        |(open, inner, close): (&str, &str, &str)| open.repeat(n) + inner + &close.repeat(n);
    let json = [("[", "1", "]"), ("{\"a\":", "1", "}"), ("[{\"a\":", "[]", "}]")].map(nested);
    let shorthand = [("a=[", "b", "]"), ("a={b=", "c", "}"), ("[", "", "]")].map(nested);
    let queries = [
        ("[", "@", "]"),
        ("(", "@", ")"),
        ("!", "@", ""),
        ("@[?", "@", "]"),
        ("{a:", "@", "}"),
        ("length(", "@", ")"),
        ("sort_by(@, &", "@", ")"),
        ("", "@", " | @"),
        ("", "@", " || @"),
        ("", "@", "&&@"),
        ("", "@", "==@"),
        ("", "@", "[]"),
        ("", "@", ".*"),
        ("", "@", "[:]"),
        ("", "@", " | [[@]]"),
        ("", "@", ".Sessions[0]"),
    ]
    .map(nested);
    let line = |words: &[&str]| {
        let start = ["describe-sessions", "--state", "Active"];
        [&start, words].concat().join("\n")
    };
    let answer = r#"{"Sessions": [{"SessionId": "x-1", "StartDate": 1.5, "Owner": null}]}"#;
    let mut all = Vec::new();
    for format in ["json", "text", "table"] {
        all.extend(json.iter().map(|it| line(&["--output", format]) + "\n\n" + it));
        all.extend(json.iter().map(|it| line(&["--output", format, "--query", "@"]) + "\n\n" + it));
    }
    let options =
        [("--cli-input-json", &json[..]), ("--filters", &json), ("--filters", &shorthand)];
    for (option, values) in options.into_iter().chain([("--query", &queries[..])]) {
        all.extend(values.iter().map(|it| line(&[option, it]) + "\n\n" + answer));
    }
    all
}
