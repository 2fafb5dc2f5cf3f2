//! The table, and the same as JSON.

use std::time::Duration;

use serde_json::{Value, json};

/// One figure of several runs.
struct Row {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
    /// Less is better.
    less: bool,
    against: String,
}

#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Notes a figure; of several with one name the median and the worst are told.
    pub(crate) fn note(&mut self, name: &str, value: f64, unit: &'static str, less: bool) {
        eprintln!("  {name}: {} {unit}", short(value));
        match self.rows.iter_mut().find(|r| r.name == name) {
            Some(row) => row.values.push(value),
            None => self.rows.push(Row {
                name: name.to_owned(),
                unit,
                values: vec![value],
                less,
                against: String::new(),
            }),
        }
    }

    /// What a figure is to be held against, such as a ratio to a floor of the same run.
    pub(crate) fn against(&mut self, name: &str, text: String) {
        if let Some(row) = self.rows.iter_mut().find(|r| r.name == name) {
            row.against = text;
        }
    }

    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        let row = self.rows.iter().find(|r| r.name == name)?;
        Some(row.median())
    }

    pub(crate) fn print(&self) {
        println!("| measure | median | worst | runs | set against the floors of this run |");
        println!("|---|---|---|---|---|");
        for r in &self.rows {
            println!(
                "| {} | {} {} | {} | {} | {} |",
                r.name,
                short(r.median()),
                r.unit,
                short(r.worst()),
                r.values.len(),
                r.against
            );
        }
    }

    pub(crate) fn json(&self, machine: &str) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|r| {
                json!({
                    "measure": r.name, "unit": r.unit, "median": r.median(),
                    "worst": r.worst(), "values": r.values, "against": r.against,
                })
            })
            .collect();
        json!({"machine": machine, "rows": rows})
    }
}

impl Row {
    fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    fn worst(&self) -> f64 {
        let values = self.values.iter().copied();
        match self.less {
            true => values.fold(f64::MIN, f64::max),
            false => values.fold(f64::MAX, f64::min),
        }
    }
}

fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

pub(crate) fn ms(of: Duration) -> f64 {
    of.as_secs_f64() * 1000.0
}

/// The value below which `share` of the ascending ones lie.
pub(crate) fn quantile<T: Copy>(sorted: &[T], share: f64) -> T {
    let place = (sorted.len() as f64 * share) as usize;
    sorted[place.min(sorted.len() - 1)]
}
