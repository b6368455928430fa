//! Rows under headings. In a terminal each row takes one line, cut to the width; in a pipe nothing is cut.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Row, Table, Width};

use super::style;
use super::text::line;
use crate::failure::Failure;

/// A table being filled.
pub struct Rows {
    table: Table,
    in_terminal: bool,
}

/// A value with the colour of what it means.
pub fn coloured(value: impl Into<String>, style: &str) -> Cell {
    let cell = Cell::new(line(&value.into()));
    match style {
        style::GREEN => cell.fg(Color::Green),
        style::RED => cell.fg(Color::Red),
        style::YELLOW => cell.fg(Color::Yellow),
        style::BLUE => cell.fg(Color::Blue),
        style::DIM => cell.fg(Color::DarkGrey),
        _ => cell,
    }
}

pub fn plain(value: impl AsRef<str>) -> Cell {
    Cell::new(line(value.as_ref()))
}

impl Rows {
    pub fn new(headings: &[&str]) -> Self {
        let in_terminal = std::io::stdout().is_terminal();
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(headings.iter().map(|heading| Cell::new(heading.to_uppercase())));
        if in_terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(super::width(std::io::stdout()));
            table.set_truncation_indicator("…");
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        if anstream::AutoStream::choice(&std::io::stdout()) == anstream::ColorChoice::Never {
            table.force_no_tty();
        } else {
            table.enforce_styling();
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self { table, in_terminal }
    }

    /// Columns that are never cut: numbers, statuses, times.
    pub fn keep_whole(mut self, columns: &[usize]) -> Self {
        for &column in columns {
            if let Some(column) = self.table.column_mut(column) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self
    }

    /// A column that takes no more than this part of the terminal.
    pub fn at_most(mut self, column: usize, percent: u16) -> Self {
        if self.in_terminal
            && let Some(column) = self.table.column_mut(column)
        {
            column.set_constraint(ColumnConstraint::UpperBoundary(Width::Percentage(percent)));
        }
        self
    }

    pub fn push(&mut self, cells: Vec<Cell>) {
        let mut row = Row::from(cells);
        if self.in_terminal {
            row.max_height(1);
        }
        self.table.add_row(row);
    }

    pub fn print(self) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        for line in self.table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(out.flush()?)
    }
}
