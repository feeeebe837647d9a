//! A parsed expression.

use crate::value::Value;

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    And(Box<[Node; 2]>),
    /// `a.b.c`
    Chain(Vec<Node>),
    Comparison(Operator, Box<[Node; 2]>),
    /// `@`, and where nothing is written.
    Current,
    /// `&expression`: the argument of a function.
    Expression(Box<Node>),
    Field(String),
    /// A list, the expression for each item, and the condition.
    Filter(Box<[Node; 3]>),
    Flatten(Box<Node>),
    Function(String, Vec<Node>),
    Index(i128),
    /// An index or slice of an expression.
    Indexed(Vec<Node>),
    Literal(Value),
    MultiHash(Vec<(String, Node)>),
    MultiList(Vec<Node>),
    Not(Box<Node>),
    Or(Box<[Node; 2]>),
    /// One after the other: `a | b`.
    Pipe(Box<[Node; 2]>),
    Projection(Box<[Node; 2]>),
    Slice([Option<i128>; 3]),
    ValueProjection(Box<[Node; 2]>),
}

impl Node {
    /// How deep nodes are nested. Functions recurse for each level.
    pub(super) fn height(&self) -> usize {
        let children: &[Self] = match self {
            Self::Current | Self::Field(_) | Self::Index(_) | Self::Literal(_) | Self::Slice(_) => {
                &[]
            }
            Self::Expression(it) | Self::Flatten(it) | Self::Not(it) => std::slice::from_ref(it),
            Self::And(pair)
            | Self::Comparison(_, pair)
            | Self::Or(pair)
            | Self::Pipe(pair)
            | Self::Projection(pair)
            | Self::ValueProjection(pair) => pair.as_slice(),
            Self::Filter(parts) => parts.as_slice(),
            Self::Chain(all)
            | Self::Function(_, all)
            | Self::Indexed(all)
            | Self::MultiList(all) => all,
            Self::MultiHash(members) => {
                let heights = members.iter().map(|(_, it)| it.height());
                return 1 + heights.max().unwrap_or_default();
            }
        };
        1 + children.iter().map(Self::height).max().unwrap_or_default()
    }
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
