//! What people see: colour and tables in a terminal, plain text in a pipe, and nothing that a server could smuggle in.

pub mod facts;
pub mod human;
pub mod json;
pub mod style;
pub mod table;
pub mod text;

/// Columns of the terminal behind `stream`.
pub fn width(stream: impl std::os::fd::AsFd) -> u16 {
    rustix::termios::tcgetwinsize(stream).map_or(80, |size| size.ws_col.max(20))
}
