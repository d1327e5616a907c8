//! The limits that a provider's keys were added with.

use std::sync::Arc;
use std::time::Duration;

use crate::protocol::constraint::AssociatedCertificates;
use crate::protocol::destination::DestinationConstraint;

/// The limits that a provider's keys were added with.
#[derive(Debug, Clone)]
pub struct ProviderPolicy {
    /// Every use needs consent.
    pub confirm: bool,
    /// The only paths the keys may be used on; empty means any.
    pub destinations: Arc<[DestinationConstraint]>,
    /// Certificates for the keys, and whether they alone are listed.
    pub certificates: AssociatedCertificates,
    /// When the keys are forgotten, on [`crate::clock`].
    pub expires: Option<Duration>,
}

impl Default for ProviderPolicy {
    fn default() -> Self {
        Self { confirm: false, destinations: [].into(), certificates: AssociatedCertificates::default(), expires: None }
    }
}

impl ProviderPolicy {
    /// What holds when somebody adds a provider that is in use already, without showing that he knows its PIN: the stricter of both. Else
    /// anybody could take a confirmation away by adding the provider without one.
    #[must_use]
    pub fn at_least(self, before: &Self) -> Self {
        Self {
            confirm: self.confirm || before.confirm,
            destinations: match before.destinations.is_empty() {
                true => self.destinations,
                false => Arc::clone(&before.destinations),
            },
            certificates: self.certificates,
            expires: match (self.expires, before.expires) {
                (Some(new), Some(old)) => Some(new.min(old)),
                (new, old) => new.or(old),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_again_takes_no_limit_away() {
        let strict =
            ProviderPolicy { confirm: true, expires: Some(Duration::from_secs(5)), ..ProviderPolicy::default() };
        let merged = ProviderPolicy::default().at_least(&strict);
        assert!(merged.confirm);
        assert_eq!(merged.expires, Some(Duration::from_secs(5)));
        let later = ProviderPolicy { expires: Some(Duration::from_secs(9)), ..ProviderPolicy::default() };
        assert_eq!(later.at_least(&strict).expires, Some(Duration::from_secs(5)));
    }
}
