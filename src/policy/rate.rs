//! How often rules have served, for those that serve only so often.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::rule::Rate;
use super::verdict::{Part, Verdict};

/// What was served, by rule and key.
#[derive(Debug, Default)]
pub struct Rates(HashMap<(String, String), VecDeque<Duration>>);

/// A rule has served as often as it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {count} signatures in {} s are served, and no more; wait, or change its rate", .per.as_secs())]
pub struct TooOften {
    rule: String,
    count: u32,
    per: Duration,
}

impl Rates {
    /// Counts a signature with a key, if every rule that the verdict is made of may serve once more. `now` only grows.
    ///
    /// # Errors
    /// One may not; then nothing is counted.
    pub fn serve(&mut self, verdict: &Verdict, key: &str, now: Duration) -> Result<(), TooOften> {
        let limited = |part: &Part| part.rate.map(|rate| (part.cited(), rate));
        let limits: Vec<(String, Rate)> = verdict.parts.iter().filter_map(limited).collect();
        for (rule, rate) in &limits {
            let served = self.0.entry((rule.clone(), key.to_owned())).or_default();
            while served.front().is_some_and(|then| now.saturating_sub(*then) >= rate.per) {
                served.pop_front();
            }
            if served.len() >= usize::try_from(rate.count).unwrap_or(usize::MAX) {
                return Err(TooOften { rule: rule.clone(), count: rate.count, per: rate.per });
            }
        }
        for (rule, _) in limits {
            self.0.entry((rule, key.to_owned())).or_default().push_back(now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::requirements::Action;
    use crate::policy::verdict::Source;

    #[test]
    fn a_rule_serves_each_key_so_often_in_any_period() {
        let rate = Rate { count: 2, per: Duration::from_secs(60) };
        let part = Part { rate: Some(rate), ..Part::plain(Source::Rule, "rule 1", Action::ALLOW) };
        let verdict = Verdict { action: Action::ALLOW, parts: vec![part], remember: None };
        let mut rates = Rates::default();
        let mut serve = |key: &str, seconds| rates.serve(&verdict, key, Duration::from_secs(seconds)).is_ok();
        assert!(serve("a", 0) && serve("a", 50) && !serve("a", 59) && serve("b", 59));
        assert!(serve("a", 60) && !serve("a", 109), "what was refused does not count");
        assert!(serve("a", 110));
    }
}
