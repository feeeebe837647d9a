//! An expression that has been parsed.

use crate::value::Value;

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    And(Box<[Node; 2]>),
    Comparison(Operator, Box<[Node; 2]>),
    /// `@`, and what stands where nothing is written.
    Current,
    /// `&expression`: the argument of a function.
    Expression(Box<Node>),
    Field(String),
    /// A list, what is made of each item, and the condition.
    Filter(Box<[Node; 3]>),
    Flatten(Box<Node>),
    Function(String, Vec<Node>),
    Index(i128),
    /// An index or slice behind something.
    Indexed(Vec<Node>),
    Literal(Value),
    MultiHash(Vec<(String, Node)>),
    MultiList(Vec<Node>),
    Not(Box<Node>),
    Or(Box<[Node; 2]>),
    /// One after the other: `a.b`, `a | b`.
    Pipe(Box<[Node; 2]>),
    Projection(Box<[Node; 2]>),
    Slice([Option<i128>; 3]),
    ValueProjection(Box<[Node; 2]>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    NotEqual,
}
