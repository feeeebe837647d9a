//! Three-valued logic (Kleene's): what can be said about a session of which not all is known.

/// True, false, or not known. `and` is the smaller of two.
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
    /// Whether every one holds. An empty conjunction is true; what stands behind one that does not
    /// hold is not asked.
    pub fn all(truths: impl IntoIterator<Item = Self>) -> Self {
        let mut least = Self::True;
        for truth in truths {
            least = least.min(truth);
            if least == Self::False {
                break;
            }
        }
        least
    }
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
            // a  b  a and b
            (F, F, F), (F, U, F), (F, T, F),
            (U, F, F), (U, U, U), (U, T, U),
            (T, F, F), (T, U, U), (T, T, T),
        ];
        for (a, b, and) in table {
            assert_eq!(Truth::all([a, b]), and, "{a:?} and {b:?}");
        }
        assert_eq!([!F, !U, !T], [T, U, F]);
        assert_eq!(Truth::all([]), T);
    }
}
