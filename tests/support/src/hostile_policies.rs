//! Texts that do harm to parsers, as long as a policy may be, and one that is longer.

/// A little less than the most that is read.
const SIZE: usize = 65_000;

/// One after the other, until it is so long.
const REPEATED: [&str; 27] = [
    "[", "]", "{", "}", "a: ", "- ", "? ", ": ", "9", "\"", "'", "\\", "!", "!a ", "&", "&a ", "*",
    "*a ", "\t", " ", "\n", "\r", "#", "| ", "|\n ", "---\n", "\u{feff}",
];

/// Each with its name.
#[must_use]
pub fn hostile_policies() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for text in REPEATED {
        let repeated = text.repeat(SIZE / text.len());
        let as_value = format!("version: 1\ntag_keys: {repeated}");
        all.push((format!("{text:?}"), repeated));
        all.push((format!("a value of {text:?}"), as_value));
    }
    let mut add = |name: &str, text| all.push((name.into(), text));
    add("1 MB", "[".repeat(1 << 20));
    let head = "version: 1\ntag_keys: [env]\nrules:\n";
    let rule = |i| format!("  - {{ id: r{i}, when: {{ owner: role/x{i} }}, forbid: true }}\n");
    let exemption = |i| format!("  - {{ id: e{i}, when: {{ owner: user/x{i} }} }}\n");
    let (rules, exemptions) =
        (filled(SIZE / 4, head, rule), filled(SIZE / 4, "exemptions:\n", exemption));
    add("rules and exemptions", rules + &exemptions);
    add("rules", filled(SIZE, head, rule));
    add("the same id", filled(SIZE, head, |_| rule(0)));
    add("bad rules", filled(SIZE, head, |i| format!("  - {{ id: r{i}, wen: al }}\n")));
    add("keys", filled(SIZE, "", |i| format!("key{i}: 1\n")));
    add("the same key", "version: 1\n".repeat(SIZE / 11));
    add("tag keys", filled(SIZE, "version: 1\ntag_keys:\n", |i| format!("  - k{i}\n")));
    add("a long id", format!("version: 1\nrules: [{{ id: {} }}]\n", "x".repeat(SIZE)));
    add("a long key", format!("version: 1\n? {}\n: 1\n", "x".repeat(SIZE)));
    add("a long duration", with_rule(&format!("require: {{ max_age: {}s }}", "0".repeat(SIZE))));

    let tags = |keys: &str, used: &str| {
        let tags = format!("target_tags:\n      {used}");
        format!(
            "version: 1\ntag_keys: [{keys}]\nrules:\n  - id: a\n    forbid: true\n    when:\n     {tags}\n"
        )
    };
    let used = |key: &str| format!(" ? {key}\n       : x");
    add("a long tag key", tags(&"y".repeat(128), &used(&"x".repeat(SIZE / 4))));
    add("two long tag keys", tags(&"y".repeat(1_000), &used(&"x".repeat(1_000))));
    let known = filled(SIZE / 16, "", |i| format!("k{i}, "));
    let unknown = filled(SIZE / 16, "", |i| format!(" u{i}: x\n      "));
    add("tag keys that are not in the vocabulary", tags(&known, &unknown));

    add("a glob", with_rule(&format!("require: {{ owner: \"role/{}b\" }}", "*a".repeat(SIZE / 2))));
    add(
        "days",
        with_rule(&format!(
            "require: {{ hours: \"{}Mon 01:00-02:00 UTC\" }}",
            "Tue-Mon,".repeat(SIZE / 8)
        )),
    );
    let list = |size, key: &str, item: &str| {
        with_rule(&format!(
            "require: {{ {key}: [{}] }}",
            filled(size, "", |_| format!("'{item}', "))
        ))
    };
    add("hours", list(SIZE, "hours", "Mon-Sun 00:00-24:00 Europe/Berlin"));
    add("owners", list(SIZE, "owner", "role/x"));
    add("expressions", list(SIZE, "reason", "a"));
    add("costly expressions", list(SIZE, "reason", "[a-z]{400}"));
    add("huge expressions", list(SIZE / 8, "reason", "((a{100}){100}){100}"));
    add("a deep expression", with_rule(&format!("require: {{ reason: '{}' }}", "(".repeat(SIZE))));
    add(
        "a wide expression",
        with_rule(&format!("require: {{ reason: '{}' }}", "a|".repeat(SIZE / 2))),
    );

    let long = "x".repeat(SIZE / 2);
    add("aliases of a long text", format!("a: &a {long}\nb: [{}]\n", "*a,".repeat(SIZE / 6)));
    add("aliases of a long key", format!("? &a {long}\n: 1\n{}", "? *a\n: 1\n".repeat(SIZE / 18)));
    let bomb =
        |i: u32| format!("l{i}: &l{i} [{}]\n", format!("*l{},", i.wrapping_sub(1)).repeat(9));
    add("an alias bomb", "l0: &l0 lol\n".to_owned() + &(1..20).map(bomb).collect::<String>());
    add("anchors", filled(SIZE, "", |i| format!("- &a{i} x\n")));
    add("an alias in itself", "&a [*a]\n".into());
    add("merged keys", filled(SIZE, "a: &a {b: 1}\nc:\n", |_| "  <<: *a\n".into()));
    add("a block text", filled(SIZE, "a: |\n", |_| "  x\n".into()));
    add("a folded text", filled(SIZE, "a: >\n", |_| "  x\n\n".into()));
    add("escapes", filled(SIZE, "\"", |_| "\\U0001F4A9".into()) + "\"");
    add("lines in quotes", filled(SIZE, "\"", |_| "\n".into()) + "\"");
    add("comments", filled(SIZE, "", |_| "#\n".into()));
    add("documents", filled(SIZE, "", |_| "--- 1\n...\n".into()));
    add("directives", filled(SIZE, "", |i| format!("%TAG !t{i}! x\n")));
    add("deep blocks", filled(SIZE, "", |i| " ".repeat(i) + "-\n"));
    all
}

fn with_rule(demand: &str) -> String {
    format!("version: 1\nrules: [{{ id: a, when: all, {demand} }}]\n")
}

/// Grown by one part after the other until it is so long.
fn filled(size: usize, head: &str, part: impl Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    for i in 0.. {
        if size <= text.len() {
            break;
        }
        text += &part(i);
    }
    text
}
