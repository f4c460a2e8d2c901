//! Text in columns.

/// Aligns rows in columns with at least four blanks between them. Control characters in cells are
/// made visible.
pub fn table<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows = rows.into_iter();
    let rows: Vec<[String; N]> = rows
        .map(|row| row.map(|cell| text::printable(&cell)))
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0) + 4
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [["A", "B", "C"], ["long", "", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(rows), "A       B    C\nlong         x\n");
        let hostile = [["\x1b[2J", "a\nb"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(hostile), "\\x1b[2J    a\\nb\n");
    }
}
