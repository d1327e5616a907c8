//! PKCS#11 URIs (RFC 7512): what was read, written and read again is the same, and no PIN in one is ever shown.

use hardkey::backend::pkcs11::uri::Uri;

/// What stands for a PIN; nothing else in an input is likely to contain it.
const PIN: &str = "8f1dPINd1f8";

/// Input: the text.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Uri::parse(text) {
        Ok(uri) => understood(&uri),
        Err(error) => assert!(error.to_string().len() <= 1000 + 10 * text.len()),
    }
    let separator = if text.contains('?') { '&' } else { '?' };
    let error = Uri::parse(&format!("{text}{separator}pin-value={PIN}")).expect_err("a PIN in a URI");
    if !text.contains(PIN) {
        assert!(!format!("{error} {error:?}").contains(PIN), "a PIN in a message: {error}");
    }
}

fn understood(uri: &Uri) {
    let text = uri.to_string();
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~%=;:".contains(&octet);
    assert!(text.bytes().all(plain), "{text}");
    let again = Uri::parse(&text).expect("an own text");
    let mut without_query = uri.clone();
    (without_query.module_path, without_query.pin_source) = (None, None);
    assert_eq!(again, without_query);
    assert_eq!(again.to_string(), text);
    assert!(Uri::parse("pkcs11:").expect("the URI of everything").covers(uri));
}
