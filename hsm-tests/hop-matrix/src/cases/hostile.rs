//! Hops that lie: a client of their own speaks through the way that an honest `ssh` has opened.

use std::path::Path;

use hsm_tests::{Body, Client, Token};

use super::named::restrict;
use crate::case::{Case, Stock, Wants};
use crate::needs::SOFTHSM;
use crate::tap::{Binds, Tap};
use crate::uses;
use crate::wire::{HostKey, bind, bound, bound_login, file_signature, login};
use crate::world::{Key, PASSPHRASE, World};

pub(super) const CASES: &[Case] = &[
    Case::relayed("A-lie-login", "through `ssh -A`: announces a login at a host of its own, asks for it", |world| {
        lie(&mut through_a(world), world, Lie::OwnHost)
    }),
    Case::relayed(
        "A-lie-session",
        "through `ssh -A`: own host key over another server's session, `publickey`",
        |world| lie(&mut through_a(world), world, Lie::OtherSession),
    ),
    Case::relayed("A-lie-signature", "through `ssh -A`: announces with a signature over another session", |world| {
        lie(&mut through_a(world), world, Lie::BadSignature)
    }),
    Case::relayed("A-lie-payload", "through `ssh -A`: announces one session, asks for another", |world| {
        lie(&mut through_a(world), world, Lie::OtherPayload)
    }),
    Case::relayed("A-lie-twice", "through `ssh -A`: announces two logins, asks for the second", |world| {
        lie(&mut through_a(world), world, Lie::Twice)
    }),
    Case::relayed("A-lie-surplus", "through `ssh -A`: announces 17 sessions, asks for the last", |world| {
        lie(&mut through_a(world), world, Lie::Surplus)
    }),
    Case::relayed("A-lie-garbage", "through `ssh -A`: announces with octets that mean nothing", |world| {
        lie(&mut through_a(world), world, Lie::Garbage)
    }),
    Case::relayed(
        "A-replay",
        "through `ssh -A`: a recorded announcement of somebody's login at hostb again",
        |world| replay(world, &world.forwarded_to_hosta(Key::Entry, &["-A"])),
    ),
    Case::relayed(
        "A-locked",
        "through `ssh -A`: channel opened while the agent was locked, used after unlocking",
        |world| opened_while_locked(world, &world.forwarded_to_hosta(Key::Entry, &["-A"])),
    ),
    Case::relayed(
        "h-A-forged-hop",
        "`-h hosta -h 'hosta>hostb' -h 'hostb>hostc'`; hosta invents the hop hostb",
        forged_hop,
    )
    .hosts(&["hosta", "hostb", "hostc"]),
    Case::relayed(
        "R-lie-login",
        "through `ssh -R`: announces a login at hosta, which it is, and asks for it",
        |world| lie(&mut through_r(world), world, Lie::OwnHost),
    ),
    Case::relayed(
        "R-lie-session",
        "through `ssh -R`: own host key over another server's session, `publickey`",
        |world| lie(&mut through_r(world), world, Lie::OtherSession),
    ),
    Case::relayed("R-lie-signature", "through `ssh -R`: announces with a signature over another session", |world| {
        lie(&mut through_r(world), world, Lie::BadSignature)
    }),
    Case::relayed("R-lie-surplus", "through `ssh -R`: announces 17 sessions, asks for the last", |world| {
        lie(&mut through_r(world), world, Lie::Surplus)
    }),
    Case::relayed("R-lie-garbage", "through `ssh -R`: announces with octets that mean nothing", |world| {
        lie(&mut through_r(world), world, Lie::Garbage)
    }),
    Case::relayed(
        "R-replay",
        "through `ssh -R`: a recorded announcement of somebody's login at hostb again",
        |world| replay(world, &world.relayed_to_hosta(Key::Carried, &[])),
    ),
    Case::relayed(
        "R-locked",
        "through `ssh -R`: channel opened while the agent was locked, used after unlocking",
        |world| opened_while_locked(world, &world.relayed_to_hosta(Key::Carried, &[])),
    ),
    Case::relayed(
        "R-other-login-lie",
        "through `ssh -o IdentityAgent=none -R`: announces a login at hosta, which it is, and asks for it",
        |world| lie(&mut through_other_r(world), world, Lie::OwnHost),
    ),
    Case::relayed("A-provider", "through `ssh -A`: has a PKCS#11 library loaded", |world| {
        change(world, &mut through_a(world), provider)
    })
    .wants(Wants::Change)
    .denied()
    .needs(&[SOFTHSM])
    .stock(Stock::Refuses),
    Case::relayed("A-add", "through `ssh -A`: adds a key", |world| change(world, &mut through_a(world), add))
        .wants(Wants::Change)
        .denied(),
    Case::relayed("A-remove", "through `ssh -A`: removes a key", |world| change(world, &mut through_a(world), remove))
        .wants(Wants::Change)
        .denied(),
    Case::relayed("A-wipe", "through `ssh -A`: removes all keys", |world| change(world, &mut through_a(world), wipe))
        .wants(Wants::Change)
        .denied(),
    Case::relayed("A-lock", "through `ssh -A`: locks the agent", |world| change(world, &mut through_a(world), lock))
        .wants(Wants::Change)
        .denied(),
    Case::relayed("A-unlock", "through `ssh -A`: unlocks the agent with the right passphrase", |world| {
        unlock(world, &mut through_a(world))
    })
    .wants(Wants::Change)
    .denied(),
    Case::relayed("R-provider", "through `ssh -R`: has a PKCS#11 library loaded", |world| {
        change(world, &mut through_r(world), provider)
    })
    .wants(Wants::Change)
    .denied()
    .needs(&[SOFTHSM]),
    Case::relayed("R-add", "through `ssh -R`: adds a key", |world| change(world, &mut through_r(world), add))
        .wants(Wants::Change)
        .denied(),
    Case::relayed("R-remove", "through `ssh -R`: removes a key", |world| change(world, &mut through_r(world), remove))
        .wants(Wants::Change)
        .denied(),
    Case::relayed("R-wipe", "through `ssh -R`: removes all keys", |world| change(world, &mut through_r(world), wipe))
        .wants(Wants::Change)
        .denied(),
    Case::relayed("R-lock", "through `ssh -R`: locks the agent", |world| change(world, &mut through_r(world), lock))
        .wants(Wants::Change)
        .denied(),
    Case::relayed("R-unlock", "through `ssh -R`: unlocks the agent with the right passphrase", |world| {
        unlock(world, &mut through_r(world))
    })
    .wants(Wants::Change)
    .denied(),
    Case::relayed("R-other-login-wipe", "through `ssh -o IdentityAgent=none -R`: removes all keys", |world| {
        change(world, &mut through_other_r(world), wipe)
    })
    .wants(Wants::Change)
    .denied(),
    Case::relayed("F-wipe", "at the socket for forwarded requests: removes all keys", |world| {
        change(world, &mut Client::connect(&world.forward_socket()), wipe)
    })
    .wants(Wants::Change)
    .denied()
    .stock(Stock::Lacks),
    Case::program("program-add", "some program of this machine adds a key", |world| {
        change(world, &mut Client::connect(world.socket()), add)
    })
    .wants(Wants::Change)
    .denied(),
];

/// `SSH_AGENTC_ADD_SMARTCARD_KEY` (RFC 9987 section 8.1)
const ADD_PROVIDER: u8 = 20;

/// Not what a key exchange makes, but nobody can tell.
const SESSION: [u8; 32] = [1; 32];
const OTHER_SESSION: [u8; 32] = [2; 32];

/// What the hop's own client says before it asks for a login.
pub(super) enum Lie {
    /// That a login at the hop's own host is meant, and that one is asked for.
    OwnHost,
    /// That a session is the hop's own which is another server's.
    OtherSession,
    /// The same, and the signature does not even fit.
    BadSignature,
    /// A session, and a login in another one is asked for.
    OtherPayload,
    /// Two logins.
    Twice,
    /// More than anybody goes through.
    Surplus,
    /// Nothing that can be read.
    Garbage,
}

fn through_a(world: &World) -> Client {
    Client::connect(&world.forwarded_to_hosta(Key::Entry, &["-A"]))
}

fn through_r(world: &World) -> Client {
    Client::connect(&world.relayed_to_hosta(Key::Carried, &[]))
}

/// Through an `ssh` that did not use the agent itself, so that the hop is the first to.
fn through_other_r(world: &World) -> Client {
    Client::connect(&world.relayed_to_hosta(Key::Carried, &["-o", "IdentityAgent=none"]))
}

pub(super) fn lie(client: &mut Client, world: &World, lie: Lie) -> bool {
    let (own, other) = (host_key(world, "hosta"), host_key(world, "hostb"));
    let (key, user) = (world.public(Key::Subject), world.user());
    let (binds, payload) = match lie {
        Lie::OwnHost => (vec![own.bind(&SESSION, false)], bound_login(&SESSION, &user, key, &own.blob())),
        Lie::OtherSession => (vec![own.bind(&OTHER_SESSION, false)], login(&OTHER_SESSION, &user, key)),
        Lie::BadSignature => {
            let signature = own.signature(&SESSION);
            (vec![bind(&own.blob(), &OTHER_SESSION, &signature, false)], login(&OTHER_SESSION, &user, key))
        }
        Lie::OtherPayload => (vec![own.bind(&SESSION, false)], login(&OTHER_SESSION, &user, key)),
        Lie::Twice => (
            vec![own.bind(&SESSION, false), other.bind(&OTHER_SESSION, false)],
            bound_login(&OTHER_SESSION, &user, key, &other.blob()),
        ),
        Lie::Surplus => {
            let mut binds: Vec<_> = (0..16).map(|number| own.bind(&[10 + number; 32], true)).collect();
            binds.push(other.bind(&SESSION, false));
            (binds, bound_login(&SESSION, &user, key, &other.blob()))
        }
        Lie::Garbage => {
            let garbage = Body::new(Client::EXTENSION).string("session-bind@openssh.com").raw(&[0xff; 40]).bytes();
            (vec![garbage], login(&SESSION, &user, key))
        }
    };
    for bind in binds {
        // Whether it is believed shows in what follows.
        let _ = client.ask(&bind);
    }
    client.sign(&key.blob(), &payload, 0).is_some()
}

/// Records what an honest `ssh` on the hop announces, and says it again on a connection of its own.
fn replay(world: &World, socket: &Path) -> bool {
    let tap = Tap::new(world.home().path("home/tap.sock"), socket, Binds::Pass);
    let honest = uses::through(world, Key::Carried, "", "hostb", "true");
    world.command("sh").env("SSH_AUTH_SOCK", tap.socket()).args(["-c", &honest]).run().succeeds();
    let recorded = tap.binds().pop().expect("an announcement to record");
    let (session, host_key) = bound(&recorded);
    let key = world.public(Key::Subject);
    let mut client = Client::connect(socket);
    let _ = client.ask(&recorded);
    client.sign(&key.blob(), &bound_login(&session, &world.user(), key, &host_key), 0).is_some()
}

fn opened_while_locked(world: &World, socket: &Path) -> bool {
    world.lock_agent("-x");
    let mut client = Client::connect(socket);
    // An answer shows that the way is open up to the agent.
    let _ = client.list();
    world.lock_agent("-X");
    client.sign(&world.public(Key::Subject).blob(), &file_signature(), 0).is_some()
}

/// It takes a key exchange with hostb to have its host key sign a session, but no login there.
fn forged_hop(world: &World) -> bool {
    restrict(world, &["hosta", "hosta>hostb", "hostb>hostc"]);
    let (middle, last) = (host_key(world, "hostb"), host_key(world, "hostc"));
    let (key, mut client) = (world.public(Key::Subject), through_a(world));
    for bind in [middle.bind(&OTHER_SESSION, true), last.bind(&SESSION, false)] {
        let _ = client.ask(&bind);
    }
    client.sign(&key.blob(), &bound_login(&SESSION, &world.user(), key, &last.blob()), 0).is_some()
}

fn host_key(world: &World, host: &str) -> HostKey {
    HostKey::of(world.host(host).host_key())
}

/// Whether a change was accepted, or happened all the same.
fn change(world: &World, client: &mut Client, ask: fn(&World, &mut Client) -> bool) -> bool {
    let before = world.keys();
    assert!(before.contains(&Key::Subject.name().to_owned()), "the agent has no keys to begin with");
    ask(world, client) || world.keys() != before
}

fn provider(world: &World, client: &mut Client) -> bool {
    let token = Token::new(world.home(), "token", &[hsm_tests::Key::P256]);
    let library = token.library().display().to_string();
    client.succeeds(&Body::new(ADD_PROVIDER).string(library).string(token.pin()).bytes())
}

fn add(world: &World, client: &mut Client) -> bool {
    client.succeeds(&Body::new(Client::ADD).raw(&world.key_file(Key::Carried).as_added()).bytes())
}

fn remove(world: &World, client: &mut Client) -> bool {
    client.succeeds(&Body::new(Client::REMOVE).string(world.public(Key::Subject).blob()).bytes())
}

fn wipe(_: &World, client: &mut Client) -> bool {
    client.succeeds(&[Client::REMOVE_ALL])
}

fn lock(_: &World, client: &mut Client) -> bool {
    client.succeeds(&Body::new(Client::LOCK).string("nobody knows").bytes())
}

fn unlock(world: &World, client: &mut Client) -> bool {
    world.lock_agent("-x");
    client.succeeds(&Body::new(Client::UNLOCK).string(PASSPHRASE).bytes()) || !world.keys().is_empty()
}
