//! Owns tables whose columns are aligned.

/// Lines of aligned columns, two spaces apart. The last column is not padded.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading.
    pub(crate) fn headed(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    /// A table without a heading.
    pub(crate) fn plain() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines, each ending in a line feed.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Text on one line, cut to so many characters.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if flat.chars().count() <= chars_max {
        return flat;
    }
    let kept: String = flat.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_end_without_spaces() {
        let mut table = Table::headed(&["ID", "STATE", "ERROR"]);
        table.row(vec!["orders".to_owned(), "running".to_owned(), String::new()]);
        table.row(vec!["o".to_owned(), "stopped".to_owned(), "no route".to_owned()]);
        assert_eq!(table.render(), "ID      STATE    ERROR\norders  running\no       stopped  no route\n");
    }

    #[test]
    fn long_text_is_cut_and_control_characters_do_not_reach_the_terminal() {
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("a\u{1b}[2Jb\nc", 20), "a [2Jb c");
    }
}
