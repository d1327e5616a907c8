//! Thousands of clients at once, most of them idle, many of them malicious, and one that has work to do.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::{
    Agent, Body, Client, Home, Key, KeyFile, Module, SOON, Sshd, Token, agent_binary, resident_memory, stock_cannot,
    until,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const MALICIOUS: usize = 1_000;

/// Ten thousand, or as many idle clients as the limit of open files lets the agent have beside the malicious ones.
fn idle_clients() -> usize {
    let hard = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    let possible = hard.map_or(usize::MAX, |hard| usize::try_from(hard).unwrap_or(usize::MAX));
    let idle = possible.saturating_sub(MALICIOUS + 100).min(10_000);
    assert!(idle > 100, "the limit of open files is too low for this test; see ulimit -Hn");
    if idle < 10_000 {
        eprintln!("only {idle} idle clients instead of 10000: the hard limit of open files is {possible} (ulimit -Hn)");
    }
    idle
}

/// Connects, says something that is no request, and begins anew when it is hung up on.
fn annoy(socket: &Path, seed: u64, stop: &AtomicBool, connections: &AtomicU64) {
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = UnixStream::connect(socket) else { continue };
        connections.fetch_add(1, Ordering::Relaxed);
        stream.set_write_timeout(Some(Duration::from_millis(100))).expect("set a write timeout");
        for _ in 0..20 {
            let mut garbage: Vec<u8> = (0..32).flat_map(|_| random().to_be_bytes()).collect();
            // Half of it has a length that will be waited for.
            if random() % 2 == 0 {
                garbage[..3].fill(0);
            }
            if stream.write_all(&garbage).is_err() {
                break;
            }
        }
    }
}

#[test]
fn when_every_seat_is_taken_those_who_have_one_are_served_and_the_others_wait_for_one() {
    if stock_cannot("keep files free for its helpers") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let builder = Agent::with(&home).as_stock().module(Module::of(&token));
    let (configuration, socket) = (home.file("few.toml", builder.configuration()), home.path("run/few"));
    let script = "ulimit -n 84; exec \"$0\" agent -D -a \"$1\" --config \"$2\"";
    let process =
        home.command("sh").args(["-c", script]).arg(agent_binary()).arg(&socket).arg(configuration).start("few");
    assert!(until(SOON, || UnixStream::connect(&socket).is_ok()), "nobody listens\n{}", home.logs());

    // 84 files, of which 64 are kept free: there are 20 seats.
    let mut seated: Vec<Client> = (0..20).map(|_| Client::connect(&socket)).collect();
    assert!(seated.iter_mut().all(|client| client.list().is_some()));
    let mut waiting: Vec<Client> = (0..60).map(|_| Client::connect(&socket)).collect();
    waiting.iter_mut().for_each(|client| client.send(&[Client::LIST]));
    // The token's worker is started only now.
    assert!(seated[0].sign(&token.public(Key::P256).blob(), b"data", 0).is_some(), "{}", process.log());
    drop(seated);
    for mut client in waiting {
        assert!(client.receive().is_some(), "{}", process.log());
    }
    assert!(!process.log().contains("Too many open files"), "{}", process.log());
}

#[test]
fn a_client_that_sends_garbage_does_not_fill_the_log_and_others_are_still_heard_there() {
    if stock_cannot("keep its log short: it writes a line for each") {
        return;
    }
    let home = Home::new();
    let agent = Agent::start(&home);
    let mut client = agent.client();
    for _ in 0..2000 {
        // There is no such message.
        assert!(!client.succeeds(&[99]));
    }
    let key = KeyFile::new(&home, "absent");
    agent.ssh_add([OsStr::new("-d"), key.path().as_os_str()]).run().fails();
    assert!(until(SOON, || home.logs().contains("key not removed")), "{}", home.logs());
    let lines = home.logs().lines().filter(|line| line.contains("request refused")).count();
    assert!((1..200).contains(&lines), "{lines} lines for 2000 requests");
}

#[test]
fn the_log_of_an_agent_in_the_background_stays_short_whatever_is_written() {
    if stock_cannot("write a log of its own") {
        return;
    }
    let home = Home::new();
    let socket = home.path("run/background");
    let agent = home.command(agent_binary()).args(["agent", "-s", "-a"]).arg(&socket).env("HARDKEY_LOG", "debug");
    let output = agent.run().succeeds().stdout;
    let (_, pid) = output.split_once("SSH_AGENT_PID=").expect("a process id");
    let pid = pid.split(';').next().expect("a process id");
    let mut client = Client::connect(&socket);
    let nonsense = Body::new(Client::EXTENSION).string("nonsense".repeat(30)).bytes();
    let (log, aside) = (home.path("state/hardkey/agent.log"), home.path("state/hardkey/agent.log.1"));
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut requests = 0;
    while length(&aside) == 0 {
        (0..100).for_each(|_| client.send(&nonsense));
        assert!((0..100).all(|_| client.receive() == Some(vec![Client::FAILURE])));
        requests += 100;
        assert!(requests < 100_000, "the log is {} octets long", length(&log));
    }
    assert!(length(&aside) < 5 << 20 && length(&log) < 1 << 20, "{} and {} octets", length(&aside), length(&log));
    home.command(agent_binary()).args(["agent", "-k"]).env("SSH_AGENT_PID", pid).run().succeeds();
}

#[test]
#[ignore = "slow: takes half a minute and ten thousand connections"]
fn a_login_gets_through_a_crowd_that_leaves_no_memory_behind() {
    if stock_cannot("hold ten thousand connections with the usual limit of open files") {
        return;
    }
    let idle_clients = idle_clients();
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let key = KeyFile::new(&home, "work");
    agent.ssh_add([key.path()]).run().succeeds();
    let sshd = Sshd::start(&home, [key.public()]);
    let login = || {
        let start = Instant::now();
        sshd.login(&agent, key.public()).succeeds();
        start.elapsed()
    };
    let alone = login();
    let before = resident_memory(agent.pid());
    for crowd in 1..=2 {
        let mut idle: Vec<Client> = (0..idle_clients).map(|_| agent.client()).collect();
        assert!(idle[0].list().is_some() && idle[idle_clients - 1].list().is_some());
        let each = resident_memory(agent.pid()).saturating_sub(before) / idle_clients as u64;
        let took = in_a_crowd(agent.socket(), login);
        assert!(idle.iter_mut().step_by(1000).all(|client| client.list().is_some()), "an idle client was hung up on");
        drop(idle);
        let mut after = 0;
        let given_back = until(SOON, || {
            after = resident_memory(agent.pid());
            after <= before + before / 10
        });
        let kilobytes = [before, after].map(|octets| octets / 1024);
        eprintln!(
            "crowd {crowd}: {idle_clients} idle clients of {each} octets each; login alone {alone:?}, in the crowd {took:?}; kB before and after: {kilobytes:?}"
        );
        assert!(each <= 6 * 1024, "{each} octets for each idle client");
        assert!(took < Duration::from_secs(20), "a login takes {took:?}, alone {alone:?}");
        assert!(given_back, "kB before and after crowd {crowd}: {kilobytes:?}");
    }
    assert!(!agent.has_ended());
}

/// What happens while a thousand clients send garbage.
fn in_a_crowd<T>(socket: &Path, work: impl FnOnce() -> T) -> T {
    struct EndAtLast<'a>(&'a AtomicBool);
    impl Drop for EndAtLast<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    let connections = AtomicU64::new(0);
    thread::scope(|scope| {
        let _end = EndAtLast(&stop);
        for seed in 0..MALICIOUS as u64 {
            let (stop, connections) = (&stop, &connections);
            thread::Builder::new()
                .stack_size(64 * 1024)
                .spawn_scoped(scope, move || annoy(socket, seed, stop, connections))
                .expect("a thread for each client");
        }
        assert!(until(SOON, || connections.load(Ordering::Relaxed) > 2 * MALICIOUS as u64), "the crowd does not come");
        work()
    })
}
