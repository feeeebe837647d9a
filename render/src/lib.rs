//! Shows texts from users safely: no text controls a terminal, becomes a formula in a spreadsheet, or
//! breaks a line.

pub mod diagnostic;
pub mod spreadsheet;
pub mod table;
