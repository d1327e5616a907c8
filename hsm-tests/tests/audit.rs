//! The audit log: one record for each decision, of the documented form, and `hardkey log` to read it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hsm_tests::{
    Agent, AgentBuilder, Answer, Askpass, Body, Client, Home, Key, KeyFile, Outcome, SOON, Signal, Sshd, Token,
    agent_binary, stock_cannot, until,
};
use serde_json::Value;

const LOG: &str = "state/hardkey/audit.jsonl";

fn records(home: &Home) -> Vec<Value> {
    let text = fs::read_to_string(home.path(LOG)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The records once there are this many.
fn wait_for(home: &Home, count: usize) -> Vec<Value> {
    assert!(until(SOON, || records(home).len() >= count), "{count} records expected: {:#?}", records(home));
    records(home)
}

/// Event and outcome of each record.
fn events(records: &[Value]) -> Vec<String> {
    let word = |record: &Value, field: &str| record[field].as_str().expect("a text").to_owned();
    records.iter().map(|record| format!("{} {}", word(record, "event"), word(record, "outcome"))).collect()
}

fn log(home: &Home, arguments: &[&str]) -> Outcome {
    home.command(agent_binary()).arg("log").args(arguments).run()
}

/// The fields that the document knows, with their types.
fn documented() -> BTreeMap<String, String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder").join("docs/audit.md");
    let page = fs::read_to_string(page).expect("the document");
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `"));
    cells
        .filter_map(|line| {
            let (field, rest) = line.split_once("` | ")?;
            Some((field.to_owned(), rest.split(" | ").next()?.to_owned()))
        })
        .collect()
}

/// The fields of a record by their paths, with their types.
fn fields(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields(&path, member, found);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| fields(&format!("{path}[]"), element, found)),
        Value::String(_) => drop(found.insert(path.to_owned(), "text".to_owned())),
        Value::Number(_) => drop(found.insert(path.to_owned(), "number".to_owned())),
        Value::Bool(_) => drop(found.insert(path.to_owned(), "true or false".to_owned())),
        Value::Null => drop(found.insert(path.to_owned(), "null".to_owned())),
    }
}

#[test]
fn every_decision_has_a_record_of_the_documented_form() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let words = ["wrong pin", token.pin(), "open sesame", "open sesame", "wrong words", "open sesame"];
    let askpass = Askpass::new(&home, &words.map(Answer::Type));
    let agent = Agent::with(&home).envs(token.environment()).start();
    let manage = |arguments: &[&str]| agent.ssh_add(arguments).envs(askpass.environment());
    let key = KeyFile::new(&home, "work");
    manage(&[]).arg(key.path()).run().succeeds();
    manage(&["-s"]).arg(token.library()).run().fails();
    manage(&["-s"]).arg(token.library()).run().succeeds();
    agent.signs(token.public(Key::P256)).run().succeeds();
    // Neither knows where this comes from nor can ask anybody.
    assert!(agent.client().sign(&key.public().blob(), b"what is signed", 0).is_none());
    manage(&["-x"]).run().succeeds();
    manage(&["-X"]).run().fails();
    manage(&["-X"]).run().succeeds();
    manage(&["-e"]).arg(token.library()).run().succeeds();
    manage(&["-d"]).arg(key.path()).run().succeeds();
    manage(&["-D"]).run().succeeds();
    let records = wait_for(&home, 13);
    let expected = [
        "add done",
        "pin refused",
        "provider-add refused",
        "provider-add done",
        "sign done",
        "sign refused",
        "lock done",
        "unlock refused",
        "unlock done",
        "provider-remove done",
        "remove done",
        "remove-all done",
        // ssh-add says it for keys of the first protocol, too.
        "remove-all done",
    ];
    assert_eq!(events(&records), expected);
    let documented = documented();
    assert!(documented.len() > 30, "{documented:?}");
    for (number, record) in records.iter().enumerate() {
        let mut found = BTreeMap::new();
        fields("", record, &mut found);
        for (field, kind) in found {
            assert_eq!(documented.get(&field), Some(&kind), "{field} in {record:#}");
        }
        assert_eq!(record["seq"], number + 1);
        assert_eq!(record["v"], 1);
    }
    let text = fs::read_to_string(home.path(LOG)).expect("the log");
    for secret in words.into_iter().chain(["what is signed"]) {
        assert!(!text.contains(secret), "{secret:?} is in the log:\n{text}");
    }
    let mode = fs::metadata(home.path(LOG)).expect("the log").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_login_is_recorded_with_host_user_key_and_program_and_found_again() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    let (old, new) = (KeyFile::new(&home, "old"), KeyFile::new(&home, "new"));
    let agent = Agent::start(&home);
    let sshd = Sshd::start(&home, [old.public(), new.public()]);
    for key in [&old, &new, &new] {
        agent.ssh_add(["-D"]).run().succeeds();
        agent.ssh_add([key.path()]).run().succeeds();
        sshd.login(&agent, key.public()).succeeds();
    }
    let records = wait_for(&home, 9);
    let login = records.iter().find(|record| record["event"] == "sign").expect("a signature");
    assert_eq!(login["origin"], "local-direct", "{login:#}");
    assert_eq!(login["request"]["kind"], "bound-login");
    assert_eq!(login["peer"]["program"], "/usr/bin/ssh");
    assert_eq!(login["key"]["fingerprint"], old.public().fingerprint());
    assert!(login["request"]["host_key"].as_str().is_some_and(|key| key.starts_with("SHA256:")), "{login:#}");
    let host = login["request"]["host"].as_str().expect("a host");

    let used = log(&home, &["--key", "old", "--by", "host"]).succeeds().stdout;
    assert!(used.lines().count() == 2 && used.contains(host) && used.contains(" 1 "), "{used}");
    let used = log(&home, &["--by", "key", "--json"]).succeeds().stdout;
    let used: Vec<Value> = serde_json::from_str(&used).expect("JSON");
    let counts: Vec<_> = used.iter().map(|usage| (usage["comment"].clone(), usage["signatures"].clone())).collect();
    assert_eq!(counts, [("new".into(), 2.into()), ("old".into(), 1.into())]);
    let shown = log(&home, &["--host", host, "--origin", "local", "--since", "1h"]).succeeds().stdout;
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(log(&home, &["--origin", "forwarded"]).succeeds().stdout.is_empty());
    log(&home, &["--since", "yesterday"]).fails();
}

#[test]
fn what_a_client_says_cannot_add_to_the_log() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    let agent = Agent::with(&home).as_stock().start();
    let key = KeyFile::new(&home, "key");
    let added = key.as_added();
    let comment = "key\n{\"event\":\"sign\"}\u{202e}\u{1b}[2J";
    let request = Body::new(Client::ADD).raw(&added[..added.len() - 7]).string(comment).bytes();
    assert!(agent.client().succeeds(&request));
    let login = hsm_tests::login(b"session", "root\nsigned: all is well\u{200b}", key.public(), None);
    assert!(agent.client().sign(&key.public().blob(), &login, 0).is_some());
    wait_for(&home, 2);
    let shown = log(&home, &[]).succeeds().stdout;
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(shown.is_ascii() && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn a_client_that_goes_away_leaves_a_record() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    let askpass = Askpass::new(&home, &[Answer::Hang]);
    let agent = Agent::with(&home).envs(askpass.environment()).start();
    let key = KeyFile::new(&home, "key");
    agent.ssh_add([key.path()]).run().succeeds();
    let mut client = agent.client();
    client.send(&Body::new(Client::SIGN).string(key.public().blob()).string("data").u32(0).bytes());
    assert!(until(SOON, || !askpass.questions().is_empty()));
    drop(client);
    assert_eq!(events(&wait_for(&home, 2)), ["add done", "sign withdrawn"]);
}

/// A log that cannot be written, because a folder stands in its place.
fn broken(home: &Home, setting: &str) -> AgentBuilder {
    home.directory(LOG);
    Agent::with(home).line(setting)
}

/// How many decisions are written or counted as lost: records are written beside the requests, so that one of those
/// before there was room may have found it already.
fn accounted(records: &[Value]) -> u64 {
    records.iter().map(|record| if record["event"] == "lost" { record["count"].as_u64().unwrap_or(0) } else { 1 }).sum()
}

#[test]
fn a_log_that_cannot_be_written_is_reported_once_and_holds_up_nobody() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    let mut agent = broken(&home, "").start();
    let key = KeyFile::new(&home, "key");
    agent.ssh_add([key.path()]).run().succeeds();
    for _ in 0..3 {
        agent.signs(key.public()).run().succeeds();
    }
    agent.wait_for_log("decisions are not recorded");
    assert_eq!(agent.log().matches("decisions are not recorded").count(), 1, "{}", agent.log());

    fs::remove_dir(home.path(LOG)).expect("make room for the log");
    agent.signs(key.public()).run().succeeds();
    agent.wait_for_log("the audit log is written again");
    assert!(until(SOON, || accounted(&records(&home)) == 5), "one key added, four signatures: {:#?}", records(&home));
    assert_eq!(events(&records(&home))[0], "lost done");
}

#[test]
fn a_full_disk_loses_whole_records_only() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    // A limit for the size of files stands for the disk's end: no record fits as a whole.
    let mut agent = Agent::with(&home).start();
    let key = KeyFile::new(&home, "key");
    agent.ssh_add([key.path()]).run().succeeds();
    wait_for(&home, 1);
    let limit = fs::metadata(home.path(LOG)).expect("the log").len() + 10;
    let limited = format!("--fsize={limit}:");
    let pid = agent.pid().as_raw_nonzero().to_string();
    home.command("prlimit").args(["--pid", &pid, &limited]).run().succeeds();
    agent.signs(key.public()).run().succeeds();
    agent.signs(key.public()).run().succeeds();
    agent.wait_for_log("decisions are not recorded");
    home.command("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).run().succeeds();
    agent.signs(key.public()).run().succeeds();
    agent.end_with(Signal::TERM);
    let records = records(&home);
    let events = events(&records);
    assert_eq!(events[..3], ["add done", "lost done", "sign done"]);
    assert!(events[3..].iter().all(|event| event == "sign done"), "one gap: {events:?}");
    assert_eq!(accounted(&records), 4, "one key added, three signatures: {records:#?}");
}

#[test]
fn with_required_nothing_is_signed_or_added_unrecorded_and_removing_works() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    let mut agent = broken(&home, "audit = { required = true }").start();
    let (key, other) = (KeyFile::new(&home, "key"), KeyFile::new(&home, "other"));
    agent.ssh_add([key.path()]).run().fails();
    agent.wait_for_log("required = true");
    fs::remove_dir(home.path(LOG)).expect("make room for the log");
    agent.ssh_add([key.path()]).run().succeeds();
    agent.signs(key.public()).run().succeeds();
    fs::remove_file(home.path(LOG)).expect("remove the log");
    home.directory(LOG);
    agent.signs(key.public()).run().fails();
    agent.ssh_add([other.path()]).run().fails();
    agent.ssh_add(["-D"]).run().succeeds();
    assert!(agent.listed().is_empty());
}

#[test]
fn what_was_decided_before_the_end_is_written_before_the_end() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    let agent = Agent::with(&home).as_stock().start();
    let key = KeyFile::new(&home, "key");
    agent.ssh_add([key.path()]).run().succeeds();
    let mut client = agent.client();
    for _ in 0..500 {
        assert!(client.sign(&key.public().blob(), b"data", 0).is_some());
    }
    agent.end_with(Signal::TERM);
    let records = records(&home);
    assert_eq!(records.len(), 501);
    let numbers: Vec<_> = records.iter().map(|record| record["seq"].as_u64().expect("a number")).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[test]
fn following_shows_what_is_decided_from_now_on_also_in_the_next_file() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    let agent = Agent::with(&home).as_stock().start();
    let keys = ["one", "two", "three"].map(|name| KeyFile::new(&home, name));
    agent.ssh_add([keys[0].path()]).run().succeeds();
    wait_for(&home, 1);
    let mut follower = home.command(agent_binary()).args(["log", "--follow"]).start("follower");
    follower.wait_for_log("added; key one", SOON);
    agent.ssh_add([keys[1].path()]).run().succeeds();
    follower.wait_for_log("added; key two", SOON);
    fs::rename(home.path(LOG), home.path("state/hardkey/audit.jsonl.1")).expect("set the log aside");
    agent.ssh_add([keys[2].path()]).run().succeeds();
    follower.wait_for_log("added; key three", SOON);
}

#[test]
fn nothing_is_recorded_where_nothing_is_to_be() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    let agent = Agent::with(&home).line("audit = { path = \"off\" }").start();
    let key = KeyFile::new(&home, "key");
    agent.ssh_add([key.path()]).run().succeeds();
    agent.signs(key.public()).run().succeeds();
    agent.end_with(Signal::TERM);
    assert!(!home.path(LOG).exists());
}

#[test]
fn a_flood_of_refusals_leaves_what_was_decided_before_in_the_log() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    // One file of a megabyte: two thousand refusals would push out what was before.
    let mut agent = Agent::with(&home).line("audit = { size = 1, files = 1 }").start();
    let key = KeyFile::new(&home, "key");
    agent.ssh_add([key.path()]).run().succeeds();
    agent.signs(key.public()).run().succeeds();
    let mut flood = agent.client();
    // Data of unknown meaning from a program that nobody knows, and nobody to ask.
    (0..2500).for_each(|_| assert!(flood.sign(&key.public().blob(), b"data", 0).is_none()));
    agent.signs(key.public()).run().succeeds();
    agent.wait_for_log("lines like the next one were left out");
    agent.end_with(Signal::TERM);

    let records = records(&home);
    let done = ["add done", "sign done", "sign done"];
    assert_eq!(events(&records).iter().filter(|event| event.ends_with("done")).collect::<Vec<_>>(), done);
    let refused = records.iter().filter(|record| record["outcome"] == "refused");
    let counts: Vec<u64> = refused.map(|record| record["more"].as_u64().unwrap_or(1)).collect();
    assert_eq!(counts.iter().sum::<u64>(), 2500, "{counts:?}");
    assert!(counts.len() < 30, "{counts:?}");
    assert_eq!(records.last().expect("a record")["more"], 2480, "the last is the count of what was left out");
    let shown = log(&home, &[]).succeeds().stdout;
    assert!(shown.contains("REFUSED to sign") && shown.contains("the last of 2480 like this"), "{shown}");
}

/// A script in a mount namespace of its own, for which it takes root.
fn apart(home: &Home, script: &str) -> Outcome {
    assert!(rustix::process::getuid().is_root(), "a mount namespace takes root");
    home.command("unshare").args(["--mount", "sh", "-ec", script]).within(std::time::Duration::from_secs(60)).run()
}

#[test]
fn a_file_system_that_is_really_full_loses_whole_records_only_and_says_so() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    let key = KeyFile::new(&home, "key");
    home.directory("state/hardkey");
    let script = format!(
        "mount -t tmpfs -o size=64k,mode=700 none {state}
        hardkey agent -D -a {socket} 2>{log} >&2 &
        agent=$!
        trap 'kill $agent' EXIT
        export SSH_AUTH_SOCK={socket}
        until [ -S {socket} ]; do sleep 0.02; done
        ssh-add -q {key}
        cat /dev/zero >{state}/filler 2>/dev/null || :
        for _ in $(seq 20); do ssh-add -T {key}; done
        until grep -q 'decisions are not recorded' {log}; do sleep 0.02; done
        rm {state}/filler
        ssh-add -T {key}
        # Records are written behind the signatures, and all of them before the end.
        trap - EXIT
        kill $agent
        wait $agent || :
        cp {state}/audit.jsonl {copy}",
        state = home.path("state/hardkey").display(),
        socket = home.path("run/full.sock").display(),
        log = home.log_file("full").display(),
        key = key.path().display(),
        copy = home.path("copy").display(),
    );
    apart(&home, &script).succeeds();
    let text = fs::read_to_string(home.path("copy")).expect("a copy of the log");
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a whole record")).collect();
    assert!(events(&records).contains(&"lost done".into()), "the disk was not full: {text}");
    assert_eq!(accounted(&records), 22, "one key added and 21 signatures, each written or counted: {text}");
    let log = home.logs();
    assert!(log.contains("No space left on device") && log.contains("decisions are not recorded"), "{log}");
}

#[test]
fn a_real_journald_has_each_record_with_its_fields() {
    if stock_cannot("record what it decides") {
        return;
    }
    let home = Home::new();
    let key = KeyFile::new(&home, "key\u{202e}");
    // A journal of its own below a /run of its own.
    let script = format!(
        "mount -t tmpfs none /run
        mkdir -p /run/systemd/journal /run/log/journal
        # A machine without a number of its own gets one.
        [ -s /etc/machine-id ] || {{ echo 0123456789abcdef0123456789abcdef >/run/id; mount --bind /run/id /etc/machine-id; }}
        /lib/systemd/systemd-journald 2>{log} >&2 &
        journald=$!
        trap 'kill $journald $agent' EXIT
        until [ -S /run/systemd/journal/socket ]; do sleep 0.02; done
        export SSH_AUTH_SOCK={socket}
        hardkey agent -D -a {socket} 2>>{log} >&2 &
        agent=$!
        until [ -S {socket} ]; do sleep 0.02; done
        ssh-add -q {key}
        ssh-add -T {key}
        ssh-add -qD
        for _ in $(seq 200); do
            journalctl --directory /run/log/journal/* -o json MESSAGE_ID=5c2a1d8e0f6b4b7c9d3e6a41f0b8c7d2 >{out} 2>/dev/null || :
            [ $(wc -l <{out}) -lt 4 ] || break
            sleep 0.05
        done",
        log = home.log_file("journald").display(),
        socket = home.path("run/journal.sock").display(),
        key = key.path().display(),
        out = home.path("journal").display(),
    );
    apart(&home, &script).succeeds();
    let text = fs::read_to_string(home.path("journal")).expect("the journal");
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect();
    let words: Vec<_> = entries
        .iter()
        .map(|entry| [&entry["HARDKEY_EVENT"], &entry["HARDKEY_OUTCOME"], &entry["PRIORITY"]].map(Value::as_str))
        .collect();
    let done = |event| [Some(event), Some("done"), Some("6")];
    assert_eq!(words, [done("add"), done("sign"), done("remove-all"), done("remove-all")], "{text}");
    let sign = &entries[1];
    assert_eq!(sign["HARDKEY_KEY_FINGERPRINT"], key.public().fingerprint());
    assert_eq!(sign["SYSLOG_IDENTIFIER"], "hardkey");
    assert_eq!(sign["HARDKEY_PEER_PROGRAM"], "/usr/bin/ssh-add");
    let message = sign["MESSAGE"].as_str().expect("a sentence");
    assert!(message.starts_with("signed: raw; key key") && message.contains("local-tool"), "{message}");
    // What the file says and what the journal says is the same.
    for (entry, record) in entries.iter().zip(records(&home)) {
        let mut found = BTreeMap::new();
        fields("", &record, &mut found);
        for path in found.keys().filter(|path| !path.contains("[]")) {
            let name = format!("HARDKEY_{}", path.replace('.', "_").to_uppercase());
            let value = path.split('.').fold(&record, |value, field| &value[field]);
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(entry[&name].as_str(), Some(value.as_str()), "{name} in {entry:#}");
        }
    }
}
