//! The user's own programs on this machine: nobody is to be asked.

use hsm_tests::{KeyFile, SOON, Task, until};

use crate::case::Case;
use crate::needs::GIT;
use crate::uses::{self, ARRIVE, reached};
use crate::world::{Key, World};

pub(super) const CASES: &[Case] = &[
    Case::local("ssh", "`ssh hosta`", |world| login(world, &[])),
    Case::local("ssh-agent-unused", "`ssh -A hosta`, the agent not used there", |world| login(world, &["-A"])),
    Case::local("ssh-identity-agent", "`ssh hosta` with `IdentityAgent` instead of `SSH_AUTH_SOCK`", identity_agent),
    Case::local("ssh-url", "`ssh -4Tqo BatchMode=yes ssh://USER@hosta:PORT`", |world| {
        let url = format!("ssh://{}@hosta:{}", world.user(), world.host("hosta").port());
        reached(&world.ssh(Key::Subject).args(["-4Tqo", "BatchMode=yes", &url, ARRIVE]).run().stdout)
    }),
    Case::local("ssh-relative", "`ssh -F FILE hosta`, the file's path relative", |world| {
        let folder = world.home().path("home");
        let ssh = world.command("ssh").directory(folder).args(["-F", "subject.conf", "hosta", ARRIVE]);
        reached(&ssh.run().stdout)
    }),
    Case::local("ssh-background", "`ssh -f hosta COMMAND`", background),
    Case::local("ssh-hashed", "`ssh 127.0.0.1 -p PORT`, host names hashed in known_hosts", hashed),
    Case::local("ssh-new-host", "`ssh -o StrictHostKeyChecking=accept-new` to a host not known before", |world| {
        let known = world.home().path("home/new");
        let ssh = knowing(world, &known).args(["-o", "StrictHostKeyChecking=accept-new", "hosta", ARRIVE]);
        reached(&ssh.run().stdout)
    }),
    Case::local("ssh-host-rsa", "`ssh` to a host with an RSA host key", |world| host_key(world, &["-t", "rsa"]))
        .hosts(&[]),
    Case::local("ssh-host-ecdsa", "`ssh` to a host with an ECDSA host key", |world| {
        host_key(world, &["-t", "ecdsa", "-b", "521"])
    })
    .hosts(&[]),
    Case::local(
        "ssh-host-certificate",
        "`ssh` to a host with a host certificate (`@cert-authority`)",
        host_certificate,
    )
    .hosts(&[]),
    Case::local("ssh-in-session", "`ssh hostb` in a session that came in by ssh", in_session)
        .hosts(&["hosta", "hostb"]),
    Case::local("scp", "`scp FILE hosta:`", scp),
    Case::local("sftp", "`sftp -b BATCH hosta`", sftp),
    Case::local("git", "`git clone hosta:repository`", git).needs(&[GIT]),
    Case::local("jump", "`ssh -J hosta hostb`", |world| jump(world, &["-J", "hosta"], "hostb"))
        .hosts(&["hosta", "hostb"]),
    Case::local("jump-twice", "`ssh -J hosta,hostb hostc`", |world| jump(world, &["-J", "hosta,hostb"], "hostc"))
        .hosts(&["hosta", "hostb", "hostc"]),
    Case::local("proxy-command", "`ssh -o ProxyCommand='ssh -W %h:%p hosta' hostb`", proxy_command)
        .hosts(&["hosta", "hostb"]),
    Case::local("sign-file", "`ssh-keygen -Y sign`", |world| script(world, &uses::sign_file(world))),
    Case::local("sign-commit", "`git commit -S`", |world| script(world, &uses::sign_commit(world))).needs(&[GIT]),
    Case::local("sign-certificate", "`ssh-keygen -Us`, the agent's key as authority", |world| {
        script(world, &uses::sign_certificate(world))
    }),
    Case::local("test-key", "`ssh-add -T`", |world| script(world, &uses::test_key(world))),
];

fn login(world: &World, options: &[&str]) -> bool {
    reached(&world.on_hosta(Key::Subject, options, ARRIVE))
}

fn script(world: &World, script: &str) -> bool {
    reached(&world.command("sh").args(["-c", script]).run().stdout)
}

fn identity_agent(world: &World) -> bool {
    let option = format!("IdentityAgent={}", world.socket().display());
    let ssh = world.ssh(Key::Subject).without_env("SSH_AUTH_SOCK").args(["-o", &option, "hosta", ARRIVE]);
    reached(&ssh.run().stdout)
}

fn background(world: &World) -> bool {
    let file = world.home().path("home/arrived");
    let script = format!("touch {}", file.display());
    world.ssh(Key::Subject).args(["-f", "hosta", &script]).run().succeeds();
    until(SOON, || file.exists())
}

fn hashed(world: &World) -> bool {
    let host = world.host("hosta");
    let line = format!("[127.0.0.1]:{} {}\n", host.port(), host.host_key().public().line());
    let known = world.home().file("home/hashed", line);
    world.command("ssh-keygen").args(["-q", "-H", "-f"]).arg(&known).run().succeeds();
    let (option, port) = (format!("UserKnownHostsFile={}", known.display()), host.port().to_string());
    reached(&world.ssh(Key::Subject).args(["-o", &option, "-p", &port, "127.0.0.1", ARRIVE]).run().stdout)
}

/// Logs in to a host with a second host key, which is the only one that is known.
fn host_key(world: &World, arguments: &[&str]) -> bool {
    let key = KeyFile::with(world.home(), "second-host-key", arguments, "");
    let host = world.host_with("hosta", &format!("HostKey {}", key.path().display()));
    let known = world.home().file("home/second", format!("hosta {}\n", key.public().line()));
    let ssh = knowing(world, &known).args(["-p", &host.port().to_string(), "hosta", ARRIVE]);
    reached(&ssh.run().stdout)
}

fn host_certificate(world: &World) -> bool {
    let (authority, key) = (KeyFile::new(world.home(), "authority"), KeyFile::new(world.home(), "certified-host-key"));
    let certificate = key.certified_by(world.home(), &authority, &["-h", "-n", "hosta"]);
    let lines = format!("HostKey {}\nHostCertificate {}", key.path().display(), certificate.path().display());
    world.host_with("hosta", &lines);
    let known = world.home().file("home/certified", format!("@cert-authority host* {}\n", authority.public().line()));
    reached(&knowing(world, &known).args(["hosta", ARRIVE]).run().stdout)
}

fn knowing(world: &World, known_hosts: &std::path::Path) -> Task {
    world.ssh(Key::Subject).arg("-o").arg(format!("UserKnownHostsFile={}", known_hosts.display()))
}

/// Somebody who sits elsewhere and has logged in here uses the agent that runs here.
fn in_session(world: &World) -> bool {
    let script = format!("SSH_AUTH_SOCK={} {}", world.socket().display(), uses::login(world, "hostb"));
    reached(&world.on_hosta(Key::Carried, &[], &script))
}

fn scp(world: &World) -> bool {
    let (from, to) = (world.home().file("home/sent", "text"), world.home().path("home/received"));
    world
        .command("scp")
        .arg("-qF")
        .arg(world.configuration(Key::Subject))
        .arg(from)
        .arg(format!("hosta:{}", to.display()))
        .run();
    to.exists()
}

fn sftp(world: &World) -> bool {
    let to = world.home().path("home/received");
    let batch = world.home().file("home/batch", format!("mkdir {}\n", to.display()));
    world.command("sftp").arg("-qb").arg(batch).arg("-F").arg(world.configuration(Key::Subject)).arg("hosta").run();
    to.exists()
}

fn git(world: &World) -> bool {
    let repository = world.home().path("home/repository");
    world.command("git").args(["init", "-q", "--bare"]).arg(&repository).run().succeeds();
    let ssh = format!("ssh -F {}", world.configuration(Key::Subject).display());
    let clone = ["clone", "-q", &format!("hosta:{}", repository.display()), "clone"];
    world.command("git").env("GIT_SSH_COMMAND", ssh).args(clone).run().status.success()
}

fn jump(world: &World, options: &[&str], destination: &str) -> bool {
    reached(&world.ssh(Key::Subject).args(options).args([destination, ARRIVE]).run().stdout)
}

fn proxy_command(world: &World) -> bool {
    let option = format!("ProxyCommand=ssh -F {} -W %h:%p hosta", world.configuration(Key::Subject).display());
    jump(world, &["-o", &option], "hostb")
}
