//! Parses tokens by Pratt's top-down operator precedence.

use crate::{
    jmespath::{
        lexer::{Token, tokenize},
        node::{Node, Operator},
    },
    value::{TOO_DEEP, Value},
};

/// Tokens that bind less strongly end a projection.
const PROJECTION_STOP: u8 = 10;

/// The deepest nesting of parentheses and brackets: the parser recurses for each.
const MAX_NESTING: usize = 200;

/// The deepest nesting of nodes, such as those of `a || b || c`.
const MAX_HEIGHT: usize = 400;

struct Parser<'a> {
    expression: &'a str,
    tokens: Vec<Token>,
    at: usize,
    /// Expressions that are open.
    nesting: usize,
}

pub(super) fn parse(expression: &str) -> Result<Node, String> {
    let mut parser = Parser { expression, tokens: tokenize(expression)?, at: 0, nesting: 0 };
    let node = parser.expression(0)?;
    let token = parser.look(0);
    if token.kind == "eof" {
        return Ok(node);
    }
    parser.fail(&token, &format!("Unexpected token: {}", token.value.text()))
}

fn binding_power(kind: &str) -> u8 {
    match kind {
        "pipe" => 1,
        "or" => 2,
        "and" => 3,
        "eq" | "gt" | "lt" | "gte" | "lte" | "ne" => 5,
        "flatten" => 9,
        "star" => 20,
        "filter" => 21,
        "dot" => 40,
        "not" => 45,
        "lbrace" => 50,
        "lbracket" => 55,
        "lparen" => 60,
        _ => 0,
    }
}

fn pair(left: Node, right: Node) -> Box<[Node; 2]> {
    Box::new([left, right])
}

impl Parser<'_> {
    /// The token at a distance from the current one.
    fn look(&self, distance: isize) -> Token {
        let token = self.at.checked_add_signed(distance).and_then(|it| self.tokens.get(it));
        token.or(self.tokens.last()).cloned().unwrap_or_else(|| Token {
            kind: "eof",
            value: "".into(),
            start: 0,
        })
    }

    fn kind(&self) -> &'static str {
        self.look(0).kind
    }

    fn fail<T>(&self, token: &Token, reason: &str) -> Result<T, String> {
        let column = token.start;
        Err(format!(
            "{reason}: Parse error at column {column}, token \"{}\" ({}), for expression:\n\
             \"{}\"\n{}^",
            token.value.text(),
            token.kind.to_uppercase(),
            self.expression,
            " ".repeat(column + 1)
        ))
    }

    fn incomplete<T>(&self) -> Result<T, String> {
        let indent = " ".repeat(self.expression.chars().count() + 1);
        let expression = self.expression;
        Err(format!(
            "Invalid jmespath expression: Incomplete expression:\n\"{expression}\"\n{indent}^"
        ))
    }

    fn expect(&mut self, kind: &str) -> Result<(), String> {
        self.expect_any(&[kind], kind)
    }

    fn expect_any(&mut self, kinds: &[&str], shown: &str) -> Result<(), String> {
        let token = self.look(0);
        if kinds.contains(&token.kind) {
            self.at += 1;
            return Ok(());
        }
        if token.kind == "eof" {
            return self.incomplete();
        }
        self.fail(&token, &format!("Expecting: {shown}, got: {}", token.kind))
    }

    fn expression(&mut self, power: u8) -> Result<Node, String> {
        if self.nesting == MAX_NESTING {
            return Err(TOO_DEEP.into());
        }
        self.nesting += 1;
        let token = self.look(0);
        self.at += 1;
        let mut left = self.prefix(&token)?;
        while power < binding_power(self.kind()) {
            left = self.infix(left)?;
            // A longer list is not nested more deeply than its items.
            let is_longer = matches!(&left, Node::Chain(it) | Node::Indexed(it) if 2 < it.len());
            if !is_longer && MAX_HEIGHT < left.height() {
                return Err(TOO_DEEP.into());
            }
        }
        self.nesting -= 1;
        Ok(left)
    }

    fn prefix(&mut self, token: &Token) -> Result<Node, String> {
        Ok(match token.kind {
            "literal" => Node::Literal(token.value.clone()),
            "unquoted_identifier" => Node::Field(token.value.text()),
            "quoted_identifier" => {
                if self.kind() == "lparen" {
                    let next = Token { start: 0, ..self.look(0) };
                    let reason = "Quoted identifier not allowed for function names.";
                    return self.fail(&next, reason);
                }
                Node::Field(token.value.text())
            }
            "star" if self.kind() == "rbracket" => {
                Node::ValueProjection(pair(Node::Current, Node::Current))
            }
            "star" => Node::ValueProjection(pair(Node::Current, self.projected("star")?)),
            "filter" => self.filter(Node::Current)?,
            "lbrace" => self.multi_hash()?,
            "lparen" => {
                let node = self.expression(0)?;
                self.expect("rparen")?;
                node
            }
            "flatten" => self.flatten(Node::Current)?,
            "not" => Node::Not(Box::new(self.expression(binding_power("not"))?)),
            "lbracket" => match (self.kind(), self.look(1).kind) {
                ("number" | "colon", _) => self.indexed(Node::Current)?,
                ("star", "rbracket") => {
                    self.at += 2;
                    Node::Projection(pair(Node::Current, self.projected("star")?))
                }
                _ => self.multi_list()?,
            },
            "current" => Node::Current,
            "expref" => Node::Expression(Box::new(self.expression(binding_power("expref"))?)),
            "eof" => return self.incomplete(),
            _ => return self.fail(token, "invalid token"),
        })
    }

    fn infix(&mut self, left: Node) -> Result<Node, String> {
        let token = self.look(0);
        self.at += 1;
        Ok(match token.kind {
            "dot" if self.kind() == "star" => {
                self.at += 1;
                Node::ValueProjection(pair(left, self.projected("dot")?))
            }
            "dot" => {
                let right = self.behind_dot(binding_power("dot"))?;
                if let Node::Chain(mut parts) = left {
                    parts.push(right);
                    return Ok(Node::Chain(parts));
                }
                Node::Chain(vec![left, right])
            }
            "pipe" => Node::Pipe(pair(left, self.expression(binding_power("pipe"))?)),
            "or" => Node::Or(pair(left, self.expression(binding_power("or"))?)),
            "and" => Node::And(pair(left, self.expression(binding_power("and"))?)),
            "lparen" => self.function(left)?,
            "filter" => self.filter(left)?,
            "eq" => self.comparison(Operator::Equal, left)?,
            "ne" => self.comparison(Operator::NotEqual, left)?,
            "gt" => self.comparison(Operator::Greater, left)?,
            "gte" => self.comparison(Operator::GreaterOrEqual, left)?,
            "lt" => self.comparison(Operator::Less, left)?,
            "lte" => self.comparison(Operator::LessOrEqual, left)?,
            "flatten" => self.flatten(left)?,
            "lbracket" if matches!(self.kind(), "number" | "colon") => self.indexed(left)?,
            "lbracket" => {
                self.expect("star")?;
                self.expect("rbracket")?;
                Node::Projection(pair(left, self.projected("star")?))
            }
            _ => return self.fail(&token, "invalid token"),
        })
    }

    fn comparison(&mut self, operator: Operator, left: Node) -> Result<Node, String> {
        Ok(Node::Comparison(operator, pair(left, self.expression(binding_power("eq"))?)))
    }

    fn flatten(&mut self, left: Node) -> Result<Node, String> {
        let left = Node::Flatten(Box::new(left));
        Ok(Node::Projection(pair(left, self.projected("flatten")?)))
    }

    fn filter(&mut self, left: Node) -> Result<Node, String> {
        let condition = self.expression(0)?;
        self.expect("rbracket")?;
        let right = match self.kind() {
            "flatten" => Node::Current,
            _ => self.projected("filter")?,
        };
        Ok(Node::Filter(Box::new([left, right, condition])))
    }

    fn function(&mut self, left: Node) -> Result<Node, String> {
        let Node::Field(name) = left else {
            let token = self.look(-2);
            let reason = format!("Invalid function name '{}'", token.value.text());
            return self.fail(&token, &reason);
        };
        let mut arguments = Vec::new();
        while self.kind() != "rparen" {
            arguments.push(self.expression(0)?);
            if self.kind() == "comma" {
                self.at += 1;
            }
        }
        self.at += 1;
        Ok(Node::Function(name, arguments))
    }

    /// `[1]` or `[1:2]` after an expression; a slice is a projection.
    fn indexed(&mut self, left: Node) -> Result<Node, String> {
        let right = if self.kind() == "colon" || self.look(1).kind == "colon" {
            self.slice()?
        } else {
            let Value::Int(index) = self.look(0).value else { return self.incomplete() };
            self.at += 1;
            self.expect("rbracket")?;
            Node::Index(index)
        };
        Ok(match (left, right) {
            // A slice after an index is not a projection, as in Python.
            (Node::Indexed(mut parts), right) => {
                parts.push(right);
                Node::Indexed(parts)
            }
            (left, right @ Node::Slice(_)) => {
                let left = Node::Indexed(vec![left, right]);
                Node::Projection(pair(left, self.projected("star")?))
            }
            (left, right) => Node::Indexed(vec![left, right]),
        })
    }

    fn slice(&mut self) -> Result<Node, String> {
        let mut parts = [None; 3];
        let mut index = 0;
        while self.kind() != "rbracket" && index < 3 {
            let token = self.look(0);
            match (token.kind, &token.value) {
                ("colon", _) if index == 2 => return self.fail(&token, "syntax error"),
                ("colon", _) => index += 1,
                ("number", Value::Int(number)) => {
                    if let Some(part) = parts.get_mut(index) {
                        *part = Some(*number);
                    }
                }
                _ => return self.fail(&token, "syntax error"),
            }
            self.at += 1;
        }
        self.expect("rbracket")?;
        Ok(Node::Slice(parts))
    }

    fn multi_list(&mut self) -> Result<Node, String> {
        let mut nodes = Vec::new();
        loop {
            nodes.push(self.expression(0)?);
            if self.kind() == "rbracket" {
                self.at += 1;
                return Ok(Node::MultiList(nodes));
            }
            self.expect("comma")?;
        }
    }

    fn multi_hash(&mut self) -> Result<Node, String> {
        let kinds = ["quoted_identifier", "unquoted_identifier"];
        let mut members = Vec::new();
        loop {
            let key = self.look(0).value.text();
            self.expect_any(&kinds, "['quoted_identifier', 'unquoted_identifier']")?;
            self.expect("colon")?;
            members.push((key, self.expression(0)?));
            match self.kind() {
                "comma" => self.at += 1,
                "rbrace" => {
                    self.at += 1;
                    return Ok(Node::MultiHash(members));
                }
                _ => {}
            }
        }
    }

    /// The expression for each item of a projection.
    fn projected(&mut self, kind: &str) -> Result<Node, String> {
        let token = self.look(0);
        match token.kind {
            it if binding_power(it) < PROJECTION_STOP => Ok(Node::Current),
            "lbracket" | "filter" => self.expression(binding_power(kind)),
            "dot" => {
                self.at += 1;
                self.behind_dot(binding_power(kind))
            }
            _ => self.fail(&token, "syntax error"),
        }
    }

    fn behind_dot(&mut self, power: u8) -> Result<Node, String> {
        let token = self.look(0);
        match token.kind {
            "quoted_identifier" | "unquoted_identifier" | "star" => self.expression(power),
            "lbracket" => {
                self.at += 1;
                self.multi_list()
            }
            "lbrace" => {
                self.at += 1;
                self.multi_hash()
            }
            got => {
                let allowed = "['quoted_identifier', 'unquoted_identifier', 'lbracket', 'lbrace']";
                self.fail(&token, &format!("Expecting: {allowed}, got: {got}"))
            }
        }
    }
}
