//! Certificates, as far as a person compares them.
//!
//! A certificate of TLS 1.2 travels in clear. What is read of it: the names of its subject and its issuer, its dates, and
//! what it may be used for. Signatures are not verified.

use std::net::IpAddr;

use x509_cert::Certificate as Der;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::time::Time;

/// The parts of a certificate that a person compares.
///
/// Spec: RFC 5280, sections 4.1 and 4.2.1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// The common name of the subject; without one, all of its name as in RFC 4514.
    pub subject: Option<Vec<u8>>,
    /// The common name of the issuer; without one, all of its name as in RFC 4514.
    pub issuer: Option<Vec<u8>>,
    /// The host names for which it was issued (`subjectAltName`), at most [`MOST_NAMES`].
    pub hosts: Vec<Vec<u8>>,
    /// The addresses for which it was issued, at most [`MOST_NAMES`].
    pub addresses: Vec<IpAddr>,
    /// The first second of its validity, since 1970.
    pub not_before: u64,
    /// The last second of its validity, since 1970.
    pub not_after: u64,
    /// What its key may be used for; `None` without the extension `keyUsage`.
    pub key_usage: Option<Vec<&'static str>>,
    /// What the certificate is for; `None` without the extension `extendedKeyUsage`. At most [`MOST_NAMES`].
    pub extended_key_usage: Option<Vec<String>>,
    /// Whether it may issue others (`basicConstraints`).
    pub is_authority: bool,
    names: [Name; 2],
    /// The identifiers of its key and of the key that signed it.
    keys: [Option<Vec<u8>>; 2],
}

/// Maximum number of names, of addresses and of purposes that are read of one certificate.
pub const MOST_NAMES: usize = 8;

/// Reads a certificate in DER. `None` if it is not one; extensions that cannot be read count as absent.
pub fn certificate(der: &[u8]) -> Option<Certificate> {
    let read = Der::from_der(der).ok()?;
    let body = read.tbs_certificate();
    let seconds = |time: Time| time.to_unix_duration().as_secs();
    let mut certificate = Certificate {
        subject: common_name(body.subject()),
        issuer: common_name(body.issuer()),
        hosts: Vec::new(),
        addresses: Vec::new(),
        not_before: seconds(body.validity().not_before),
        not_after: seconds(body.validity().not_after),
        key_usage: None,
        extended_key_usage: None,
        is_authority: false,
        names: [body.subject().clone(), body.issuer().clone()],
        keys: [None, None],
    };
    for extension in body.extensions().into_iter().flatten() {
        certificate.add(extension);
    }
    Some(certificate)
}

impl Certificate {
    /// Whether it was issued by the subject of `other`, by its name and the identifier of its key.
    pub fn is_issued_by(&self, other: &Self) -> bool {
        let [_, issuer] = &self.names;
        let [subject, _] = &other.names;
        let [_, signer] = &self.keys;
        let [key, _] = &other.keys;
        issuer == subject && signer.as_ref().zip(key.as_ref()).is_none_or(|(a, b)| a == b)
    }

    fn add(&mut self, extension: &Extension) {
        let value = extension.extn_value.as_bytes();
        match extension.extn_id.as_bytes() {
            SUBJECT_ALT_NAME => {
                let SubjectAltName(names) =
                    SubjectAltName::from_der(value).unwrap_or_else(|_| SubjectAltName(Vec::new()));
                for name in names {
                    match name {
                        GeneralName::DnsName(host) if self.hosts.len() < MOST_NAMES => {
                            self.hosts.push(host.as_bytes().to_vec());
                        }
                        GeneralName::IpAddress(ip) if self.addresses.len() < MOST_NAMES => {
                            self.addresses.extend(address(ip.as_bytes()));
                        }
                        _ => {}
                    }
                }
            }
            KEY_USAGE => {
                let usage = KeyUsage::from_der(value).ok();
                self.key_usage =
                    usage.map(|KeyUsage(flags)| flags.into_iter().map(usage_name).collect());
            }
            EXTENDED_KEY_USAGE => {
                let purposes = ExtendedKeyUsage::from_der(value).ok();
                self.extended_key_usage = purposes.map(|ExtendedKeyUsage(purposes)| {
                    purposes.iter().take(MOST_NAMES).map(purpose_name).collect()
                });
            }
            BASIC_CONSTRAINTS => {
                self.is_authority = BasicConstraints::from_der(value).is_ok_and(|it| it.ca);
            }
            SUBJECT_KEY => {
                let key = SubjectKeyIdentifier::from_der(value).ok();
                let [own, _] = &mut self.keys;
                *own = key.map(|SubjectKeyIdentifier(key)| key.as_bytes().to_vec());
            }
            AUTHORITY_KEY => {
                let key = AuthorityKeyIdentifier::from_der(value).ok();
                let [_, signer] = &mut self.keys;
                *signer = key.and_then(|it| it.key_identifier).map(|key| key.as_bytes().to_vec());
            }
            _ => {}
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// The last common name in a distinguished name; without one, all of the name, unless it is empty.
fn common_name(name: &Name) -> Option<Vec<u8>> {
    let common = name.iter().filter(|part| part.oid.as_bytes() == COMMON_NAME).last();
    match common {
        Some(part) => Some(part.value.value().to_vec()),
        None => Some(name.to_string().into_bytes()).filter(|text| !text.is_empty()),
    }
}

/// The name of a use in RFC 5280, section 4.2.1.3.
const fn usage_name(usage: KeyUsages) -> &'static str {
    match usage {
        KeyUsages::DigitalSignature => "digitalSignature",
        KeyUsages::NonRepudiation => "nonRepudiation",
        KeyUsages::KeyEncipherment => "keyEncipherment",
        KeyUsages::DataEncipherment => "dataEncipherment",
        KeyUsages::KeyAgreement => "keyAgreement",
        KeyUsages::KeyCertSign => "keyCertSign",
        KeyUsages::CRLSign => "cRLSign",
        KeyUsages::EncipherOnly => "encipherOnly",
        KeyUsages::DecipherOnly => "decipherOnly",
    }
}

/// The name of a purpose in RFC 5280, section 4.2.1.12, else its object identifier.
fn purpose_name(purpose: &ObjectIdentifier) -> String {
    let name = match purpose.as_bytes() {
        [0x2b, 6, 1, 5, 5, 7, 3, 1] => SERVER_AUTH,
        [0x2b, 6, 1, 5, 5, 7, 3, 2] => CLIENT_AUTH,
        [0x2b, 6, 1, 5, 5, 7, 3, 3] => "codeSigning",
        [0x2b, 6, 1, 5, 5, 7, 3, 4] => "emailProtection",
        [0x2b, 6, 1, 5, 5, 7, 3, 8] => "timeStamping",
        [0x2b, 6, 1, 5, 5, 7, 3, 9] => "OCSPSigning",
        [0x55, 29, 37, 0] => ANY_PURPOSE,
        _ => return purpose.to_string(),
    };
    name.to_owned()
}

/// The purpose that the certificate of a TLS server needs.
pub const SERVER_AUTH: &str = "serverAuth";

/// The purpose that the certificate of a TLS client needs.
pub const CLIENT_AUTH: &str = "clientAuth";

/// The purpose that includes all others.
pub const ANY_PURPOSE: &str = "anyExtendedKeyUsage";

/// The object identifier 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// The object identifier 2.5.29.14.
const SUBJECT_KEY: &[u8] = &[0x55, 29, 14];

/// The object identifier 2.5.29.15.
const KEY_USAGE: &[u8] = &[0x55, 29, 15];

/// The object identifier 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 29, 17];

/// The object identifier 2.5.29.19.
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 29, 19];

/// The object identifier 2.5.29.35.
const AUTHORITY_KEY: &[u8] = &[0x55, 29, 35];

/// The object identifier 2.5.29.37.
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 29, 37];

/// Builders of certificates for tests.
#[cfg(test)]
pub(crate) mod samples {
    use super::{COMMON_NAME, SUBJECT_ALT_NAME};

    pub(crate) const DNS_NAME: u8 = 0x82;
    pub(crate) const IP_ADDRESS: u8 = 0x87;

    pub(crate) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut out = vec![tag];
        match u8::try_from(content.len()) {
            Ok(len) if len < 0x80 => out.push(len),
            Ok(len) => out.extend([0x81, len]),
            Err(_) => {
                out.push(0x82);
                out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            }
        }
        out.extend(content);
        out
    }

    pub(crate) const INTEGER: u8 = 2;
    pub(crate) const BIT_STRING: u8 = 3;
    pub(crate) const BYTE_STRING: u8 = 4;
    pub(crate) const OID: u8 = 6;
    pub(crate) const SEQUENCE: u8 = 0x30;

    /// A distinguished name of one attribute.
    pub(crate) fn name(attribute: &[u8], text: &[u8]) -> Vec<u8> {
        let attribute = der(SEQUENCE, &[&der(OID, &[attribute]), &der(12, &[text])]);
        der(SEQUENCE, &[&der(0x31, &[&attribute])])
    }

    pub(crate) fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
        der(SEQUENCE, &[&der(OID, &[oid]), &der(BYTE_STRING, &[value])])
    }

    pub(crate) fn alternative_names(names: &[u8]) -> Vec<u8> {
        extension(SUBJECT_ALT_NAME, &der(SEQUENCE, &[names]))
    }

    /// A certificate with these names and extensions.
    pub(crate) fn issued(issuer: &[u8], subject: &[u8], extensions: &[u8]) -> Vec<u8> {
        let validity =
            der(SEQUENCE, &[&der(0x17, &[b"261129000000Z"]), &der(0x18, &[b"20561130123456Z"])]);
        let algorithm = der(SEQUENCE, &[&der(OID, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]])]);
        let body = der(
            SEQUENCE,
            &[
                &der(0xa0, &[&der(INTEGER, &[&[2]])]),
                &der(INTEGER, &[&[7; 9]]),
                &algorithm,
                issuer,
                &validity,
                subject,
                &der(SEQUENCE, &[&algorithm, &der(BIT_STRING, &[&[0; 65]])]),
                &der(0xa3, &[&der(SEQUENCE, &[extensions])]),
            ],
        );
        der(SEQUENCE, &[&body, &algorithm, &der(BIT_STRING, &[&[0; 64]])])
    }

    pub(crate) fn sample(extensions: &[u8]) -> Vec<u8> {
        issued(&name(COMMON_NAME, b"Lab CA"), &name(COMMON_NAME, b"web9"), extensions)
    }
}

#[cfg(test)]
mod tests {
    use super::samples::*;
    use super::*;

    #[test]
    fn names_and_dates_of_a_certificate_are_read() {
        let names = [
            der(DNS_NAME, &[b"web9"]),
            der(DNS_NAME, &[b"web9.lab"]),
            der(IP_ADDRESS, &[&[10, 0, 0, 9]]),
        ];
        let read = certificate(&sample(&alternative_names(&names.concat()))).unwrap();
        assert_eq!(read.subject.as_deref(), Some(&b"web9"[..]));
        assert_eq!(read.issuer.as_deref(), Some(&b"Lab CA"[..]));
        assert_eq!(read.hosts, [&b"web9"[..], b"web9.lab"]);
        assert_eq!(read.addresses, [IpAddr::from([10, 0, 0, 9])]);
        assert_eq!((read.not_before, read.not_after), (1_795_910_400, 2_742_813_296));
        assert_eq!((&read.key_usage, &read.extended_key_usage), (&None, &None));
        assert!(!read.is_authority);
    }

    #[test]
    fn what_a_certificate_may_be_used_for_is_read() {
        let client = der(OID, &[&[0x2b, 6, 1, 5, 5, 7, 3, 2]]);
        let other = der(OID, &[&[0x2b, 6, 1, 4, 1, 0x63]]);
        let extensions = [
            extension(KEY_USAGE, &der(BIT_STRING, &[&[5, 0xa0]])),
            extension(EXTENDED_KEY_USAGE, &der(SEQUENCE, &[&client, &other])),
            extension(BASIC_CONSTRAINTS, &der(SEQUENCE, &[&der(1, &[&[0xff]])])),
        ];
        let read = certificate(&sample(&extensions.concat())).unwrap();
        assert_eq!(read.key_usage.unwrap(), ["digitalSignature", "keyEncipherment"]);
        assert_eq!(read.extended_key_usage.unwrap(), [CLIENT_AUTH, "1.3.6.1.4.1.99"]);
        assert!(read.is_authority);
    }

    #[test]
    fn a_name_without_a_common_name_is_given_whole() {
        let organization = name(&[0x55, 4, 10], b"Lab");
        let empty = der(SEQUENCE, &[]);
        let read = certificate(&issued(&organization, &empty, b"")).unwrap();
        assert_eq!(read.issuer.as_deref(), Some(&b"O=Lab"[..]));
        assert_eq!(read.subject, None);
    }

    #[test]
    fn an_issuer_is_found_by_name_and_by_key() {
        let authority = name(COMMON_NAME, b"Lab CA");
        let key = |key: &[u8]| extension(SUBJECT_KEY, &der(BYTE_STRING, &[key]));
        let signer = |key: &[u8]| extension(AUTHORITY_KEY, &der(SEQUENCE, &[&der(0x80, &[key])]));
        let leaf = |extensions: &[u8]| certificate(&sample(extensions)).unwrap();
        let root = |key: &[u8]| certificate(&issued(&authority, &authority, key)).unwrap();
        assert!(leaf(b"").is_issued_by(&root(&key(b"abc"))));
        assert!(leaf(&signer(b"abc")).is_issued_by(&root(&key(b"abc"))));
        assert!(!leaf(&signer(b"abd")).is_issued_by(&root(&key(b"abc"))), "renewed with a new key");
        assert!(!leaf(b"").is_issued_by(&leaf(b"")));
        assert!(root(b"").is_issued_by(&root(b"")));
    }

    #[test]
    fn names_have_a_bound() {
        let many = der(DNS_NAME, &[b"h"]).repeat(40);
        assert_eq!(
            certificate(&sample(&alternative_names(&many))).unwrap().hosts.len(),
            MOST_NAMES
        );
    }

    #[test]
    fn what_is_cut_short_or_no_certificate_is_refused_and_never_panics() {
        let bytes = sample(&alternative_names(&der(DNS_NAME, &[b"web9"])));
        for cut in 0..bytes.len() {
            assert_eq!(certificate(&bytes[..cut]), None, "{cut}");
        }
        for at in 0..bytes.len() {
            for flip in [0xff, 0x80, 1] {
                let mut broken = bytes.clone();
                broken[at] ^= flip;
                let _ = certificate(&broken);
            }
        }
        assert_eq!(certificate(b"\x30\x80\x30\x80"), None);
    }

    #[test]
    fn purposes_have_the_names_of_the_specification_and_others_their_numbers() {
        let name = |text: &str| purpose_name(&ObjectIdentifier::new(text).unwrap());
        assert_eq!(name("1.3.6.1.5.5.7.3.1"), SERVER_AUTH);
        assert_eq!(name("1.3.6.1.5.5.7.3.2"), CLIENT_AUTH);
        assert_eq!(name("2.5.29.37.0"), ANY_PURPOSE);
        assert_eq!(name("1.3.6.1.5.5.7.3.17"), "1.3.6.1.5.5.7.3.17");
    }
}
