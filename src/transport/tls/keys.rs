//! Keys of TLS records, and opening one record with them.
//!
//! In: a secret, and the cipher suite. Out: a [`RecordKey`], which gives the content of a record, or nothing where its
//! authentication fails. Keys are wiped when they are dropped.

use std::fmt;

use aes::{Aes128, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::{U8, U12, U16};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use cbc::cipher::{Block, BlockModeDecrypt, KeyIvInit};
use ccm::Ccm;
use chacha20poly1305::ChaCha20Poly1305;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384};
use zeroize::Zeroizing;

use super::keylog::{ClientRandom, Secret};
use crate::wire::suites::{CipherSuite, MacHash, Protection, SuiteHash};
use crate::wire::tls::{ContentType, RecordHeader};

/// What one side encrypts its records with.
pub(super) struct RecordKey {
    cipher: Cipher,
    form: NonceForm,
    iv: [u8; NONCE],
}

enum Cipher {
    Aead(Box<dyn RecordAead>, usize),
    Cbc(Box<CbcKey>),
}

/// How a nonce is made, and where the type of the content is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NonceForm {
    /// TLS 1.2 with AES-GCM or AES-CCM: four bytes of the key block, and eight that the record begins with (RFC 5288,
    /// section 3).
    Explicit,
    /// TLS 1.2 with ChaCha20-Poly1305: the number of the record, added to twelve bytes of the key block (RFC 7905,
    /// section 2).
    Counted,
    /// TLS 1.3: the same, and the content ends with its type (RFC 8446, sections 5.2 and 5.3).
    Counted13,
}

/// The content of a record.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct OpenedRecord<'a> {
    /// What the content is.
    pub(super) content_type: ContentType,
    /// The bytes of the content.
    pub(super) content: &'a [u8],
}

/// The parameters that both hellos of TLS 1.2 settle.
pub(super) struct Parameters12<'a> {
    /// The random bytes of the ClientHello.
    pub(super) client: &'a ClientRandom,
    /// The random bytes of the ServerHello.
    pub(super) server: &'a [u8; 32],
    /// Whether the MAC is over the encrypted bytes (RFC 7366).
    pub(super) encrypt_then_mac: bool,
}

impl RecordKey {
    /// The key of one side of TLS 1.3, from its traffic secret. `None` if the secret does not fit the cipher suite.
    ///
    /// Spec: RFC 8446, section 7.3.
    pub(super) fn of_traffic(suite: &CipherSuite, secret: &Secret) -> Option<Self> {
        let mut key = Zeroizing::new([0; MOST_KEY]);
        let len = key_len(suite.protection);
        let key = key.get_mut(..len)?;
        expand_label(suite.hash, secret.expose(), b"key", key)?;
        let mut iv = [0; NONCE];
        expand_label(suite.hash, secret.expose(), b"iv", &mut iv)?;
        let (aead, tag) = aead(suite.protection, key)?;
        Some(Self { cipher: Cipher::Aead(aead, tag), form: NonceForm::Counted13, iv })
    }

    /// The keys of client and server of TLS 1.2, from the master secret.
    ///
    /// Spec: RFC 5246, section 6.3.
    pub(super) fn of_master(
        suite: &CipherSuite,
        master: &Secret,
        parameters: &Parameters12<'_>,
    ) -> Option<[Self; 2]> {
        let (mac_len, iv_len, form) = match suite.protection {
            Protection::AesGcm(_) | Protection::AesCcm(..) => (0, SALT, NonceForm::Explicit),
            Protection::ChaCha20Poly1305 => (0, NONCE, NonceForm::Counted),
            Protection::AesCbc(_, mac) => (mac.bytes(), 0, NonceForm::Explicit),
        };
        let key_len = key_len(suite.protection);
        let mut block = Zeroizing::new(vec![0; 2 * (mac_len + key_len + iv_len)]);
        let seed = [&b"key expansion"[..], parameters.server, parameters.client].concat();
        prf(suite.hash, master.expose(), &seed, &mut block)?;
        let (macs, rest) = block.split_at_checked(2 * mac_len)?;
        let (keys, ivs) = rest.split_at_checked(2 * key_len)?;
        let side = |side: usize| {
            let part = |bytes: &'_ [u8], len: usize| {
                Some(Zeroizing::new(bytes.get(side * len..(side + 1) * len)?.to_vec()))
            };
            let key = part(keys, key_len)?;
            let mut iv = [0; NONCE];
            iv.get_mut(..iv_len)?.copy_from_slice(&part(ivs, iv_len)?);
            let cipher = if let Protection::AesCbc(_, hash) = suite.protection {
                let mac = CbcMac::new(hash, &part(macs, mac_len)?)?;
                let encrypt_then_mac = parameters.encrypt_then_mac;
                Cipher::Cbc(Box::new(CbcKey { key, mac, encrypt_then_mac }))
            } else {
                let (aead, tag) = aead(suite.protection, &key)?;
                Cipher::Aead(aead, tag)
            };
            Some(Self { cipher, form, iv })
        };
        Some([side(0)?, side(1)?])
    }

    /// Number of bytes that a record of `length` bytes carries, if it has no padding.
    pub(super) fn content_len(&self, length: usize) -> Option<usize> {
        let Cipher::Aead(_, tag) = self.cipher else { return None };
        length.checked_sub(tag + self.around())
    }

    /// Bytes of a record beside content and tag.
    const fn around(&self) -> usize {
        match self.form {
            NonceForm::Explicit => EXPLICIT,
            NonceForm::Counted => 0,
            NonceForm::Counted13 => 1,
        }
    }

    /// Opens record number `number` of its sender. `header` are the five bytes before `body`. The content is written
    /// to `out`. `None` if the authentication fails: it is another record, or was made with another key.
    pub(super) fn open<'a>(
        &self,
        number: u64,
        header: &[u8; RecordHeader::LEN],
        body: &[u8],
        out: &'a mut Vec<u8>,
    ) -> Option<OpenedRecord<'a>> {
        let content_type = ContentType(header[0]);
        let (aead, tag_len) = match &self.cipher {
            Cipher::Aead(aead, tag_len) => (aead, *tag_len),
            Cipher::Cbc(key) => {
                let content = key.open(number, header, body, out)?;
                return Some(OpenedRecord { content_type, content });
            }
        };
        let explicit = if self.form == NonceForm::Explicit { EXPLICIT } else { 0 };
        let (explicit, sealed) = body.split_at_checked(explicit)?;
        let (sealed, tag) = sealed.split_at_checked(sealed.len().checked_sub(tag_len)?)?;
        let mut nonce = self.iv;
        if self.form == NonceForm::Explicit {
            nonce.get_mut(SALT..)?.copy_from_slice(explicit);
        } else {
            let number = number.to_be_bytes();
            nonce.iter_mut().skip(SALT).zip(number).for_each(|(byte, add)| *byte ^= add);
        }
        out.resize(sealed.len(), 0);
        let is_genuine = if self.form == NonceForm::Counted13 {
            aead.open(&nonce, header, sealed, out, tag)
        } else {
            let associated = associated_data(number, header, sealed.len())?;
            aead.open(&nonce, &associated, sealed, out, tag)
        };
        if !is_genuine {
            return None;
        }
        if self.form != NonceForm::Counted13 {
            return Some(OpenedRecord { content_type, content: out });
        }
        // The content, its type, and any number of zeros.
        let end = out.iter().rposition(|byte| *byte != 0)?;
        let (content, rest) = out.split_at_checked(end)?;
        Some(OpenedRecord { content_type: ContentType(*rest.first()?), content })
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey({:?})", self.form)
    }
}

/// What the authentication of a record covers beside its content: number, type, version and length (RFC 5246, section
/// 6.2.3.3).
fn associated_data(number: u64, header: &[u8; RecordHeader::LEN], len: usize) -> Option<[u8; 13]> {
    let [content_type, major, minor, ..] = *header;
    let mut data = [0; 13];
    let (first, rest) = data.split_at_mut_checked(8)?;
    first.copy_from_slice(&number.to_be_bytes());
    let [high, low] = u16::try_from(len).ok()?.to_be_bytes();
    rest.copy_from_slice(&[content_type, major, minor, high, low]);
    Some(data)
}

/// An authenticated cipher under one key.
trait RecordAead: Send {
    /// Decrypts `sealed` to `out`, which is as long. False if the authentication fails; `out` is then of no use.
    fn open(
        &self,
        nonce: &[u8; NONCE],
        associated: &[u8],
        sealed: &[u8],
        out: &mut [u8],
        tag: &[u8],
    ) -> bool;
}

impl<A: AeadInOut<NonceSize = U12> + Send> RecordAead for A {
    fn open(
        &self,
        nonce: &[u8; NONCE],
        associated: &[u8],
        sealed: &[u8],
        out: &mut [u8],
        tag: &[u8],
    ) -> bool {
        let (Ok(buffer), Ok(tag)) = (InOutBuf::new(sealed, out), tag.try_into()) else {
            return false;
        };
        self.decrypt_inout_detached(&(*nonce).into(), associated, buffer, tag).is_ok()
    }
}

/// The cipher under a key, and the bytes of its tags.
fn aead(protection: Protection, key: &[u8]) -> Option<(Box<dyn RecordAead>, usize)> {
    fn boxed<A: KeyInit + AeadInOut<NonceSize = U12> + Send + 'static>(
        key: &[u8],
    ) -> Option<Box<dyn RecordAead>> {
        Some(Box::new(A::new_from_slice(key).ok()?))
    }
    let cipher = match protection {
        Protection::AesGcm(16) => boxed::<AesGcm<Aes128, U12>>(key),
        Protection::AesGcm(_) => boxed::<AesGcm<Aes256, U12>>(key),
        Protection::AesCcm(16, 8) => boxed::<Ccm<Aes128, U8, U12>>(key),
        Protection::AesCcm(_, 8) => boxed::<Ccm<Aes256, U8, U12>>(key),
        Protection::AesCcm(16, _) => boxed::<Ccm<Aes128, U16, U12>>(key),
        Protection::AesCcm(..) => boxed::<Ccm<Aes256, U16, U12>>(key),
        Protection::ChaCha20Poly1305 => boxed::<ChaCha20Poly1305>(key),
        Protection::AesCbc(..) => None,
    };
    let tag = if let Protection::AesCcm(_, tag) = protection { tag } else { 16 };
    Some((cipher?, tag))
}

const fn key_len(protection: Protection) -> usize {
    match protection {
        Protection::AesGcm(len) | Protection::AesCcm(len, _) | Protection::AesCbc(len, _) => len,
        Protection::ChaCha20Poly1305 => MOST_KEY,
    }
}

/// Keys for records in CBC mode, which TLS 1.2 authenticates with a MAC of its own.
struct CbcKey {
    key: Zeroizing<Vec<u8>>,
    mac: CbcMac,
    encrypt_then_mac: bool,
}

impl CbcKey {
    /// Opens a record: an initialization vector of 16 bytes, then content, MAC and padding, all encrypted; or content
    /// and padding encrypted, and the MAC behind them.
    ///
    /// Spec: RFC 5246, section 6.2.3.2; RFC 7366, section 3.
    fn open<'a>(
        &self,
        number: u64,
        header: &[u8; RecordHeader::LEN],
        body: &[u8],
        out: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        let mac_len = self.mac.len();
        let (sealed, mac) = if self.encrypt_then_mac {
            body.split_at_checked(body.len().checked_sub(mac_len)?)?
        } else {
            (body, &[][..])
        };
        if self.encrypt_then_mac {
            let associated = associated_data(number, header, sealed.len())?;
            self.mac.verify(&[&associated, sealed], mac)?;
        }
        let (iv, sealed) = sealed.split_at_checked(BLOCK)?;
        if sealed.is_empty() || !sealed.len().is_multiple_of(BLOCK) {
            return None;
        }
        out.clear();
        out.extend_from_slice(sealed);
        if self.key.len() == 16 {
            decrypt::<cbc::Decryptor<Aes128>>(&self.key, iv, out)?;
        } else {
            decrypt::<cbc::Decryptor<Aes256>>(&self.key, iv, out)?;
        }
        // Each byte of the padding is the number of those before the last one.
        let padding = *out.last()?;
        let end = out.len().checked_sub(usize::from(padding) + 1)?;
        if out.get(end..)?.iter().any(|byte| *byte != padding) {
            return None;
        }
        if self.encrypt_then_mac {
            return out.get(..end);
        }
        let (content, rest) = out.split_at_checked(end.checked_sub(mac_len)?)?;
        let associated = associated_data(number, header, content.len())?;
        self.mac.verify(&[&associated, content], rest.get(..mac_len)?)?;
        Some(content)
    }
}

/// Decrypts whole blocks in place.
fn decrypt<D: KeyIvInit + BlockModeDecrypt>(key: &[u8], iv: &[u8], bytes: &mut [u8]) -> Option<()> {
    let mut decryptor = D::new_from_slices(key, iv).ok()?;
    let (blocks, _) = Block::<D>::slice_as_chunks_mut(bytes);
    decryptor.decrypt_blocks(blocks);
    Some(())
}

/// The HMAC of records in CBC mode under one key.
enum CbcMac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
}

impl CbcMac {
    fn new(hash: MacHash, key: &[u8]) -> Option<Self> {
        Some(match hash {
            MacHash::Sha1 => Self::Sha1(Hmac::new_from_slice(key).ok()?),
            MacHash::Sha256 => Self::Sha256(Hmac::new_from_slice(key).ok()?),
            MacHash::Sha384 => Self::Sha384(Hmac::new_from_slice(key).ok()?),
        })
    }

    const fn len(&self) -> usize {
        match self {
            Self::Sha1(_) => MacHash::Sha1.bytes(),
            Self::Sha256(_) => MacHash::Sha256.bytes(),
            Self::Sha384(_) => MacHash::Sha384.bytes(),
        }
    }

    fn verify(&self, parts: &[&[u8]], mac: &[u8]) -> Option<()> {
        fn with<M: Mac + Clone>(key: &M, parts: &[&[u8]], mac: &[u8]) -> Option<()> {
            let mut hmac = key.clone();
            parts.iter().for_each(|part| hmac.update(part));
            hmac.verify_slice(mac).ok()
        }
        match self {
            Self::Sha1(key) => with(key, parts, mac),
            Self::Sha256(key) => with(key, parts, mac),
            Self::Sha384(key) => with(key, parts, mac),
        }
    }
}

/// The traffic secret after a key update (RFC 8446, section 7.2).
pub(super) fn next_secret(hash: SuiteHash, secret: &Secret) -> Option<Secret> {
    Secret::filled(secret.expose().len(), |out| {
        expand_label(hash, secret.expose(), b"traffic upd", out)
    })
}

/// `HKDF-Expand-Label` with an empty context (RFC 8446, section 7.1). `None` if the secret does not fit the hash.
fn expand_label(hash: SuiteHash, secret: &[u8], label: &[u8], out: &mut [u8]) -> Option<()> {
    let [high, low] = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_len = u8::try_from(LABEL_PREFIX.len() + label.len()).ok()?;
    let info = [&[high, low, label_len][..], LABEL_PREFIX, label, &[0]].concat();
    match (hash, secret.len()) {
        (SuiteHash::Sha256, 32) => Hkdf::<Sha256>::from_prk(secret).ok()?.expand(&info, out).ok(),
        (SuiteHash::Sha384, 48) => Hkdf::<Sha384>::from_prk(secret).ok()?.expand(&info, out).ok(),
        _ => None,
    }
}

/// The pseudorandom function of TLS 1.2; `seed` is its label and its seed (RFC 5246, section 5).
fn prf(hash: SuiteHash, secret: &[u8], seed: &[u8], out: &mut [u8]) -> Option<()> {
    fn with<M: Mac + KeyInit + Clone>(secret: &[u8], seed: &[u8], out: &mut [u8]) -> Option<()> {
        let key = <M as KeyInit>::new_from_slice(secret).ok()?;
        let hmac = |parts: &[&[u8]]| {
            let mut hmac = key.clone();
            parts.iter().for_each(|part| hmac.update(part));
            Zeroizing::new(hmac.finalize().into_bytes().to_vec())
        };
        let mut a = hmac(&[seed]);
        let mut rest = out;
        while !rest.is_empty() {
            let block = hmac(&[&a, seed]);
            let len = block.len().min(rest.len());
            let (now, later) = rest.split_at_mut_checked(len)?;
            now.copy_from_slice(block.get(..len)?);
            rest = later;
            a = hmac(&[&a]);
        }
        Some(())
    }
    match hash {
        SuiteHash::Sha256 => with::<Hmac<Sha256>>(secret, seed, out),
        SuiteHash::Sha384 => with::<Hmac<Sha384>>(secret, seed, out),
    }
}

const LABEL_PREFIX: &[u8] = b"tls13 ";

/// Bytes of a nonce.
const NONCE: usize = 12;

/// Bytes of the part of a nonce that is derived with the key, in TLS 1.2; and of the zeros before a record number.
const SALT: usize = 4;

/// Bytes of the part of a nonce that a record begins with, in TLS 1.2.
const EXPLICIT: usize = 8;

/// Bytes of the longest key.
const MOST_KEY: usize = 32;

/// Bytes of a block of AES.
const BLOCK: usize = 16;
