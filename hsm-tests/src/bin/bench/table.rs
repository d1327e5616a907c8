//! Rows: what all rounds together say.

use serde_json::{Value, json};

use crate::target::Who;

/// One line of the table: a measure of the three targets.
#[derive(Debug, Default)]
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    /// Each round's value by [`Who`]; empty for who cannot do it.
    rounds: [Vec<f64>; 3],
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, ..Self::default() }
    }

    /// Adds the value of one round. All who have values must have one in each round: ratios are taken round by round.
    pub(crate) fn add(&mut self, who: Who, value: f64) {
        self.rounds[who as usize].push(value);
    }

    pub(crate) fn median(&self, who: Who) -> Option<f64> {
        median(&self.rounds[who as usize])
    }

    /// hardkey's share of `other`, the median of the rounds' own.
    fn ratio(&self, other: Who) -> Option<f64> {
        let pairs = self.rounds[Who::Hardkey as usize].iter().zip(&self.rounds[other as usize]);
        let ratios: Vec<_> = pairs.map(|(hardkey, other)| hardkey / other).filter(|ratio| ratio.is_finite()).collect();
        median(&ratios)
    }

    fn cells(&self) -> [String; 7] {
        let value = |who| self.median(who).map_or_else(|| "-".to_owned(), number);
        let ratio = |who| self.ratio(who).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        [
            self.name.clone(),
            self.unit.to_owned(),
            value(Who::Hardkey),
            value(Who::Stock),
            value(Who::Raw),
            ratio(Who::Stock),
            ratio(Who::Raw),
        ]
    }

    fn json(&self) -> Value {
        let target = |who| json!({ "median": self.median(who), "rounds": self.rounds[who as usize] });
        json!({
            "name": self.name,
            "unit": self.unit,
            "hardkey": target(Who::Hardkey),
            "stock": target(Who::Stock),
            "raw": target(Who::Raw),
            "hardkey/stock": self.ratio(Who::Stock),
            "hardkey/raw": self.ratio(Who::Raw),
        })
    }
}

/// Prints the table.
pub(crate) fn print(rows: &[Row]) {
    let head = ["", "unit", "hardkey", "stock", "raw", "hardkey/stock", "hardkey/raw"].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    for line in &lines {
        let [name, unit, numbers @ ..] = line;
        print!("{name:0$}  {unit:1$}", widths[0], widths[1]);
        for (number, width) in numbers.iter().zip(&widths[2..]) {
            print!("  {number:>width$}");
        }
        println!();
    }
}

/// The rows for other programs, with every round's value.
pub(crate) fn json(machine: &[(&'static str, String)], rows: &[Row]) -> String {
    let machine: serde_json::Map<_, _> =
        machine.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    format!("{:#}\n", json!({ "machine": machine, "rows": rows.iter().map(Row::json).collect::<Vec<_>>() }))
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut row = Row::new("sign", "1/s");
        // The machine was half as fast in the second round, for both.
        for (hardkey, stock) in [(200.0, 100.0), (100.0, 50.0), (200.0, 100.0)] {
            row.add(Who::Hardkey, hardkey);
            row.add(Who::Stock, stock);
        }
        assert_eq!(row.cells(), ["sign", "1/s", "200", "100", "-", "2.00", "-"]);
        assert_eq!(row.json()["stock"]["rounds"], json!([100.0, 50.0, 100.0]));
    }

    #[test]
    fn medians_of_even_numbers_lie_between() {
        assert_eq!((median(&[3.0, 1.0]), median(&[]), median(&[5.0, 1.0, 2.0])), (Some(2.0), None, Some(2.0)));
    }
}
