//! The hosts that a key is for: `[user@]host`, with patterns and exceptions.

use crate::pattern;

/// The hosts that a key may log in at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostList {
    entries: Vec<Entry>,
    exceptions: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    user: Option<String>,
    host: String,
}

impl HostList {
    /// Takes a list of `[user@]host`, `!` before an exception; names as `known_hosts` has them.
    #[must_use]
    pub fn new(list: &[String]) -> Self {
        let (exceptions, entries): (Vec<&str>, Vec<&str>) =
            list.iter().map(String::as_str).partition(|entry| entry.starts_with('!'));
        let entry = |text: &str| {
            let text = text.trim_start_matches('!');
            let (user, host) = text.rsplit_once('@').map_or((None, text), |(user, host)| (Some(user), host));
            Entry { user: user.map(str::to_owned), host: host.to_ascii_lowercase() }
        };
        Self {
            entries: entries.into_iter().map(entry).collect(),
            exceptions: exceptions.into_iter().map(entry).collect(),
        }
    }

    /// Whether a server with these names is one of them, for this user; for any user when none is given.
    #[must_use]
    pub fn matches(&self, names: &[String], user: Option<&str>) -> bool {
        let named = |entry: &Entry| names.iter().any(|name| pattern::matches(&entry.host, name.to_ascii_lowercase()));
        let lets_in = |entry: &Entry| named(entry) && entry.fits(user);
        // An exception for one user only is none for a question that is about no user.
        let keeps_out = |entry: &Entry| named(entry) && (entry.user.is_none() || (user.is_some() && entry.fits(user)));
        self.entries.iter().any(lets_in) && !self.exceptions.iter().any(keeps_out)
    }

    /// The names that are no patterns.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        let hosts = self.entries.iter().chain(&self.exceptions).map(|entry| entry.host.as_str());
        hosts.filter(|host| !host.contains(['*', '?']))
    }
}

impl Entry {
    fn fits(&self, user: Option<&str>) -> bool {
        match (&self.user, user) {
            (Some(own), Some(user)) => pattern::matches(own, user),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_meant_by_any_of_its_names_and_users_count_where_they_are_known() {
        let list = ["*.corp.example", "git@github.com", "!bad.corp.example", "!root@*.corp.example"];
        let list = HostList::new(&list.map(str::to_owned));
        let matches =
            |names: &[&str], user| list.matches(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), user);
        assert!(matches(&["192.0.2.1", "a.corp.example"], Some("dev")));
        assert!(matches(&["A.Corp.example"], None), "names have no case, and a list knows no user yet");
        assert!(!matches(&["a.corp.example"], Some("root")) && !matches(&["a.corp.example", "bad.corp.example"], None));
        assert!(matches(&["github.com"], Some("git")) && !matches(&["github.com"], Some("dev")));
        assert!(!matches(&[], Some("git")) && !matches(&["example.org"], None));
    }
}
