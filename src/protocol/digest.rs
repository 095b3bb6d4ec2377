//! Candidate cookies and challenge digests. The bytes of a cookie are read in this file alone.

use std::fmt;
use std::sync::Arc;

/// A candidate cookie. It prints as its label, so that its bytes do not get into output or logs.
#[derive(Clone)]
pub struct Cookie {
    label: Arc<str>,
    secret: Box<[u8]>,
}

impl Cookie {
    /// A cookie of these bytes, printed as `label`.
    pub fn new(label: &str, secret: &[u8]) -> Self {
        Self { label: label.into(), secret: secret.into() }
    }

    /// The name of the cookie in the output.
    pub const fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Whether `digest` is that of this cookie for `challenge`: MD5 of the cookie and the challenge in decimal.
    ///
    /// Spec: *Distribution Protocol*, "The Handshake in Detail", on `gen_digest`.
    fn matches(&self, digest: &[u8; 16], challenge: u32) -> bool {
        let mut context = md5::Context::new();
        context.consume(&self.secret);
        context.consume(challenge.to_string());
        context.finalize().0 == *digest
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cookie").field(&self.label).finish()
    }
}

impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// The candidate cookies of a run.
#[derive(Clone, Debug, Default)]
pub struct CandidateCookies(Vec<Cookie>);

impl CandidateCookies {
    /// Adds a candidate, unless it has the bytes of an earlier one. Each secret keeps its first label, so that two
    /// labels always mean two cookies.
    pub fn add(&mut self, cookie: Cookie) {
        if self.0.iter().all(|known| known.secret != cookie.secret) {
            self.0.push(cookie);
        }
    }

    /// The number of candidate cookies.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The labels of the candidates, in their order.
    pub fn labels(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(Cookie::label)
    }

    /// Whether there is no candidate.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Label of the candidate whose digest for `challenge` is `digest`.
    pub fn matching(&self, digest: &[u8; 16], challenge: u32) -> Option<Arc<str>> {
        self.0.iter().find(|cookie| cookie.matches(digest, challenge)).map(|c| Arc::clone(&c.label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handshake between two OTP 23.2.6 nodes, cookie `C`.
    const CHALLENGE: u32 = 3_650_311_734;
    const DIGEST: [u8; 16] = [
        0xec, 0xf8, 0x26, 0x01, 0x29, 0x25, 0x46, 0x91, 0xd9, 0xb7, 0xa6, 0x7c, 0x62, 0x8b, 0xcf,
        0x5a,
    ];

    #[test]
    fn a_digest_matches_the_cookie_it_was_made_with() {
        let mut cookies = CandidateCookies::default();
        cookies.add(Cookie::new("other", b"c"));
        assert_eq!(cookies.matching(&DIGEST, CHALLENGE), None);
        cookies.add(Cookie::new("right", b"C"));
        assert_eq!(cookies.matching(&DIGEST, CHALLENGE).as_deref(), Some("right"));
        assert_eq!(cookies.matching(&DIGEST, CHALLENGE + 1), None);
    }

    #[test]
    fn a_secret_keeps_its_first_label() {
        let mut cookies = CandidateCookies::default();
        cookies.add(Cookie::new("first", b"C"));
        cookies.add(Cookie::new("second", b"C"));
        assert_eq!(cookies.len(), 1);
        assert_eq!(cookies.matching(&DIGEST, CHALLENGE).as_deref(), Some("first"));
    }

    #[test]
    fn a_cookie_prints_as_its_label() {
        let cookie = Cookie::new("prod", b"s3cr3t-bytes");
        assert_eq!(format!("{cookie} {cookie:?}"), "prod Cookie(\"prod\")");
    }
}
