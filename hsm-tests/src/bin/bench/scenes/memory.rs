//! Memory after all the work: what a user's session keeps.

use crate::options::Options;
use crate::process::Usage;
use crate::table::Row;
use crate::target::{Targets, Who};

pub(crate) fn measure(options: &Options, targets: &Targets, rows: &mut Vec<Row>) {
    for (name, part) in PARTS {
        if options.wants(name) {
            let mut row = Row::new(name, "kB");
            for who in Who::AGENTS {
                if let Some((all, alone)) = targets.memory(who) {
                    row.add(who, part(&all, &alone) as f64);
                }
            }
            rows.push(row);
        }
    }
}

type Part = fn(&Usage, &Usage) -> u64;

const PARTS: [(&str, Part); 4] = [
    ("memory, agent", |_, alone| alone.rss_kb),
    ("memory, agent and children", |all, _| all.rss_kb),
    ("peak memory, agent", |_, alone| alone.peak_kb),
    ("peak memory, agent and children", |all, _| all.peak_kb),
];
