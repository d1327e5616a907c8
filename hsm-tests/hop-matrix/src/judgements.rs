//! What hardkey's debug log tells of a case: where it found the requests to come from, and how often it signed.

/// The class of each judgement but those of the logins that only open the way, first seen first, each once.
pub(crate) fn classes(log: &str, way_opener: &str) -> Vec<String> {
    let mut classes: Vec<String> = Vec::new();
    let mut pending = Vec::new();
    for line in log.lines() {
        if let Some((_, judged)) = line.split_once(" judged origin=") {
            pending.extend(judged.split_ascii_whitespace().next().map(str::to_owned));
        } else if is_signature(line, way_opener) {
            pending.pop();
        }
    }
    for class in pending {
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    classes
}

/// How often the key with this comment has signed.
pub(crate) fn signatures(log: &str, comment: &str) -> usize {
    log.lines().filter(|line| is_signature(line, comment)).count()
}

fn is_signature(line: &str, comment: &str) -> bool {
    line.split_once(" signed key=").is_some_and(|(_, key)| key.trim().trim_matches('"') == comment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
        DEBUG hardkey::origin::connection: judged origin=local-direct reason=ssh on this machine\n\
        DEBUG hardkey::agent::handler: signed key=entry\n\
        DEBUG hardkey::origin::connection: judged origin=unknown reason=may come from elsewhere\n\
        DEBUG hardkey::agent::handler: signed key=subject\n";

    #[test]
    fn logins_that_only_open_the_way_are_left_out() {
        assert_eq!(classes(LOG, "entry"), ["unknown"]);
        assert_eq!(classes(LOG, "other"), ["local-direct", "unknown"]);
    }

    #[test]
    fn signatures_are_counted_by_key() {
        assert_eq!((signatures(LOG, "subject"), signatures(LOG, "sub")), (1, 0));
    }
}
