//! RSA signatures with SHA-1, which the crypto library rightly does not make: for those who asked to be as lax as stock ssh-agent.

use aws_lc_rs::digest;
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use zeroize::Zeroizing;

use crate::crypto::digest_info;
use crate::protocol::Malformed;

/// The two numbers that such a signature needs.
pub(super) struct LegacyRsa {
    modulus: BoxedMontyParams,
    exponent: Zeroizing<BoxedUint>,
    octets: usize,
}

impl LegacyRsa {
    /// Takes modulus and private exponent, magnitudes without leading zeros.
    pub(super) fn new(n: &[u8], d: &[u8]) -> Result<Self, Malformed> {
        let bad = || Malformed::new("RSA numbers are out of range");
        let bits = n.len() as u32 * 8;
        let modulus = BoxedUint::from_be_slice(n, bits).map_err(|_| bad())?;
        let exponent = BoxedUint::from_be_slice(d, bits).map_err(|_| bad())?;
        let modulus = Option::<Odd<BoxedUint>>::from(Odd::new(modulus)).ok_or_else(bad)?;
        Ok(Self { modulus: BoxedMontyParams::new(modulus), exponent: Zeroizing::new(exponent), octets: n.len() })
    }

    /// RSASSA-PKCS1-v1_5 with SHA-1 (RFC 8017 section 8.2.1), in time that does not depend on the exponent's bits.
    pub(super) fn sign(&self, data: &[u8]) -> Option<Vec<u8>> {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, data);
        let info = [digest_info::SHA1, hash.as_ref()].concat();
        let padding = self.octets.checked_sub(info.len() + 3).filter(|padding| *padding >= 8)?;
        let message = [&[0, 1][..], &vec![0xff; padding], &[0], &info].concat();
        let message = BoxedUint::from_be_slice(&message, self.octets as u32 * 8).ok()?;
        let signature = BoxedMontyForm::new(message, &self.modulus).pow(&self.exponent).retrieve();
        Some(signature.to_be_bytes().to_vec())
    }
}
