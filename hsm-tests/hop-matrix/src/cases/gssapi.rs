//! Key exchange by GSSAPI, as distributions patch it into OpenSSH: a trusted `ssh` that announces nothing to the agent, neither its own login
//! nor what it forwards.

use std::path::Path;

use hsm_tests::{Client, Realm, SOON};

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
        let options: Vec<&str> = options.iter().map(String::as_str).chain(["-A"]).collect();
        let socket = world.forwarded_to_hosta(Key::Carried, &options);
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
            let options = options.iter().map(String::as_str);
            let options: Vec<&str> = options.chain(["-o", &own, "-o", &forward]).collect();
            let socket = world.forwarded_to_hosta(Key::Carried, &options);
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

/// Makes a realm with the user and `hosta`, and starts `hosta`: the options for `ssh`.
fn prepare(world: &World) -> [String; 4] {
    let realm = Realm::start(world.home(), "hosta");
    world.set_environment(realm.environment());
    let options = realm.options();
    world.keep(realm);
    world.host_with("hosta", Realm::HOST);
    options
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
