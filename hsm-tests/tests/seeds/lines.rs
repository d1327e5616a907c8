//! Texts: files of known hosts as OpenSSH writes them, arguments of `ssh`, configurations, URIs.

use std::fs;
use std::path::Path;

use base64ct::{Base64, Encoding as _};
use hsm_tests::{Body, Home, KeyFile};

use crate::store::Store;

pub(crate) fn record(home: &Home, store: &mut Store) {
    known_hosts(home, store);
    for (number, line) in ARGUMENTS.iter().enumerate() {
        let words = line.split(' ').collect::<Vec<_>>().join("\0");
        store.put("ssh_argv", "ssh", [&[u8::from(number % 2 == 0)], words.as_bytes()].concat());
    }
    for example in configurations() {
        store.put("configuration", "example", example);
    }
    for uri in URIS {
        store.put("uri", "uri", *uri);
    }
}

fn known_hosts(home: &Home, store: &mut Store) {
    let [one, two, authority] = ["one", "two", "vouching"].map(|name| KeyFile::new(home, &format!("known-{name}")));
    let task = home.command("ssh-keygen").args(["-q", "-h", "-I", "host", "-n", "certified,*.example.org", "-s"]);
    task.arg(authority.path()).arg(two.public().path()).run().succeeds();
    let certificate = fs::read_to_string(home.path("home/known-two-cert.pub")).expect("a certificate");
    let certificate = certificate.split(' ').nth(1).expect("the certificate's octets").to_owned();

    let plain = format!(
        "# hosts\n\nhost.example.org,192.0.2.1 {one}\n[host.example.org]:2222 {two} with a comment\n\
         *.example.com,!bad.example.com\t{two}\n@cert-authority *.example.org {authority}\n@revoked other.example.org {one}\n",
        one = one.public().line(),
        two = two.public().line(),
        authority = authority.public().line(),
    );
    let file = home.file("known_hosts_plain", &plain);
    home.command("ssh-keygen").args(["-q", "-H", "-f"]).arg(&file).run().succeeds();
    let hashed = fs::read_to_string(&file).expect("hashed hosts");
    let encoded = |key: &KeyFile| key.public().line().split(' ').nth(1).expect("octets").to_owned();
    for (name, content) in [("plain", plain), ("hashed", hashed)] {
        for (host, port, key) in [
            ("host.example.org", 22, encoded(&one)),
            ("HOST.example.org", 2222, encoded(&two)),
            ("192.0.2.1", 22, encoded(&one)),
            ("bad.example.com", 22, encoded(&two)),
            ("other.example.org", 22, encoded(&one)),
            ("www.example.org", 22, certificate.clone()),
            ("*.example.com", 22, encoded(&authority)),
        ] {
            store.put("known_hosts", name, format!("{host} {port} {key}\n{content}"));
        }
    }
    let certificate = Base64::decode_vec(&certificate).expect("base 64");
    store.put("public_key", "host certificate", certificate.as_slice());
    // As newer versions of ssh-add send it with a provider.
    let list = Body::new(0).string(&certificate).string(&certificate).bytes().split_off(1);
    let associated = Body::new(255).string("associated-certs-v00@openssh.com").raw(&[1]).string(list).bytes();
    store.put("constraints", "certificates for a provider", [&[2], &associated[..]].concat());
}

/// The examples in the documents, and one of everything.
fn configurations() -> Vec<String> {
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut examples = vec![EVERYTHING.to_owned()];
    // What is refused is where a rule may get lost.
    for (good, bad) in
        [("1m30s", "0s"), ("/usr/lib/other", "other"), ("\"/run/pin\"", "\"pin\""), ("workers = 2", "workers = 0")]
    {
        examples.push(EVERYTHING.replace(good, bad));
    }
    for document in fs::read_dir(documents).into_iter().flatten().flatten() {
        let text = fs::read_to_string(document.path()).unwrap_or_default();
        examples.extend(text.split("```toml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())));
    }
    examples
}

const EVERYTHING: &str = r#"preset = "openssh"
discover = false

[listen]
forward = "/run/user/1000/hardkey/forward.sock"
[[listen.extra]]
path = "/srv/container/agent.sock"

[[module]]
path = "/usr/lib/softhsm/libsofthsm2.so"
pin = { file = "/run/pin" }
keys = ["pkcs11:token=ci;object=deploy?pin-source=file:/run/pin2", "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"]
workers = 2
timeout = "1m30s"
env = { SOFTHSM2_CONF = "/etc/softhsm2.conf" }

[[module]]
path = "/usr/lib/other.so"
pin = "ask"

[prompt]
pinentry = "/usr/bin/pinentry"
timeout = "60s"
"#;

/// Command lines as people, git, rsync, scp and ansible make them.
const ARGUMENTS: &[&str] = &[
    "ssh host",
    "ssh -A -l ada host.example.org uptime",
    "ssh ada@host -p 2222 -- ls -la /tmp",
    "ssh -vvvF /etc/ssh/other -oProxyCommand=none -i ~/.ssh/id host",
    "ssh -F config -W [%h]:%p jump",
    "ssh ssh://ada@[2001:db8::1]:2222",
    "ssh -o SendEnv=GIT_PROTOCOL git@github.com git-upload-pack 'hardkey/hardkey.git'",
    "ssh -x -oForwardAgent=no -oPermitLocalCommand=no -oClearAllForwardings=yes -s -- host sftp",
    "ssh -l ada host rsync --server -vlogDtpre.iLsfxCIvu . /srv",
    "ssh -C -o ControlMaster=auto -o ControlPersist=60s -tt 192.0.2.7 /bin/sh -c 'echo ~ && sleep 0'",
    "ssh -J jump1,jump2 -L 8080:localhost:80 -R 0 -D1080 -NfT host",
    "ssh -E log -P tag -B eth0 -b 192.0.2.9 -Q cipher host",
    "ssh -G host",
    "ssh -- -host",
    "ssh: /run/mux [mux]",
    "ssh -46aKknqtXYyg host -Msc aes256-ctr -m hmac-sha2-256 -S none -w 0 -e none -I /lib/pkcs11.so command -v",
];

/// From RFC 7512 section 3, from users' configurations, and what is refused.
const URIS: &[&str] = &[
    "pkcs11:",
    "pkcs11:object=my-pubkey;type=public",
    "pkcs11:object=my-key;type=private?pin-source=file:/etc/token",
    "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=cert;\
     id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin",
    "pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-value=the-pin",
    "pkcs11:slot-description=Sun%20Metaslot",
    "pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;library-version=1.23",
    "pkcs11:token=My%20token%25%20created%20by%20Joe;library-version=3;id=%01%02%03%Ba%dd%Ca%fe%04%05%06",
    "pkcs11:token=A%20name%20with%20a%20substring%20%25%3B;object=my-certificate;type=cert",
    "pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1;object=my-certificate;type=cert",
    "pkcs11:token=my-token;object=my-certificate;type=cert;vendor-aaa=value-a?pin-source=file:/etc/token_pin&vendor-bbb=value-b",
    "PKCS11:token=ci;slot-id=7?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/run/pin",
];
