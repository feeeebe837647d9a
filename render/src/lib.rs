//! Shows texts that anybody may have written, so that none of them controls a terminal, becomes a
//! formula of a spreadsheet, or breaks the line that it is in.

pub mod diagnostic;
pub mod spreadsheet;
pub mod table;
