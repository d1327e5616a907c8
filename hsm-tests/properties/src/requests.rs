//! Requests: what was understood is what was sent, and a key that was accepted signs.

use std::cell::OnceCell;

use hardkey::backend::Signer as _;
use hardkey::backend::software::SoftwareKey;
use hardkey::crypto::verify::Verifier;
use hardkey::errand::Errand;
use hardkey::protocol::constraint::Subject;
use hardkey::protocol::private_key::{PrivateKey, Secret};
use hardkey::protocol::prompts;
use hardkey::protocol::public_key::{KeyMaterial, PublicKey};
use hardkey::protocol::request::{APPROVALS, Add, AddProvider, Request};
use hardkey::protocol::signature::{FLAG_RSA_SHA2_512, Wanted};
use secrecy::ExposeSecret as _;
use tokio::runtime::Runtime;

use crate::octets::{assert_fits_a_log, string};
use crate::{constraints, public_key};

/// Input: one message without its length.
pub fn check(input: &[u8]) {
    let request = match Request::parse(input) {
        Ok(request) => request,
        Err(error) => return assert_fits_a_log(&error.to_string()),
    };
    let number = input[0];
    // What follows a complete request is ignored, so it is enough that the message begins with it.
    let is_sent = |fields: &[&[u8]]| {
        let body = fields.iter().flat_map(|field| string(field)).collect::<Vec<u8>>();
        assert!(input[1..].starts_with(&body), "not what was sent");
    };
    let is_content = |extension: &str, content: &[u8]| {
        assert_eq!(number, 27);
        let begins = 5 + extension.len();
        assert_eq!(input.get(begins..begins + content.len()), Some(content), "not what was sent");
    };
    match request {
        Request::List => assert_eq!(number, 11),
        Request::Sign(sign) => {
            assert_eq!(number, 13);
            is_sent(&[sign.key, sign.data]);
        }
        Request::Add(add) => {
            assert!(matches!(number, 17 | 25));
            added(&add);
        }
        Request::Remove { key } => {
            assert_eq!(number, 18);
            is_sent(&[key]);
        }
        Request::RemoveAll => assert!(matches!(number, 9 | 19)),
        Request::AddProvider(add) => {
            let AddProvider { provider, pin, constraints } = *add;
            assert!(matches!(number, 20 | 26));
            is_sent(&[provider.as_bytes(), pin.expose_secret()]);
            constraints::understood(&constraints, Subject::Provider);
        }
        Request::RemoveProvider { provider } => {
            assert_eq!(number, 21);
            is_sent(&[provider.as_bytes()]);
        }
        Request::Lock { passphrase } | Request::Unlock { passphrase } => {
            assert!(matches!(number, 22 | 23));
            is_sent(&[passphrase.expose_secret()]);
        }
        Request::Query => is_sent(&[b"query"]),
        Request::SessionBind(Ok(bind)) => {
            is_sent(&[b"session-bind@openssh.com", bind.host_key, bind.session_id, bind.signature]);
        }
        Request::SessionBind(Err(error)) => assert_fits_a_log(&error.to_string()),
        Request::Inventory | Request::Explain | Request::Release | Request::TokensChanged => assert_eq!(number, 27),
        Request::Approvals(revoke) => is_content(APPROVALS, &revoke.encode()),
        Request::Prompts(prompts) => is_content(prompts::NAME, &prompts.encode()),
        Request::UnknownExtension { name } => is_sent(&[name.as_bytes()]),
    }
}

fn added(add: &Add<'_>) {
    let subject = match add.key.secret {
        Secret::SecurityKey { .. } => Subject::SecurityKey,
        _ => Subject::Software,
    };
    constraints::understood(&add.constraints, subject);
    match SoftwareKey::new(&add.key, false) {
        Ok(key) => accepted(&add.key, &key),
        Err(error) => assert_fits_a_log(&error.to_string()),
    }
}

/// A key that was accepted is listed under a blob that others can read, and its signatures verify under that blob.
fn accepted(sent: &PrivateKey<'_>, key: &SoftwareKey) {
    let blob = sent.public.blob();
    let listed = PublicKey::from_blob(blob).expect("an accepted key's blob");
    assert_eq!(listed.material(), sent.public.material());
    public_key::understood(&listed, blob);

    let data = b"any data";
    let signature = wait_for(key.sign(data, Wanted { flags: FLAG_RSA_SHA2_512, sha1: false }, &Errand::default()))
        .expect("a signature of an accepted key");
    let verifier = Verifier::new(listed.material()).expect("an accepted key's numbers");
    assert_eq!(verifier.verify_blob(data, &signature), Ok(()));
    assert!(verifier.verify_blob(b"other data", &signature).is_err());
    assert!(!matches!(listed.material(), KeyMaterial::SkEd25519 { .. } | KeyMaterial::SkEcdsa { .. }));
}

fn wait_for<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    RUNTIME.with(|runtime| {
        let start = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.get_or_init(start).block_on(future)
    })
}
