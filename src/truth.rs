//! Three-valued logic (Kleene's): what a sweep can say about a session whose tags it may not know.

/// True, false, or not known. `and` is the smaller of two, `or` the larger.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Truth {
    /// Known not to hold.
    False,
    /// It depends on something that is not known.
    Unknown,
    /// Known to hold.
    True,
}

impl Truth {
    /// Whether every one holds. An empty conjunction is true.
    pub fn all(truths: impl IntoIterator<Item = Self>) -> Self {
        fold(truths, Self::True, Self::False, Self::min)
    }

    /// Whether one or more hold. An empty disjunction is false.
    pub fn any(truths: impl IntoIterator<Item = Self>) -> Self {
        fold(truths, Self::False, Self::True, Self::max)
    }
}

/// Folds until the value is reached that no further operand can change.
fn fold(
    truths: impl IntoIterator<Item = Truth>,
    neutral: Truth,
    last: Truth,
    combine: fn(Truth, Truth) -> Truth,
) -> Truth {
    let mut folded = neutral;
    for truth in truths {
        folded = combine(folded, truth);
        if folded == last {
            break;
        }
    }
    folded
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl std::ops::Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::True => Self::False,
            Self::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Truth::{self, False as F, True as T, Unknown as U};

    #[test]
    #[rustfmt::skip]
    fn kleenes_tables() {
        let table = [
            // a  b  a and b  a or b
            (F, F, F, F), (F, U, F, U), (F, T, F, T),
            (U, F, F, U), (U, U, U, U), (U, T, U, T),
            (T, F, F, T), (T, U, U, T), (T, T, T, T),
        ];
        for (a, b, and, or) in table {
            assert_eq!(Truth::all([a, b]), and, "{a:?} and {b:?}");
            assert_eq!(Truth::any([a, b]), or, "{a:?} or {b:?}");
        }
        assert_eq!([!F, !U, !T], [T, U, F]);
        assert_eq!((Truth::all([]), Truth::any([])), (T, F));
    }
}
