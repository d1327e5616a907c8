use std::process::Command;

use super::*;
use crate::origin::testing::Random;

const NOW: Version = Version { major: 9, minor: 2 };
const LATER: Version = Version { major: 10, minor: 0 };

#[test]
fn destinations_are_read_with_and_without_user_and_port() {
    for (destination, host) in [
        ("host", "host"),
        ("user@host", "host"),
        ("a@b@Host", "Host"),
        ("ssh://host", "host"),
        ("ssh://user@host:2222", "host"),
        ("ssh://user@[::1]:2222/", "::1"),
        ("::1", "::1"),
    ] {
        assert_eq!(parse(&["ssh", destination]).expect("login").host(), host);
    }
}

#[test]
fn options_are_unbundled_and_may_follow_the_destination() {
    let command = parse(&["ssh", "-vAp2222", "-oUser=x", "host", "-Nl", "me", "--", "cmd", "-p"]).expect("login");
    let words = ["-G", "-A", "-p", "2222", "-o", "User=x", "host", "-N", "-l", "me", "--", "cmd", "-p"];
    assert_eq!(command.query(None).expect("query"), words);
}

#[test]
fn after_two_dashes_there_are_no_options() {
    let command = parse(&["ssh", "-A", "--", "host", "-p", "22"]).expect("login");
    assert_eq!(command.query(None).expect("query"), ["-G", "-A", "host", "--", "-p", "22"]);
}

#[test]
fn two_dashes_as_an_argument_do_not_end_the_options_of_the_question() {
    let command = parse(&["ssh", "-l--", "host", "-p", "22", "cmd"]).expect("login");
    assert_eq!(command.query(None).expect("query"), ["-G", "-l--", "host", "-p", "22", "--", "cmd"]);
    let command = parse(&["ssh", "-l", "--", "host", "-p", "22"]).expect("login");
    assert_eq!(command.query(None).expect("query"), ["-G", "-l--", "host", "--", "-p", "22"]);
    let command = parse(&["ssh", "-F--", "host", "-F", "/cfg"]).expect("login");
    assert_eq!(command.query(None).expect("query"), ["-G", "-F", "/cfg", "host"]);
}

#[test]
fn what_would_write_or_log_is_not_repeated() {
    let command = parse(&["ssh", "-vvyE", "/tmp/log", "-E/tmp/log", "host"]).expect("login");
    assert_eq!(command.query(None).expect("query"), ["-G", "host"]);
}

#[test]
fn commands_of_scp_git_and_rsync_are_logins() {
    for argv in [
        "ssh -x -oPermitLocalCommand=no -oClearAllForwardings=yes -oRemoteCommand=none -oRequestTTY=no -oForwardAgent=no -l u -s -- host sftp",
        "ssh -o SendEnv=GIT_PROTOCOL git@github.com git-upload-pack 'o/r.git'",
        "ssh -l u host rsync --server -vlogDtpre.iLsfxCIvu . /dst",
        "ssh -W [inner]:22 jump",
        "ssh -C -o ControlMaster=auto -o ControlPersist=60s -o ControlPath=\"/c\" -tt host /bin/sh -c x",
    ] {
        let words: Vec<_> = argv.split(' ').collect();
        assert!(parse(&words).is_ok(), "{argv}");
    }
}

#[test]
fn what_is_no_login_is_refused() {
    let error = |words: &[&str]| parse(words).expect_err("no login");
    assert_eq!(error(&[]), ArgvError::Empty);
    assert_eq!(error(&["ssh"]), ArgvError::NoDestination);
    assert_eq!(error(&["ssh", "-A", "--"]), ArgvError::NoDestination);
    assert_eq!(error(&["ssh", "-p"]), ArgvError::MissingArgument('p'));
    assert_eq!(error(&["ssh", "-1", "host"]), ArgvError::UnknownOption('1'));
    assert_eq!(error(&["ssh", "--help"]), ArgvError::UnknownOption('-'));
    assert_eq!(error(&["ssh", "-A-", "host"]), ArgvError::UnknownOption('-'));
    assert_eq!(error(&["ssh", "-O", "check", "host"]), ArgvError::OtherMode('O'));
    assert_eq!(error(&["ssh", "host", "-G"]), ArgvError::OtherMode('G'));
    assert_eq!(error(&["ssh", "-V"]), ArgvError::OtherMode('V'));
    assert_eq!(error(&["ssh", "@host"]), ArgvError::BadDestination);
    assert_eq!(error(&["ssh", "user@"]), ArgvError::BadDestination);
    assert_eq!(error(&["ssh", "-"]), ArgvError::BadDestination);
    assert_eq!(error(&["ssh", "--", "-oProxyCommand=x"]), ArgvError::BadDestination);
    assert_eq!(error(&["ssh", "--", "-oProxyCommand=x@host"]), ArgvError::BadDestination);
}

#[test]
fn a_master_in_the_background_is_told_by_its_title() {
    assert_eq!(parse(&["ssh: /run/ctl/host [mux]"]), Err(ArgvError::Master));
    assert_eq!(parse(&["ssh: /run/ctl/host [mux]", "", ""]), Err(ArgvError::Master));
}

#[test]
fn the_tag_option_took_no_argument_before_9_4() {
    let words = |version| {
        let argv: Vec<OsString> = ["ssh", "-P", "tag", "host"].map(Into::into).into();
        SshCommand::parse(&argv, version).expect("login").query(None).expect("query")
    };
    assert_eq!(words(NOW), ["-G", "tag", "--", "host"]);
    assert_eq!(words(LATER), ["-G", "-P", "tag", "host"]);
}

#[test]
fn a_relative_configuration_file_is_made_absolute() {
    let command = parse(&["ssh", "-F", "cfg", "-Fother", "host"]).expect("login");
    let words = command.query(Some(Path::new("/home/u"))).expect("query");
    assert_eq!(words, ["-G", "-F", "/home/u/other", "host"]);
    assert_eq!(command.query(None), Err(ArgvError::RelativeConfig));
    let none = parse(&["ssh", "-F", "none", "host"]).expect("login");
    assert_eq!(none.query(None).expect("query"), ["-G", "-F", "none", "host"]);
}

#[test]
fn octets_of_any_kind_and_number_are_no_obstacle() {
    let long = "x".repeat(100 * 1024);
    assert!(parse(&["ssh", "host", &long, "\x1b[2J\n"]).is_ok());
    let odd = [OsString::from("ssh"), OsString::from_vec(b"h\xff".to_vec())];
    assert_eq!(SshCommand::parse(&odd, NOW), Err(ArgvError::BadDestination));
}

/// Random command lines must mean to the real `ssh` what our rewording of them means.
#[tokio::test]
async fn the_real_ssh_reads_our_rewording_as_it_reads_the_original() {
    let (trust, _) = crate::origin::trust::Trust::open(&["/usr/bin/ssh".into()], &[]);
    let version = trust.programs().next().expect("ssh").version().await.expect("version");
    let mut random = Random::new(4);
    let (mut same, mut refused) = (0, 0);
    for _ in 0..250 {
        let mut argv = vec!["-F", "/dev/null"];
        for _ in 0..1 + random.below(7) {
            argv.push(random.pick(&POOL));
        }
        let original = ask(["-G"].iter().chain(&argv));
        let words: Vec<OsString> = ["ssh"].iter().chain(&argv).map(Into::into).collect();
        match (SshCommand::parse(&words, version), original) {
            (Ok(command), Some(original)) => {
                let host = format!("host {}", command.host());
                assert!(original.lines().any(|line| line == host), "{argv:?}: {host}");
                assert_eq!(ask(command.query(None).expect("query").iter()), Some(original), "{argv:?}");
                same += 1;
            }
            (Ok(command), None) => assert_eq!(ask(command.query(None).expect("query").iter()), None, "{argv:?}"),
            // With two -G or the like the real one does answer, but then it does not log in.
            (Err(ArgvError::OtherMode(_)), _) => {}
            (Err(error), Some(_)) => panic!("{argv:?}: {error}"),
            (Err(_), None) => refused += 1,
        }
    }
    assert!(same > 50 && refused > 5, "{same} compared, {refused} refused");
}

const POOL: [&str; 40] = [
    "host",
    "host",
    "host",
    "user@host",
    "a@b@HOST",
    "ssh://u@h:99",
    "ssh://[::1]:7",
    "h.example",
    "--",
    "-A",
    "-vA",
    "-p",
    "22",
    "-p7",
    "-l",
    "me",
    "-lyou",
    "-oPort=8",
    "-o",
    "User=opt",
    "-tt",
    "-NT",
    "-fN",
    "-W",
    "x:1",
    "-L9:y:1",
    "-R",
    "/r:/l",
    "-D",
    "1080",
    "-J",
    "jump",
    "-e",
    "none",
    "-K",
    "-i/nokey",
    "-S/ctl",
    "-4",
    "-E/dev/null",
    "-P",
];

/// What the real `ssh` prints, without the one line that our leaving out `-v` changes.
fn ask<'a, S: AsRef<OsStr> + 'a + ?Sized>(words: impl Iterator<Item = &'a S>) -> Option<String> {
    let output = Command::new("ssh").args(words).env_remove("SSH_AUTH_SOCK").output().expect("ssh");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with("loglevel "));
    output.status.success().then(|| lines.collect::<Vec<_>>().join("\n"))
}

fn parse(words: &[&str]) -> Result<SshCommand, ArgvError> {
    let argv: Vec<OsString> = words.iter().map(Into::into).collect();
    SshCommand::parse(&argv, NOW)
}
