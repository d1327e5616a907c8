//! Programs that speak the agent's protocol and are not a trusted `ssh`: what they ask for may be their own wish or somebody else's.

use crate::case::Case;
use crate::needs::{ASYNCSSH, DROPBEAR, PARAMIKO, PUTTY};
use crate::tap::{Binds, Tap};
use crate::uses::{self, ARRIVE, reached};
use crate::world::{Key, World};

pub(super) const CASES: &[Case] = &[
    Case::program("copied-ssh", "a copy of `ssh`, as a container brings its own", |world| {
        let copy = world.home().path("home/ssh");
        std::fs::copy("/usr/bin/ssh", &copy).expect("a copy of ssh");
        let ssh = world.command(&copy.display().to_string()).arg("-F").arg(world.configuration(Key::Subject));
        reached(&ssh.args(["hosta", ARRIVE]).run().stdout)
    }),
    Case::program("old-ssh", "`ssh` behind something that swallows announcements, as OpenSSH before 8.9", |world| {
        let tap = Tap::new(world.home().path("home/tap.sock"), world.socket(), Binds::Swallow);
        reached(&world.ssh(Key::Subject).env("SSH_AUTH_SOCK", tap.socket()).args(["hosta", ARRIVE]).run().stdout)
    }),
    Case::program("plink", "`plink hosta`", |world| plink(world, "-agent", ARRIVE)).needs(&[PUTTY]),
    Case::relayed("plink-A", "`plink -A hosta`, there `ssh hostb`", |world| {
        plink(world, &plink_forwarding(world), &uses::login(world, "hostb"))
    })
    .needs(&[PUTTY]),
    Case::relayed("plink-A-sign-file", "`plink -A hosta`, there `ssh-keygen -Y sign`", |world| {
        plink(world, &plink_forwarding(world), &uses::sign_file(world))
    })
    .needs(&[PUTTY]),
    Case::program("dbclient", "`dbclient hosta`", |world| dbclient(world, "", ARRIVE)).needs(&[DROPBEAR]),
    Case::relayed("dbclient-A", "`dbclient -A hosta`, there `ssh hostb`", |world| {
        dbclient(world, &dbclient_forwarding(world), &uses::login(world, "hostb"))
    })
    .needs(&[DROPBEAR]),
    Case::relayed("dbclient-A-sign-file", "`dbclient -A hosta`, there `ssh-keygen -Y sign`", |world| {
        dbclient(world, &dbclient_forwarding(world), &uses::sign_file(world))
    })
    .needs(&[DROPBEAR]),
    Case::program("paramiko", "Python's paramiko: login", |world| python(world, PARAMIKO_LOGIN, ARRIVE))
        .needs(&[PARAMIKO]),
    Case::relayed("paramiko-A", "paramiko with `AgentRequestHandler`, there `ssh hostb`", |world| {
        python(world, PARAMIKO_FORWARD, &uses::login(world, "hostb"))
    })
    .needs(&[PARAMIKO]),
    Case::program("asyncssh", "Python's asyncssh: login", |world| python(world, ASYNCSSH_LOGIN, ARRIVE))
        .needs(&[ASYNCSSH]),
    Case::relayed("asyncssh-A", "asyncssh with `agent_forwarding`, there `ssh hostb`", |world| {
        python(world, ASYNCSSH_FORWARD, &uses::login(world, "hostb"))
    })
    .needs(&[ASYNCSSH]),
];

const PARAMIKO_LOGIN: &str = r"
client.connect('127.0.0.1', port, look_for_keys=False)
print(client.exec_command(script)[1].read().decode())
";

const PARAMIKO_FORWARD: &str = r"
client.connect('127.0.0.1', port, look_for_keys=False, allow_agent=False, key_filename=key)
channel = client.get_transport().open_session()
handler = paramiko.agent.AgentRequestHandler(channel)
channel.exec_command(script)
print(channel.makefile().read().decode())
";

const ASYNCSSH_LOGIN: &str = r"
async with asyncssh.connect('127.0.0.1', port, known_hosts=None, config=None) as connection:
    print((await connection.run(script)).stdout)
";

const ASYNCSSH_FORWARD: &str = r"
async with asyncssh.connect('127.0.0.1', port, known_hosts=None, config=None, client_keys=[key], agent_forwarding=True) as connection:
    print((await connection.run(script)).stdout)
";

const PARAMIKO_FRAME: &str = r"
import sys, warnings
warnings.simplefilter('ignore')
import paramiko
port, key, script = int(sys.argv[1]), sys.argv[2], sys.argv[3]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
";

const ASYNCSSH_FRAME: &str = r"
import asyncio, sys, warnings
warnings.simplefilter('ignore')
import asyncssh
port, key, script = int(sys.argv[1]), sys.argv[2], sys.argv[3]
async def main():
";

/// Runs a part of a Python program that logs in to `hosta` and runs a script there. Debian's Python, which has Debian's packages.
fn python(world: &World, part: &str, script: &str) -> bool {
    let program = match part.contains("asyncssh.") {
        true => format!("{ASYNCSSH_FRAME}{}\nasyncio.run(main())\n", part.replace('\n', "\n    ")),
        false => format!("{PARAMIKO_FRAME}{part}"),
    };
    let port = world.host("hosta").port().to_string();
    let key = world.private_file(Key::Carried).display().to_string();
    reached(&world.command("/usr/bin/python3").args(["-c", &program, &port, &key, script]).run().stdout)
}

fn plink(world: &World, options: &str, script: &str) -> bool {
    let host = world.host("hosta");
    let command = format!(
        "exec plink -batch {options} -hostkey {} -P {} {}@127.0.0.1 \"$0\"",
        host.host_key().public().fingerprint(),
        host.port(),
        world.user()
    );
    reached(&world.command("sh").args(["-c", &command, script]).run().stdout)
}

/// The own login has no part in the agent.
fn plink_forwarding(world: &World) -> String {
    let key = world.home().path("home/carried.ppk");
    world
        .command("puttygen")
        .arg(world.private_file(Key::Carried))
        .args(["-O", "private", "-o"])
        .arg(&key)
        .run()
        .succeeds();
    format!("-A -noagent -i {}", key.display())
}

fn dbclient(world: &World, options: &str, script: &str) -> bool {
    let command =
        format!("exec dbclient -y -y {options} -p {} {}@127.0.0.1 \"$0\"", world.host("hosta").port(), world.user());
    reached(&world.command("sh").args(["-c", &command, script]).run().stdout)
}

/// The own login has no part in the agent, whose keys would be tried first: the host does not take them.
fn dbclient_forwarding(world: &World) -> String {
    world.authorize("hosta", &[Key::Carried]);
    let key = world.home().path("home/carried.db");
    let convert = world.command("dropbearconvert").args(["openssh", "dropbear"]);
    convert.arg(world.private_file(Key::Carried)).arg(&key).run().succeeds();
    format!("-A -i {}", key.display())
}
