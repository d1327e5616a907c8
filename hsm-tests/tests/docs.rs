//! What the documents tell users to write is what the program understands.

use std::fs;
use std::path::{Path, PathBuf};

use hardkey::config::Config;
use hsm_tests::{Home, agent_binary, stock_cannot};

/// One fenced block of a document.
struct Block {
    /// The document and the line of the block's first line.
    place: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder")
}

/// The documents that users read.
fn documents() -> Vec<PathBuf> {
    let pages = fs::read_dir(root().join("docs")).expect("docs").map(|entry| entry.expect("docs").path());
    let mut documents: Vec<PathBuf> = pages.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    documents.push(root().join("README.md"));
    documents.sort();
    documents
}

/// The blocks of a document in this language.
fn blocks(document: &Path, language: &str) -> Vec<Block> {
    let text = fs::read_to_string(document).expect("a document");
    let mut lines = text.lines().enumerate();
    let mut blocks = Vec::new();
    while let Some((at, line)) = lines.next() {
        let Some(found) = line.strip_prefix("```").filter(|found| !found.is_empty()) else { continue };
        let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        if found == language {
            blocks.push(Block { place: format!("{}:{}", document.display(), at + 2), text: body.join("\n") });
        }
    }
    blocks
}

#[test]
fn every_configuration_in_the_documents_is_understood() {
    let blocks: Vec<Block> = documents().iter().flat_map(|document| blocks(document, "toml")).collect();
    assert!(!blocks.is_empty(), "no configuration in the documents");
    for block in blocks {
        Config::parse(&block.text).unwrap_or_else(|error| panic!("{}: {error}", block.place));
    }
}

#[test]
fn every_setting_has_an_example() {
    let pages = blocks(&root().join("docs/configuration.md"), "toml");
    let tables = [
        "",
        "[[module]]\npath = \"/m.so\"\n",
        "[prompt]\n",
        "[listen]\n",
        "[defaults]\n",
        "[forwarding]\n",
        "[[key]]\nmatch = \"x\"\n",
        "[[rule]]\naction = \"deny\"\n",
        "[[process]]\nexe = \"x\"\n",
        "[trust]\n",
        "[audit]\n",
        "[certificates]\n",
    ];
    let shown =
        |setting: &str| pages.iter().any(|block| block.text.lines().any(|line| line.trim().starts_with(setting)));
    // The parser names all settings that it knows when it meets one that it does not.
    for table in tables {
        let error = Config::parse(&format!("{table}no-such-setting = 1")).expect_err("unknown").to_string();
        let known = error.split_once("expected").expect("a list of settings").1;
        for setting in known.split('`').skip(1).step_by(2) {
            let written = ["", "[", "[[", "[[listen.", "[[key."].map(|bracket| format!("{bracket}{setting}"));
            assert!(written.iter().any(|written| shown(written)), "docs/configuration.md has no example of {setting}");
        }
    }
}

#[test]
fn the_example_of_the_manual_is_understood() {
    let page = fs::read_to_string(root().join("docs/man/hardkey.toml.5")).expect("the manual page");
    let (_, rest) = page.split_once(".Bd -literal -offset indent\n").expect("an example");
    let (example, _) = rest.split_once(".Ed\n").expect("the end of the example");
    Config::parse(example).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_option_is_in_the_manual() {
    if stock_cannot("show the help of hardkey") {
        return;
    }
    let home = Home::new();
    let manual = fs::read_to_string(root().join("docs/man/hardkey.1")).expect("the manual page");
    let token = ["token list", "token init", "token keygen", "token import-cert", "token change-pin", "token unblock"];
    let others = ["agent", "list", "pub", "log", "approvals", "policy check", "policy explain"];
    for subcommand in others.into_iter().chain(token) {
        let words = subcommand.split(' ').chain(["--help"]);
        let help = home.command(agent_binary()).args(words).run().succeeds().stdout;
        let first = help.lines().filter_map(|line| line.split_whitespace().next());
        for option in
            first.map(|word| word.trim_end_matches("...")).filter(|word| word.starts_with('-') && *word != "-h,")
        {
            let option = option.trim_end_matches(',');
            let written = match option.strip_prefix("--") {
                Some(long) => format!(".It Fl Fl {long}"),
                None => format!(".It Fl {}", &option[1..]),
            };
            assert!(manual.contains(&written), "docs/man/hardkey.1 lacks {option} of {subcommand}");
        }
    }
}

/// A line of cases: the options of a request, and what it takes.
fn case(line: &str) -> (Vec<&str>, &str) {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let expected = words.pop().expect("what it takes");
    (words, expected)
}

#[test]
fn every_example_of_a_policy_decides_as_the_document_says() {
    if stock_cannot("explain a policy") {
        return;
    }
    let home = Home::new();
    let page = root().join("docs/policy.md");
    let policies = blocks(&page, "toml");
    let (users, floors) = (blocks(&page, "cases"), blocks(&page, "cases floor"));
    assert_eq!(policies.len(), users.len() + floors.len(), "an example without cases");
    let mut policies = policies.into_iter();
    let cases = users.into_iter().map(|cases| (cases, false)).chain(floors.into_iter().map(|cases| (cases, true)));
    for (number, (cases, is_floor)) in cases.enumerate() {
        let policy = home.file(format!("policy-{number}.toml"), policies.next().expect("a policy").text);
        let empty = home.file("empty.toml", "");
        let hardkey = || {
            let command = home.command(agent_binary());
            if is_floor { command.env("HARDKEY_FLOOR", &policy) } else { command }
        };
        let file = if is_floor { &empty } else { &policy };
        let warned = hardkey().args(["policy", "check"]).arg(file).run().succeeds();
        assert!(warned.stdout.starts_with("no errors"), "{}: {}", cases.place, warned.report());
        for line in cases.text.lines() {
            let (options, expected) = case(line);
            let outcome = hardkey().args(["policy", "explain", "--config"]).arg(file).args(options).run().succeeds();
            assert_eq!(outcome.stdout.lines().next(), Some(expected), "{}: {line}\n{}", cases.place, outcome.stdout);
        }
    }
}

#[test]
fn the_benchmark_s_policy_lets_its_program_work_and_no_other() {
    if stock_cannot("explain a policy") {
        return;
    }
    let home = Home::new();
    let policy = fs::read_to_string(root().join("hsm-tests/bench.toml")).expect("the policy");
    let policy = home.file("bench.toml", policy.replace("@PROGRAM@", "/build/bench"));
    for (program, expected) in [("/build/bench", "allow"), ("/build/other", "confirm")] {
        let explain = ["policy", "explain", "--kind", "login", "--program", program, "--config"];
        let outcome = home.command(agent_binary()).args(explain).arg(&policy).run().succeeds();
        assert_eq!(outcome.stdout.lines().next(), Some(expected), "{}", outcome.report());
    }
}

/// Headings become anchors as GitHub makes them: lower case, blanks to hyphens, punctuation dropped.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
        })
        .collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let others = ["CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    for document in documents().into_iter().chain(others) {
        let text = fs::read_to_string(&document).expect("a document");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") {
                continue;
            }
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let path = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            assert!(path.exists(), "{}: {target}", document.display());
            if let Some(anchor) = anchor {
                let found = fs::read_to_string(&path).expect("a document");
                assert!(anchors(&found).iter().any(|known| known == anchor), "{}: {target}", document.display());
            }
        }
    }
}
