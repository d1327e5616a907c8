//! A Kerberos realm with a real key server, for logins with key exchange by GSSAPI.

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::path::PathBuf;

use crate::background::Background;
use crate::home::Home;
use crate::run::Task;
use crate::wait::{SOON, until};

/// A realm that knows the user who runs the tests, who is logged in to it, and one host. One a home; its server ends with this value.
pub struct Realm {
    home: Home,
    host: String,
    _server: Background,
}

impl Realm {
    /// What a host of the realm has in its `sshd_config`.
    pub const HOST: &str = "GSSAPIKeyExchange yes\nGSSAPIStrictAcceptorCheck no";

    /// Makes the realm, in which `host` is the only host, and logs the user in.
    ///
    /// # Panics
    /// When Kerberos is not installed or does not work.
    #[must_use]
    pub fn start(home: &Home, host: &str) -> Self {
        let mut served = None;
        // The port is free when it is chosen and may be taken when the server wants it.
        for attempt in 0..5 {
            configure(home, host, free_port());
            if attempt == 0 {
                fill_database(home, host);
            }
            let mut server = command(home, "/usr/sbin/krb5kdc").arg("-n").start("kdc");
            let begins = until(SOON, || server.log().contains("starting...") || server.has_ended());
            if begins && !server.has_ended() {
                served = Some(server);
                break;
            }
        }
        let server = served.unwrap_or_else(|| panic!("no Kerberos server\n{}", home.logs()));
        command(home, "kinit").args(["-k", "-t"]).arg(home.path("realm/user.keytab")).arg(user(home)).run().succeeds();
        Self { home: home.clone(), host: host.to_owned(), _server: server }
    }

    /// Where programs and hosts find the realm.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        environment(&self.home)
    }

    /// The options by which `ssh` exchanges keys with the host by GSSAPI.
    #[must_use]
    pub fn options(&self) -> [String; 4] {
        let identity = format!("GSSAPIServerIdentity={}", self.host);
        ["-o".to_owned(), "GSSAPIKeyExchange=yes".to_owned(), "-o".to_owned(), identity]
    }
}

fn environment(home: &Home) -> Vec<(&'static str, PathBuf)> {
    let files = [
        ("KRB5_CONFIG", "krb5.conf"),
        ("KRB5_KDC_PROFILE", "kdc.conf"),
        ("KRB5_KTNAME", "host.keytab"),
        ("KRB5CCNAME", "credentials"),
    ];
    files.map(|(variable, file)| (variable, home.path("realm").join(file))).into()
}

fn command(home: &Home, program: &str) -> Task {
    home.command(program).envs(environment(home))
}

fn configure(home: &Home, host: &str, port: u16) {
    let client = format!(
        "[libdefaults]\ndefault_realm = HOP.TEST\ndns_lookup_kdc = false\ndns_lookup_realm = false\nrdns = false\n\
         dns_canonicalize_hostname = false\n[realms]\nHOP.TEST = {{\nkdc = 127.0.0.1:{port}\n}}\n\
         [domain_realm]\n{host} = HOP.TEST\n"
    );
    let server = format!(
        "[kdcdefaults]\nkdc_listen = 127.0.0.1:{port}\nkdc_tcp_listen = 127.0.0.1:{port}\n[realms]\nHOP.TEST = {{\n\
         database_name = {0}/principal\nkey_stash_file = {0}/stash\nacl_file = {0}/acl\n}}\n[logging]\nkdc = STDERR\n",
        home.directory("realm").display()
    );
    home.file("realm/krb5.conf", client);
    home.file("realm/kdc.conf", server);
}

fn fill_database(home: &Home, host: &str) {
    let mut commands = String::new();
    for (principal, file) in [(user(home), "user.keytab"), (format!("host/{host}"), "host.keytab")] {
        let file = home.path("realm").join(file);
        let _ = writeln!(commands, "addprinc -randkey {principal}\nktadd -k {} {principal}", file.display());
    }
    command(home, "/usr/sbin/kdb5_util").args(["create", "-s", "-P", "master", "-r", "HOP.TEST"]).run().succeeds();
    command(home, "/usr/sbin/kadmin.local").input(commands).run().succeeds();
}

fn user(home: &Home) -> String {
    home.command("id").arg("-un").run().succeeds().stdout.trim().to_owned()
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
    socket.local_addr().expect("an address").port()
}
