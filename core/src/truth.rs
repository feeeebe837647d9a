//! Three-valued logic (Kleene's): true, false and unknown.

/// True, false, or unknown. Their order makes `and` the smaller of two.
///
/// ```
/// use reaper_core::truth::Truth;
///
/// assert_eq!(Truth::all([Truth::True, Truth::Unknown]), Truth::Unknown);
/// assert_eq!(Truth::all([Truth::False, Truth::Unknown]), Truth::False);
/// assert_eq!(!Truth::Unknown, Truth::Unknown);
/// ```
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Truth {
    /// It does not hold.
    False,
    /// It depends on a fact that is not known.
    Unknown,
    /// It holds.
    True,
}

impl Truth {
    /// Whether all of them hold; true if there are none. Stops at the first that is false.
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
