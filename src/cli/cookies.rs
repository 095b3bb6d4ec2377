//! Candidate cookies, from files and from the command line.
//!
//! In: names of files, and cookies as typed. Out: [`Cookies`], each with the label under which
//! output names it. No text that leaves here, errors included, shows a cookie or a part of one.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use beamscope::limits::Limits;
use beamscope::protocol::digest::{Cookie, Cookies};

use super::args::{ProtocolArgs, Secret};

/// Why a cookie cannot be used. Says where it stands, and nothing of what stands there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not named, since a cookie may stand where a file name should.
    #[error("there is no file of the name given with --cookie-file number {number}")]
    NotFound {
        /// Position among the options of that name.
        number: usize,
    },
    #[error("cannot read cookies from {file}: {source}")]
    Read {
        /// The file as named.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },
    #[error("{file} is too large for a file of cookies; expected at most {max} bytes")]
    TooLarge { file: String, max: u64 },
    #[error("{file} holds no cookie")]
    NoCookie { file: String },
    #[error("{file} holds several lines; expected the cookie and nothing else")]
    NotOne { file: String },
    #[error("line {line} of {file} holds a character that no cookie file may hold")]
    Character { file: String, line: usize },
    #[error("line {line} of {file} has a label that cannot be used")]
    Label { file: String, line: usize },
    #[error("line {line} of {file} has the label of another cookie")]
    SameLabel { file: String, line: usize },
    #[error("the cookie of --cookie number {number} is empty")]
    Empty { number: usize },
    #[error("too many cookies; expected at most {max}")]
    TooMany { max: usize },
    #[error("--home-cookie needs the environment variable HOME")]
    NoHome,
}

impl Error {
    /// What the user can do about it.
    pub(crate) const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { .. } => Some("a cookie itself is given with --cookie"),
            Self::Character { .. } => Some("a cookie in a file is printable ASCII"),
            Self::Label { .. } => Some(
                "a line is COOKIE, or LABEL, a tab, and COOKIE; a label is at most 64 letters, \
                 digits and . _ - @, and does not look like a cookie",
            ),
            _ => None,
        }
    }
}

/// All candidates that the arguments name.
///
/// # Errors
///
/// A file that cannot be read or understood; more, or larger files, than `limits` allow.
pub(super) fn candidates(facts: &ProtocolArgs, limits: &Limits) -> Result<Cookies, Error> {
    let mut candidates = Candidates::new(limits.cookies);
    for (at, path) in facts.cookie_file.iter().enumerate() {
        let name = short_name(path, &facts.cookie_file);
        let bytes = match bytes_of(path, limits.cookie_file) {
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotFound { number: at + 1 });
            }
            other => other?,
        };
        candidates.add_file(&name, &bytes)?;
    }
    for (at, secret) in facts.cookie.iter().enumerate() {
        candidates.add_typed(at + 1, secret)?;
    }
    if facts.home_cookie {
        let home = std::env::var_os("HOME").ok_or(Error::NoHome)?;
        let path = Path::new(&home).join(".erlang.cookie");
        candidates.add_home(&bytes_of(&path, limits.cookie_file)?)?;
    }
    Ok(candidates.cookies)
}

struct Candidates {
    cookies: Cookies,
    max: usize,
    /// Labels in use: each means one cookie.
    labels: HashSet<String>,
}

impl Candidates {
    fn new(max: usize) -> Self {
        Self { cookies: Cookies::default(), max, labels: HashSet::new() }
    }

    /// A file of cookies, one a line, `LABEL<TAB>COOKIE` or `COOKIE` alone; `name` is what labels
    /// and errors call it.
    fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let file = || name.to_owned();
        let mut is_empty = true;
        for (line, bytes) in lines(bytes) {
            let (label, cookie) = match split_label(bytes) {
                (None, cookie) => (format!("{name}:{line}"), cookie),
                (Some(label), cookie) => {
                    let label =
                        label_of(label).ok_or_else(|| Error::Label { file: file(), line })?;
                    (label, cookie)
                }
            };
            if cookie.is_empty() || !cookie.iter().all(is_allowed) {
                return Err(Error::Character { file: file(), line });
            }
            if !self.add(label, cookie)? {
                return Err(Error::SameLabel { file: file(), line });
            }
            is_empty = false;
        }
        if is_empty { Err(Error::NoCookie { file: file() }) } else { Ok(()) }
    }

    /// A cookie of the command line. Cookies are Latin-1 by protocol, arguments mostly UTF-8.
    fn add_typed(&mut self, number: usize, secret: &Secret) -> Result<(), Error> {
        let bytes = secret.0.as_encoded_bytes();
        let latin1: Option<Vec<u8>> = std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.chars().map(|c| u8::try_from(c).ok()).collect());
        if bytes.is_empty() {
            return Err(Error::Empty { number });
        }
        self.add(format!("cookie:{number}"), latin1.as_deref().unwrap_or(bytes)).map(drop)
    }

    fn add_home(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let file = || "~/.erlang.cookie".to_owned();
        let mut lines = lines(bytes);
        let (line, cookie) = lines.next().ok_or_else(|| Error::NoCookie { file: file() })?;
        if lines.next().is_some() {
            return Err(Error::NotOne { file: file() });
        }
        if !cookie.iter().all(is_allowed) {
            return Err(Error::Character { file: file(), line });
        }
        self.add("home".to_owned(), cookie).map(drop)
    }

    /// Takes in a candidate unless it is known already; `false` when its label means another
    /// cookie.
    fn add(&mut self, label: String, cookie: &[u8]) -> Result<bool, Error> {
        let before = self.cookies.len();
        self.cookies.add(Cookie::new(&label, cookie));
        if self.cookies.len() > self.max {
            return Err(Error::TooMany { max: self.max });
        }
        Ok(self.cookies.len() == before || self.labels.insert(label))
    }
}

/// The lines that are not empty, with their numbers.
///
/// Like the runtime, which takes all printable ASCII of `.erlang.cookie` and then allows nothing
/// but ends of lines: a blank at the end of a line is part of the cookie, and a common cause of
/// trouble.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    bytes.split(|byte| *byte == b'\n').zip(1..).filter_map(|(line, number)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.is_empty()).then_some((number, line))
    })
}

fn split_label(line: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut parts = line.splitn(2, |byte| *byte == b'\t');
    match (parts.next(), parts.next()) {
        (Some(label), Some(cookie)) => (Some(label), cookie),
        _ => (None, line),
    }
}

/// A label that may be printed. One that looks like the cookies that the runtime makes, 20
/// capitals, is more likely a cookie that stands on the wrong side of the tab.
fn label_of(bytes: &[u8]) -> Option<String> {
    let may_stand = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-@".contains(byte);
    let is_cookie = bytes.len() == 20 && bytes.iter().all(u8::is_ascii_uppercase);
    let is_label = (1..=64).contains(&bytes.len()) && bytes.iter().all(may_stand);
    (is_label && !is_cookie).then(|| bytes.iter().copied().map(char::from).collect())
}

const fn is_allowed(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// The base name, or the path where another file has the same.
fn short_name(path: &Path, all: &[PathBuf]) -> String {
    let same = all.iter().filter(|other| other.file_name() == path.file_name()).count();
    match path.file_name() {
        Some(name) if same == 1 => name.to_string_lossy().into_owned(),
        _ => path.display().to_string(),
    }
}

fn bytes_of(path: &Path, max: u64) -> Result<Vec<u8>, Error> {
    let file = || path.display().to_string();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(max.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|source| Error::Read { file: file(), source })?;
    if bytes.len() as u64 > max {
        return Err(Error::TooLarge { file: file(), max });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels of the cookies in a file named `c`.
    fn labels(bytes: &[u8]) -> Result<Vec<String>, Error> {
        let mut candidates = Candidates::new(9);
        candidates.add_file("c", bytes)?;
        let mut labels: Vec<_> = candidates.labels.into_iter().collect();
        labels.sort();
        Ok(labels)
    }

    /// Whether the only candidate is `cookie`: adding that under another label changes nothing.
    fn is_only(mut candidates: Candidates, cookie: &[u8]) -> bool {
        candidates.cookies.add(Cookie::new("again", cookie));
        candidates.cookies.len() == 1
    }

    #[test]
    fn a_cookie_is_named_by_its_label_or_by_its_line() {
        let file = b"ABC\n\nprod-1@x.y\tDEF\r\nGHI";
        assert_eq!(labels(file).unwrap(), ["c:1", "c:4", "prod-1@x.y"]);
    }

    #[test]
    fn a_blank_at_the_end_belongs_to_the_cookie_and_the_end_of_the_line_does_not() {
        for (line, cookie) in [(&b"A B \r\n"[..], &b"A B "[..]), (b"C\n", b"C"), (b"C", b"C")] {
            let mut candidates = Candidates::new(9);
            candidates.add_file("c", line).unwrap();
            assert!(is_only(candidates, cookie));
        }
    }

    #[test]
    fn a_line_the_wrong_way_round_is_refused_by_its_number_alone() {
        for line in [
            &b"ok\nS3CR3T!\tprod\n"[..],
            b"ok\nS3CR3TS3CR3TS3CR3TS3CR3TS3CR3TS3CR3TS3CR3TS3CR3TS3CR3TS3CR3TS3CR3T\tx",
            b"ok\nS3CR3T\xff\n",
            b"ok\nS3CR3T a\tb\n",
            b"ok\na\tS3CR3T\tS3CR3T\n",
            b"ok\n\tS3CR3T\n",
            b"ok\nS3CR3T\t\n",
            b"a\tS3CR3T\na\tS3CR3T2\n",
        ] {
            let error = labels(line).unwrap_err();
            let text = format!("{error} {error:?} {:?}", error.hint());
            assert!(text.contains("line 2 of c") && !text.contains("S3CR3T"), "{text}");
        }
        let error = labels(b"KQXVWZSECRETCOOKIEAB\tprod\n").unwrap_err();
        assert!(matches!(error, Error::Label { line: 1, .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("KQXV"));
    }

    #[test]
    fn bounds_hold() {
        assert!(matches!(
            labels(b"1\n2\n3\n4\n5\n6\n7\n8\n9\n0\n"),
            Err(Error::TooMany { max: 9 })
        ));
        assert!(matches!(labels(b"\n\r\n"), Err(Error::NoCookie { .. })));
        let error = bytes_of(Path::new("Cargo.toml"), 9).unwrap_err();
        assert!(matches!(error, Error::TooLarge { max: 9, .. }), "{error}");
    }

    #[test]
    fn a_typed_cookie_is_latin_1() {
        let mut candidates = Candidates::new(9);
        candidates.add_typed(1, &Secret("é".into())).unwrap();
        assert!(is_only(candidates, b"\xe9"));
        let mut candidates = Candidates::new(9);
        let error = candidates.add_typed(2, &Secret("".into())).unwrap_err();
        assert_eq!(error.to_string(), "the cookie of --cookie number 2 is empty");
    }

    #[test]
    fn the_cookie_at_home_stands_alone() {
        let mut candidates = Candidates::new(9);
        candidates.add_home(b"S3CR3T\n").unwrap();
        assert!(candidates.labels.contains("home") && is_only(candidates, b"S3CR3T"));
        for wrong in [&b"S3CR3T\nS3CR3T2"[..], b"", b"S3CR3T\t"] {
            let error = Candidates::new(9).add_home(wrong).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("S3CR3T"));
        }
    }

    #[test]
    fn a_cookie_in_place_of_a_file_name_is_not_repeated() {
        use clap::Parser;
        let args = ["beamscope", "--cookie-file", "S3CR3T"];
        let args = crate::cli::args::Args::try_parse_from(args).unwrap();
        let error = candidates(&args.facts, &Limits::default()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("S3CR3T"), "{error}");
    }

    #[test]
    fn files_of_one_name_are_told_apart_by_their_paths() {
        let all = ["a/c", "b/c", "b/d"].map(PathBuf::from);
        let names: Vec<_> = all.iter().map(|path| short_name(path, &all)).collect();
        assert_eq!(names, ["a/c", "b/c", "d"]);
    }
}
