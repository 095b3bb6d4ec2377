//! Cipher suites of TLS: their names, and how they protect records.
//!
//! The names are IANA's. A name states the cipher and the hash, so no second table is needed.

/// A cipher suite that Erlang's `ssl` can negotiate, or one that it could from a user's list. Suites with RC4 or DES are
/// not among them.
///
/// Spec: IANA, "TLS Cipher Suites"; RFC 5246, appendix C, RFC 5288, 5289, 6655, 7251, 7905 and RFC 8446, appendix B.4.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CipherSuite {
    /// The name of the suite, such as `TLS_AES_256_GCM_SHA384`.
    pub name: &'static str,
    /// How records are encrypted and authenticated.
    pub protection: Protection,
    /// The hash with which keys are derived.
    pub hash: SuiteHash,
}

/// How the records of a cipher suite are encrypted and authenticated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protection {
    /// AES in Galois/counter mode, with a key of so many bytes.
    AesGcm(usize),
    /// AES in counter mode with CBC-MAC, with a key of so many bytes and a tag of so many.
    AesCcm(usize, usize),
    /// ChaCha20 with a key of 32 bytes, and Poly1305.
    ChaCha20Poly1305,
    /// AES in cipher block chaining mode, with a key of so many bytes, and HMAC.
    AesCbc(usize, MacHash),
}

/// The hash of the HMAC that authenticates records in CBC mode.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MacHash {
    /// SHA-1, which gives 20 bytes.
    Sha1,
    /// SHA-256, which gives 32 bytes.
    Sha256,
    /// SHA-384, which gives 48 bytes.
    Sha384,
}

impl MacHash {
    /// Bytes of a MAC, and of its key.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}

/// The hash with which the keys of a connection are derived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SuiteHash {
    /// SHA-256, which gives 32 bytes.
    Sha256,
    /// SHA-384, which gives 48 bytes.
    Sha384,
}

/// The name of a cipher suite, as IANA registers it; `None` for one that is not in the table.
pub fn suite_name(number: u16) -> Option<&'static str> {
    let at = SUITES.binary_search_by_key(&number, |(number, _)| *number).ok()?;
    SUITES.get(at).map(|(_, name)| *name)
}

/// A cipher suite by its number; `None` for one that is not in the table.
pub fn cipher_suite(number: u16) -> Option<CipherSuite> {
    let name = suite_name(number)?;
    let hash = if name.ends_with("_SHA384") { SuiteHash::Sha384 } else { SuiteHash::Sha256 };
    let key = if name.contains("AES_256") { 32 } else { 16 };
    let protection = if name.contains("_GCM_") {
        Protection::AesGcm(key)
    } else if name.contains("_CCM_8") {
        Protection::AesCcm(key, 8)
    } else if name.contains("_CCM") {
        Protection::AesCcm(key, 16)
    } else if name.contains("CHACHA20") {
        Protection::ChaCha20Poly1305
    } else if name.ends_with("_SHA256") {
        Protection::AesCbc(key, MacHash::Sha256)
    } else if name.ends_with("_SHA384") {
        Protection::AesCbc(key, MacHash::Sha384)
    } else {
        Protection::AesCbc(key, MacHash::Sha1)
    };
    Some(CipherSuite { name, protection, hash })
}

/// Numbers and names, by number.
const SUITES: &[(u16, &str)] = &[
    (0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA"),
    (0x0032, "TLS_DHE_DSS_WITH_AES_128_CBC_SHA"),
    (0x0033, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"),
    (0x0034, "TLS_DH_anon_WITH_AES_128_CBC_SHA"),
    (0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA"),
    (0x0038, "TLS_DHE_DSS_WITH_AES_256_CBC_SHA"),
    (0x0039, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA"),
    (0x003a, "TLS_DH_anon_WITH_AES_256_CBC_SHA"),
    (0x003c, "TLS_RSA_WITH_AES_128_CBC_SHA256"),
    (0x003d, "TLS_RSA_WITH_AES_256_CBC_SHA256"),
    (0x0040, "TLS_DHE_DSS_WITH_AES_128_CBC_SHA256"),
    (0x0067, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256"),
    (0x006a, "TLS_DHE_DSS_WITH_AES_256_CBC_SHA256"),
    (0x006b, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256"),
    (0x006c, "TLS_DH_anon_WITH_AES_128_CBC_SHA256"),
    (0x006d, "TLS_DH_anon_WITH_AES_256_CBC_SHA256"),
    (0x008c, "TLS_PSK_WITH_AES_128_CBC_SHA"),
    (0x008d, "TLS_PSK_WITH_AES_256_CBC_SHA"),
    (0x0090, "TLS_DHE_PSK_WITH_AES_128_CBC_SHA"),
    (0x0091, "TLS_DHE_PSK_WITH_AES_256_CBC_SHA"),
    (0x0094, "TLS_RSA_PSK_WITH_AES_128_CBC_SHA"),
    (0x0095, "TLS_RSA_PSK_WITH_AES_256_CBC_SHA"),
    (0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256"),
    (0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384"),
    (0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0x00a2, "TLS_DHE_DSS_WITH_AES_128_GCM_SHA256"),
    (0x00a3, "TLS_DHE_DSS_WITH_AES_256_GCM_SHA384"),
    (0x00a6, "TLS_DH_anon_WITH_AES_128_GCM_SHA256"),
    (0x00a7, "TLS_DH_anon_WITH_AES_256_GCM_SHA384"),
    (0x00a8, "TLS_PSK_WITH_AES_128_GCM_SHA256"),
    (0x00a9, "TLS_PSK_WITH_AES_256_GCM_SHA384"),
    (0x00aa, "TLS_DHE_PSK_WITH_AES_128_GCM_SHA256"),
    (0x00ab, "TLS_DHE_PSK_WITH_AES_256_GCM_SHA384"),
    (0x00ac, "TLS_RSA_PSK_WITH_AES_128_GCM_SHA256"),
    (0x00ad, "TLS_RSA_PSK_WITH_AES_256_GCM_SHA384"),
    (0x00ae, "TLS_PSK_WITH_AES_128_CBC_SHA256"),
    (0x00af, "TLS_PSK_WITH_AES_256_CBC_SHA384"),
    (0x00b2, "TLS_DHE_PSK_WITH_AES_128_CBC_SHA256"),
    (0x00b3, "TLS_DHE_PSK_WITH_AES_256_CBC_SHA384"),
    (0x00b6, "TLS_RSA_PSK_WITH_AES_128_CBC_SHA256"),
    (0x00b7, "TLS_RSA_PSK_WITH_AES_256_CBC_SHA384"),
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (0x1304, "TLS_AES_128_CCM_SHA256"),
    (0x1305, "TLS_AES_128_CCM_8_SHA256"),
    (0xc004, "TLS_ECDH_ECDSA_WITH_AES_128_CBC_SHA"),
    (0xc005, "TLS_ECDH_ECDSA_WITH_AES_256_CBC_SHA"),
    (0xc009, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"),
    (0xc00a, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"),
    (0xc00e, "TLS_ECDH_RSA_WITH_AES_128_CBC_SHA"),
    (0xc00f, "TLS_ECDH_RSA_WITH_AES_256_CBC_SHA"),
    (0xc013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
    (0xc014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
    (0xc018, "TLS_ECDH_anon_WITH_AES_128_CBC_SHA"),
    (0xc019, "TLS_ECDH_anon_WITH_AES_256_CBC_SHA"),
    (0xc01d, "TLS_SRP_SHA_WITH_AES_128_CBC_SHA"),
    (0xc01e, "TLS_SRP_SHA_RSA_WITH_AES_128_CBC_SHA"),
    (0xc01f, "TLS_SRP_SHA_DSS_WITH_AES_128_CBC_SHA"),
    (0xc020, "TLS_SRP_SHA_WITH_AES_256_CBC_SHA"),
    (0xc021, "TLS_SRP_SHA_RSA_WITH_AES_256_CBC_SHA"),
    (0xc022, "TLS_SRP_SHA_DSS_WITH_AES_256_CBC_SHA"),
    (0xc023, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"),
    (0xc024, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"),
    (0xc025, "TLS_ECDH_ECDSA_WITH_AES_128_CBC_SHA256"),
    (0xc026, "TLS_ECDH_ECDSA_WITH_AES_256_CBC_SHA384"),
    (0xc027, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"),
    (0xc028, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"),
    (0xc029, "TLS_ECDH_RSA_WITH_AES_128_CBC_SHA256"),
    (0xc02a, "TLS_ECDH_RSA_WITH_AES_256_CBC_SHA384"),
    (0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    (0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    (0xc02d, "TLS_ECDH_ECDSA_WITH_AES_128_GCM_SHA256"),
    (0xc02e, "TLS_ECDH_ECDSA_WITH_AES_256_GCM_SHA384"),
    (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0xc031, "TLS_ECDH_RSA_WITH_AES_128_GCM_SHA256"),
    (0xc032, "TLS_ECDH_RSA_WITH_AES_256_GCM_SHA384"),
    (0xc035, "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA"),
    (0xc036, "TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA"),
    (0xc037, "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256"),
    (0xc038, "TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA384"),
    (0xc09c, "TLS_RSA_WITH_AES_128_CCM"),
    (0xc09d, "TLS_RSA_WITH_AES_256_CCM"),
    (0xc09e, "TLS_DHE_RSA_WITH_AES_128_CCM"),
    (0xc09f, "TLS_DHE_RSA_WITH_AES_256_CCM"),
    (0xc0a0, "TLS_RSA_WITH_AES_128_CCM_8"),
    (0xc0a1, "TLS_RSA_WITH_AES_256_CCM_8"),
    (0xc0a2, "TLS_DHE_RSA_WITH_AES_128_CCM_8"),
    (0xc0a3, "TLS_DHE_RSA_WITH_AES_256_CCM_8"),
    (0xc0a4, "TLS_PSK_WITH_AES_128_CCM"),
    (0xc0a5, "TLS_PSK_WITH_AES_256_CCM"),
    (0xc0a6, "TLS_DHE_PSK_WITH_AES_128_CCM"),
    (0xc0a7, "TLS_DHE_PSK_WITH_AES_256_CCM"),
    (0xc0a8, "TLS_PSK_WITH_AES_128_CCM_8"),
    (0xc0a9, "TLS_PSK_WITH_AES_256_CCM_8"),
    (0xc0ac, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM"),
    (0xc0ad, "TLS_ECDHE_ECDSA_WITH_AES_256_CCM"),
    (0xc0ae, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"),
    (0xc0af, "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8"),
    (0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    (0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    (0xccaa, "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    (0xccab, "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256"),
    (0xccac, "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"),
    (0xccad, "TLS_DHE_PSK_WITH_CHACHA20_POLY1305_SHA256"),
    (0xd001, "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256"),
    (0xd002, "TLS_ECDHE_PSK_WITH_AES_256_GCM_SHA384"),
    (0xd003, "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256"),
    (0xd005, "TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_sorted_by_number_and_each_has_a_protection() {
        assert!(SUITES.is_sorted_by_key(|(number, _)| *number));
        let cbc = |(number, name): &&(u16, &str)| {
            matches!(cipher_suite(*number).unwrap().protection, Protection::AesCbc(..))
                != name.contains("_CBC_")
        };
        assert_eq!(SUITES.iter().find(cbc), None);
        assert_eq!(cipher_suite(0xc0ff), None);
    }

    #[test]
    fn a_name_states_cipher_and_hash() {
        let of = |number| cipher_suite(number).map(|it| (it.protection, it.hash)).unwrap();
        assert_eq!(of(0x1302), (Protection::AesGcm(32), SuiteHash::Sha384));
        assert_eq!(of(0x1305), (Protection::AesCcm(16, 8), SuiteHash::Sha256));
        assert_eq!(of(0xc0ad), (Protection::AesCcm(32, 16), SuiteHash::Sha256));
        assert_eq!(of(0xcca8), (Protection::ChaCha20Poly1305, SuiteHash::Sha256));
        assert_eq!(of(0xc014), (Protection::AesCbc(32, MacHash::Sha1), SuiteHash::Sha256));
        assert_eq!(of(0xc024), (Protection::AesCbc(32, MacHash::Sha384), SuiteHash::Sha384));
        assert_eq!(suite_name(0x1301), Some("TLS_AES_128_GCM_SHA256"));
    }
}
