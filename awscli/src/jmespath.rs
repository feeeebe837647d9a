//! `JMESPath` as in Python's implementation: its order of members, numbers and error messages.
//!
//! By hand, because no crate gives the same results. Of 72 expressions (those of the tests below and of
//! `tests/smoke/command_lines.txt`), `jmespath_community` 0.1.2 with `preserve_order` gives 28 of 50
//! values (its numbers are floats, so 2 becomes 2.0; `sort_by`, `join`, `sum` and others are not
//! registered) and none of 22 errors; a filter of 100 comparisons takes it 26 seconds (debug build).

mod functions;
mod interpret;
mod lexer;
mod node;
mod parser;

use crate::{jmespath::node::Node, value::Value};

/// A parsed expression.
pub(crate) struct Expression(Node);

impl Expression {
    /// Parses an expression; the error has several lines.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        parser::parse(text).map(Self)
    }

    /// Evaluates the expression for a value.
    pub(crate) fn search(&self, value: &Value) -> Result<Value, String> {
        interpret::evaluate(&self.0, value)
    }
}

#[cfg(test)]
mod tests {
    use crate::json;

    use super::*;

    const DATA: &str = r#"{"S": [{"id": "b", "n": 2, "t": {"x": 1.5}}, {"id": "a", "n": 10}],
        "m": {"z": [1, [2, 3]], "a": true}, "e": [], "s": "é日"}"#;

    #[test]
    fn expressions() {
        let data = json::parse(DATA).expect("JSON");
        for (expression, expected) in [
            ("S[].{Z: id, A: n}", r#"[{"Z":"b","A":2},{"Z":"a","A":10}]"#),
            ("S[*].[id, t.x]", r#"[["b",1.5],["a",null]]"#),
            ("S[?n > `5`].id | [0]", r#""a""#),
            ("S[-1].id", r#""a""#),
            ("S[::-1].id", r#"["a","b"]"#),
            ("sort_by(S, &n)[*].id", r#"["b","a"]"#),
            ("max_by(S, &id).n", "2"),
            ("m.*", "[[1,[2,3]],true]"),
            ("m.z[]", "[1,2,3]"),
            ("length(s)", "2"),
            ("sum(S[].n)", "12"),
            ("avg(S[].n)", "6.0"),
            ("to_string(m.z)", r#""[1,[2,3]]""#),
            ("join(', ', S[].id)", r#""b, a""#),
            ("S[?t].id && 'yes' || 'no'", r#""yes""#),
            ("e || 'none'", r#""none""#),
            ("!e", "true"),
            ("keys(m)", r#"["z","a"]"#),
            ("merge(m, `{\"z\": 0}`)", r#"{"z":0,"a":true}"#),
            ("S[?id == 'a' || n == `2`].n", "[2,10]"),
            ("contains(S[].id, 'a')", "true"),
            ("reverse(s)", "\"\\u65e5\\u00e9\""),
            ("nothing.at.all", "null"),
            ("map(&to_number(id), S)", "[null,null]"),
            ("S[].n | [?@ >= `3`]", "[10]"),
            ("not_null(nothing, s, m) | type(@)", r#""string""#),
        ] {
            let value = Expression::parse(expression).expect(expression).search(&data);
            let value = json::compact(&value.expect(expression), ",", ":");
            assert_eq!(value, expected, "{expression}");
        }
    }

    #[test]
    fn errors_are_pythons() {
        let data = json::parse(DATA).expect("JSON");
        for (expression, expected) in [
            ("", "Invalid JMESPath expression: cannot be empty."),
            ("S[", "Invalid jmespath expression: Incomplete expression:\n\"S[\"\n   ^"),
            (
                "S[].{a}",
                "Expecting: colon, got: rbrace: Parse error at column 6, token \"}\" (RBRACE), for \
                 expression:\n\"S[].{a}\"\n       ^",
            ),
            (
                "S]",
                "Unexpected token: ]: Parse error at column 1, token \"]\" (RBRACKET), for \
                 expression:\n\"S]\"\n  ^",
            ),
            ("a = b", "Bad jmespath expression: Unknown token '=':\na = b\n  ^"),
            ("'a", "Bad jmespath expression: Unclosed ' delimiter:\n'a\n^"),
            ("foo(S)", "Unknown function: foo()"),
            ("length()", "Expected 1 argument for function length(), received 0"),
            (
                "length(`1`)",
                "In function length(), invalid type for value: 1, expected one of: ['string', \
                 'array', 'object'], received: \"number\"",
            ),
            ("s < `1`", "'<' not supported between instances of 'str' and 'int'"),
        ] {
            let result = Expression::parse(expression).and_then(|it| it.search(&data));
            assert_eq!(result.expect_err(expression), expected);
        }
    }

    /// Runs on a stack as large as that of the main thread of a program.
    fn on_a_large_stack(test: impl FnOnce() + Send + 'static) {
        let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(test);
        thread.expect("a thread").join().expect("no panic");
    }

    /// Each form of nesting, twenty thousand times: an error, and no overflow of the stack. A chain is
    /// not nested, so its length is not limited.
    #[test]
    fn nesting_is_limited() {
        on_a_large_stack(|| {
            let data = json::parse(DATA).expect("JSON");
            let n = 20_000;
            for (open, middle, close) in [
                ("[", "e", "]"),
                ("(", "e", ")"),
                ("!", "e", ""),
                ("e[?", "e", "]"),
                ("{a:", "e", "}"),
                ("length(", "e", ")"),
                ("e.[", "e", "]"),
                ("sort_by(e, &", "e", ")"),
                ("", "e", " | e"),
                ("", "e", " || e"),
                ("", "e", "&&e"),
                ("", "e", "==e"),
                ("", "e", "[]"),
                ("", "e", ".*"),
                ("", "e", "[*]"),
                ("", "e", "[:]"),
                ("", "e", "[?e]"),
            ] {
                let text = open.repeat(n) + middle + &close.repeat(n);
                let result = Expression::parse(&text).and_then(|it| it.search(&data));
                let expected = Err("maximum recursion depth exceeded".into());
                assert_eq!(result, expected, "{open}e{close}");
            }
            for part in [".e", "[0]", ".e[0]"] {
                let text = "e".to_owned() + &part.repeat(n);
                let value = Expression::parse(&text).expect(part).search(&data);
                assert_eq!(value, Ok(Value::Null), "{part}");
            }
        });
    }

    /// Steps that each nest their input: the result would be nested more deeply than any expression.
    #[test]
    fn limits() {
        on_a_large_stack(|| {
            for step in [" | [[[[[[[[@]]]]]]]]", " | {a: {a: {a: {a: @}}}}"] {
                let text = "@".to_owned() + &step.repeat(300);
                let result = Expression::parse(&text).expect(step).search(&Value::Bool(true));
                assert_eq!(result, Err("maximum recursion depth exceeded".into()), "{step}");
            }
        });
    }

    /// The deepest value that is allowed, with everything that is done to it afterwards.
    #[test]
    fn limits_fit_the_stack() {
        on_a_large_stack(|| {
            let deepest = "[".repeat(500) + &"]".repeat(500);
            let value = json::parse(&deepest).expect("JSON");
            let text = "(".repeat(190) + "@" + &" || @".repeat(380) + &")".repeat(190);
            let text = format!("{text} | `{deepest}` == @");
            let picked = Expression::parse(&text).expect("an expression").search(&value);
            assert_eq!(picked, Ok(Value::Bool(true)));
            for rendered in [json::compact(&value, ",", ":"), json::pretty(&value), value.repr()] {
                assert!(rendered.starts_with('['));
            }
            let _partial = crate::text::render(&value);
            crate::table::render("title", &value, 80, true).expect("a table");
        });
    }
}
