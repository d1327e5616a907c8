//! Key exchange by GSSAPI, as distributions patch it into OpenSSH: a trusted `ssh` that announces nothing to the agent, neither its own login
//! nor what it forwards.

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::path::Path;

use hsm_tests::{Client, SOON, until};

use super::hostile::{Lie, lie};
use crate::case::{Case, Stock};
use crate::needs::{KADMIN, KDC, KINIT, Need};
use crate::uses::{self, ARRIVE, reached};
use crate::world::{Key, World};

const NEEDS: &[Need] = &[KDC, KADMIN, KINIT];

pub(super) const CASES: &[Case] = &[
    Case::program("gssapi-ssh", "`ssh -o GSSAPIKeyExchange=yes hosta`: its own login", |world| {
        on_hosta(world, Key::Subject, &[], ARRIVE)
    })
    .hosts(&[])
    .needs(NEEDS),
    Case::relayed("gssapi-A-ssh", "`ssh -A -o GSSAPIKeyExchange=yes hosta`, there `ssh hostb`", |world| {
        on_hosta(world, Key::Carried, &["-A"], &uses::login(world, "hostb"))
    })
    .hosts(&["hostb"])
    .needs(NEEDS),
    Case::relayed("gssapi-A-ssh-back", "the same, there `ssh hosta`", |world| {
        on_hosta(world, Key::Carried, &["-A"], &uses::login(world, "hosta"))
    })
    .hosts(&[])
    .needs(NEEDS),
    Case::relayed("gssapi-A-sign-file", "the same, there `ssh-keygen -Y sign`", |world| {
        on_hosta(world, Key::Carried, &["-A"], &uses::sign_file(world))
    })
    .hosts(&[])
    .needs(NEEDS),
    Case::relayed("gssapi-A-lie", "the same; hosta announces a login at itself and asks for it", |world| {
        let options = prepare(world);
        let socket = world.forwarded_to_hosta(Key::Carried, &[&options[..], &["-A"]].concat());
        lie(&mut Client::connect(&socket), world, Lie::OwnHost)
    })
    .hosts(&["hostb"])
    .needs(NEEDS),
    Case::relayed(
        "gssapi-other-login-lie",
        "the same with another agent for its own login (`IdentityAgent`) and `ForwardAgent=AGENT`",
        |world| {
            let options = prepare(world);
            let other = world.home().path("home/other.sock");
            let mut agent = world.command("/usr/bin/ssh-agent").arg("-Da").arg(&other).start("other-agent");
            agent.wait_for_log("SSH_AUTH_SOCK", SOON);
            world.keep(agent);
            let (own, forward) = (option("IdentityAgent", &other), option("ForwardAgent", world.socket()));
            let other = ["-o", &own, "-o", &forward];
            let socket = world.forwarded_to_hosta(Key::Carried, &[&options[..], &other].concat());
            lie(&mut Client::connect(&socket), world, Lie::OwnHost)
        },
    )
    .hosts(&["hostb"])
    .needs(NEEDS),
    Case::relayed(
        "gssapi-F-ssh",
        "`ssh -o GSSAPIKeyExchange=yes -o ForwardAgent=FORWARD-SOCKET hosta`, there `ssh hosta`",
        |world| {
            let forward = option("ForwardAgent", &world.forward_socket());
            on_hosta(world, Key::Carried, &["-o", &forward], &uses::login(world, "hosta"))
        },
    )
    .hosts(&[])
    .needs(NEEDS)
    .stock(Stock::Lacks),
];

fn on_hosta(world: &World, key: Key, options: &[&str], script: &str) -> bool {
    let exchange = prepare(world);
    let outcome =
        world.ssh(key).args(exchange).args(["-o", "LogLevel=DEBUG"]).args(options).args(["hosta", script]).run();
    assert!(outcome.stderr.contains("kex: algorithm: gss-"), "no key exchange by GSSAPI\n{}", outcome.report());
    reached(&outcome.stdout)
}

/// Makes a realm with the user and `hosta`, logs the user in, and starts `hosta`: the options for `ssh`.
fn prepare(world: &World) -> [&'static str; 4] {
    let path = |name: &str| world.home().path("home").join(name);
    world.set_environment(vec![
        ("KRB5_CONFIG", path("krb5.conf")),
        ("KRB5_KDC_PROFILE", path("kdc.conf")),
        ("KRB5_KTNAME", path("host.keytab")),
        ("KRB5CCNAME", path("credentials")),
    ]);
    // The port is free when it is chosen and may be taken when the server wants it.
    let served = (0..5).any(|attempt| {
        configure(world, free_port());
        if attempt == 0 {
            fill_database(world, &path("user.keytab"), &path("host.keytab"));
        }
        let mut kdc = world.command("/usr/sbin/krb5kdc").arg("-n").start("kdc");
        let serves = until(SOON, || kdc.log().contains("starting...") || kdc.has_ended()) && !kdc.has_ended();
        world.keep(kdc);
        serves
    });
    assert!(served, "no Kerberos server\n{}", world.home().logs());
    run(world, "kinit", &["-k", "-t", &path("user.keytab").display().to_string(), &world.user()], "");
    world.host_with("hosta", "GSSAPIKeyExchange yes\nGSSAPIStrictAcceptorCheck no");
    ["-o", "GSSAPIKeyExchange=yes", "-o", "GSSAPIServerIdentity=hosta"]
}

fn configure(world: &World, port: u16) {
    let client = format!(
        "[libdefaults]\ndefault_realm = HOP.TEST\ndns_lookup_kdc = false\ndns_lookup_realm = false\nrdns = false\n\
         dns_canonicalize_hostname = false\n[realms]\nHOP.TEST = {{\nkdc = 127.0.0.1:{port}\n}}\n\
         [domain_realm]\nhosta = HOP.TEST\n"
    );
    let files = world.home().path("home");
    let server = format!(
        "[kdcdefaults]\nkdc_listen = 127.0.0.1:{port}\nkdc_tcp_listen = 127.0.0.1:{port}\n[realms]\nHOP.TEST = {{\n\
         database_name = {0}/principal\nkey_stash_file = {0}/stash\nacl_file = {0}/acl\n}}\n[logging]\nkdc = STDERR\n",
        files.display()
    );
    world.home().file("home/krb5.conf", client);
    world.home().file("home/kdc.conf", server);
}

fn fill_database(world: &World, user: &Path, host: &Path) {
    let mut commands = String::new();
    for (principal, file) in [(world.user().as_str(), user), ("host/hosta", host)] {
        let _ = writeln!(commands, "addprinc -randkey {principal}\nktadd -k {} {principal}", file.display());
    }
    run(world, "/usr/sbin/kdb5_util", &["create", "-s", "-P", "master", "-r", "HOP.TEST"], "");
    run(world, "/usr/sbin/kadmin.local", &[], &commands);
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

fn run(world: &World, program: &str, arguments: &[&str], input: &str) {
    world.command(program).args(arguments).input(input).run().succeeds();
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
    socket.local_addr().expect("an address").port()
}
