//! Candidate cookies, from files and from the command line.
//!
//! In: names of files, and cookies as typed. Out: [`CandidateCookies`], each with the label under which
//! output names it. No text that leaves here, errors included, shows a cookie or a part of one.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use beamscope::limits::Limits;
use beamscope::protocol::digest::{CandidateCookies, Cookie};

/// A cookie as typed. Its `Debug` form does not show it.
#[derive(Clone)]
pub(crate) struct CookieText(pub(super) OsString);

impl fmt::Debug for CookieText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieText")
    }
}

/// Where candidate cookies come from.
pub(super) struct CookieSources<'a> {
    /// Files with a cookie on each line.
    pub(super) files: &'a [PathBuf],
    /// Cookies from the command line.
    pub(super) typed: &'a [CookieText],
    /// Also read the file `~/.erlang.cookie`.
    pub(super) use_home: bool,
}

/// Why a cookie cannot be used. Shows the position of the cookie, and nothing of its text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CookieError {
    /// The name is not shown, since it may be a cookie that was given with the wrong option.
    #[error("the file given with --cookie-file number {number} does not exist")]
    NotFound {
        /// Position among the options of that name, from 1.
        number: usize,
    },
    #[error("cannot read cookies from {file}: {source}")]
    Read {
        /// The file as the user named it.
        file: String,
        /// The error of the operating system.
        source: io::Error,
    },
    #[error("{file} is too large for a file of cookies; expected at most {max} bytes")]
    TooLarge { file: String, max: u64 },
    #[error("{file} contains no cookie; expected one on each line")]
    NoCookie { file: String },
    #[error("{file} has several lines; expected the cookie and nothing else")]
    NotOne { file: String },
    #[error("line {line} of {file} has a character that no cookie file may contain")]
    Character { file: String, line: usize },
    #[error("line {line} of {file} has a label that cannot be used")]
    Label { file: String, line: usize },
    #[error("line {line} of {file} has the label of another cookie")]
    SameLabel { file: String, line: usize },
    #[error("the cookie of --cookie number {number} is empty")]
    Empty { number: usize },
    #[error("too many cookies; expected at most {max}")]
    TooMany { max: usize },
    #[error("--home-cookie needs the environment variable HOME, which is not set")]
    NoHome,
}

impl CookieError {
    /// What the user can do about it, where there is something.
    pub(crate) const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { .. } => {
                Some("to give a cookie instead of a file of cookies, use --cookie")
            }
            Self::Character { .. } => Some("a cookie in a file is printable ASCII"),
            Self::Label { .. } => Some(
                "write each line as COOKIE, or as LABEL, a tab, and COOKIE; a label has at most 64 \
                 letters, digits and . _ - @, and must not look like a cookie",
            ),
            Self::SameLabel { .. } => Some("give each cookie a label of its own"),
            _ => None,
        }
    }
}

/// Something in a cookie file that is allowed and most likely a mistake. Shows the position, and nothing of the text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum CookieWarning {
    #[error(
        "line {line} of {file} has quotes around its cookie; they are taken as part of the cookie"
    )]
    Quotes { file: String, line: usize },
    #[error(
        "line {line} of {file} has a blank before or after its cookie; it is taken as part of the cookie"
    )]
    Blank { file: String, line: usize },
    #[error(
        "line {line} of {file} has no tab and is taken as one cookie; if it has a label, put a tab between \
         label and cookie"
    )]
    NoTab { file: String, line: usize },
    #[error("{more} more lines of cookie files look like mistakes")]
    More { more: usize },
}

/// Reads all candidates.
///
/// # Errors
///
/// A file cannot be read or has the wrong form; there are more cookies, or larger files, than
/// `limits` allow.
pub(super) fn load(
    sources: &CookieSources<'_>,
    limits: &Limits,
) -> Result<(CandidateCookies, Vec<CookieWarning>), CookieError> {
    let mut candidates = CookieCandidates::new(limits.cookies);
    for (path, number) in sources.files.iter().zip(1..) {
        let name = short_name(path, sources.files);
        let bytes = match read_bounded(path, limits.cookie_file) {
            Err(CookieError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(CookieError::NotFound { number });
            }
            other => other?,
        };
        candidates.add_file(&name, &bytes)?;
    }
    for (cookie, number) in sources.typed.iter().zip(1..) {
        candidates.add_typed(number, cookie)?;
    }
    if sources.use_home {
        let home = std::env::var_os("HOME").ok_or(CookieError::NoHome)?;
        let path = Path::new(&home).join(".erlang.cookie");
        candidates.add_home(&read_bounded(&path, limits.cookie_file)?)?;
    }
    let CookieCandidates { cookies, mut warnings, .. } = candidates;
    if let more @ 1.. = warnings.len().saturating_sub(MAX_WARNINGS) {
        warnings.truncate(MAX_WARNINGS);
        warnings.push(CookieWarning::More { more });
    }
    Ok((cookies, warnings))
}

/// Lines that are warned of one by one.
const MAX_WARNINGS: usize = 8;

/// The cookies read so far, and how many there may be.
struct CookieCandidates {
    cookies: CandidateCookies,
    max: usize,
    /// Labels in use; each belongs to one cookie.
    labels: HashSet<String>,
    /// What looks like a mistake, in the order of the files.
    warnings: Vec<CookieWarning>,
}

impl CookieCandidates {
    fn new(max: usize) -> Self {
        Self {
            cookies: CandidateCookies::default(),
            max,
            labels: HashSet::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds a file of cookies, one a line, as `LABEL<TAB>COOKIE` or `COOKIE` alone. Labels and errors
    /// call the file `name`.
    fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), CookieError> {
        let file = || name.to_owned();
        let mut is_empty = true;
        for (line, bytes) in lines(bytes) {
            let (label, cookie) = match split_label(bytes) {
                (None, cookie) => (format!("{name}:{line}"), cookie),
                (Some(label), cookie) => {
                    let label = printable_label(label)
                        .ok_or_else(|| CookieError::Label { file: file(), line })?;
                    (label, cookie)
                }
            };
            if cookie.is_empty() || !cookie.iter().all(is_allowed) {
                return Err(CookieError::Character { file: file(), line });
            }
            self.warnings.extend(suspect(name, line, bytes, cookie));
            if !self.add(label, cookie)? {
                return Err(CookieError::SameLabel { file: file(), line });
            }
            is_empty = false;
        }
        if is_empty { Err(CookieError::NoCookie { file: file() }) } else { Ok(()) }
    }

    /// Adds a cookie of the command line. Cookies are Latin-1 by protocol, arguments mostly UTF-8.
    fn add_typed(&mut self, number: usize, cookie: &CookieText) -> Result<(), CookieError> {
        let bytes = cookie.0.as_encoded_bytes();
        let latin1: Option<Vec<u8>> = std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.chars().map(|c| u8::try_from(c).ok()).collect());
        if bytes.is_empty() {
            return Err(CookieError::Empty { number });
        }
        self.add(format!("cookie:{number}"), latin1.as_deref().unwrap_or(bytes)).map(drop)
    }

    /// Adds the cookie of `~/.erlang.cookie`, which must be the only line.
    fn add_home(&mut self, bytes: &[u8]) -> Result<(), CookieError> {
        let file = || "~/.erlang.cookie".to_owned();
        let mut lines = lines(bytes);
        let (line, cookie) = lines.next().ok_or_else(|| CookieError::NoCookie { file: file() })?;
        if lines.next().is_some() {
            return Err(CookieError::NotOne { file: file() });
        }
        if !cookie.iter().all(is_allowed) {
            return Err(CookieError::Character { file: file(), line });
        }
        // No label belongs into this file.
        let warning = suspect(&file(), line, cookie, cookie);
        self.warnings.extend(warning.filter(|it| !matches!(it, CookieWarning::NoTab { .. })));
        self.add("home".to_owned(), cookie).map(drop)
    }

    /// Adds a candidate unless it is known already; `false` if its label belongs to another cookie.
    fn add(&mut self, label: String, cookie: &[u8]) -> Result<bool, CookieError> {
        let before = self.cookies.len();
        self.cookies.add(Cookie::new(&label, cookie));
        if self.cookies.len() > self.max {
            return Err(CookieError::TooMany { max: self.max });
        }
        Ok(self.cookies.len() == before || self.labels.insert(label))
    }
}

/// What looks like a mistake in a line with this cookie.
fn suspect(file: &str, line: usize, bytes: &[u8], cookie: &[u8]) -> Option<CookieWarning> {
    let file = file.to_owned();
    let is_quoted = |quote: u8| {
        cookie.len() > 1 && cookie.first() == Some(&quote) && cookie.last() == Some(&quote)
    };
    if cookie.trim_ascii().len() < cookie.len() {
        return Some(CookieWarning::Blank { file, line });
    }
    if b"\"'`".iter().any(|quote| is_quoted(*quote)) {
        return Some(CookieWarning::Quotes { file, line });
    }
    let has_label = bytes.len() > cookie.len();
    let has_blank = cookie.contains(&b' ') || cookie.windows(2).any(|pair| pair == b"\\t");
    (!has_label && has_blank).then_some(CookieWarning::NoTab { file, line })
}

/// The lines that are not empty, with their numbers.
///
/// A blank at the end of a line is kept. The runtime does the same: it takes all printable ASCII of
/// `.erlang.cookie` as the cookie, then allows line ends only. Such a blank is a common mistake.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    bytes.split(|byte| *byte == b'\n').zip(1..).filter_map(|(line, number)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.is_empty()).then_some((number, line))
    })
}

/// A line as label and cookie; a line without a tab is a cookie.
fn split_label(line: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut parts = line.splitn(2, |byte| *byte == b'\t');
    match (parts.next(), parts.next()) {
        (Some(label), Some(cookie)) => (Some(label), cookie),
        _ => (None, line),
    }
}

/// A label that may be printed. 20 capitals are refused: so look the cookies that the runtime makes,
/// and label and cookie may have been exchanged.
fn printable_label(bytes: &[u8]) -> Option<String> {
    let is_label_char = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-@".contains(byte);
    let is_cookie = bytes.len() == 20 && bytes.iter().all(u8::is_ascii_uppercase);
    let is_label = (1..=64).contains(&bytes.len()) && bytes.iter().all(is_label_char);
    (is_label && !is_cookie).then(|| bytes.iter().copied().map(char::from).collect())
}

/// Printable ASCII: the characters that the runtime takes from `.erlang.cookie`.
const fn is_allowed(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// The base name of a file, or its path if another file has the same base name.
fn short_name(path: &Path, all: &[PathBuf]) -> String {
    let same = all.iter().filter(|other| other.file_name() == path.file_name()).count();
    match path.file_name() {
        Some(name) if same == 1 => name.to_string_lossy().into_owned(),
        _ => path.display().to_string(),
    }
}

/// Reads a file of at most `max` bytes.
fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, CookieError> {
    let file = || path.display().to_string();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(max.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|source| CookieError::Read { file: file(), source })?;
    if bytes.len() as u64 > max {
        return Err(CookieError::TooLarge { file: file(), max });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels of the cookies in a file named `c`.
    fn labels(bytes: &[u8]) -> Result<Vec<String>, CookieError> {
        let mut candidates = CookieCandidates::new(9);
        candidates.add_file("c", bytes)?;
        let mut labels: Vec<_> = candidates.labels.into_iter().collect();
        labels.sort();
        Ok(labels)
    }

    /// Whether the only candidate is `cookie`: adding that under another label changes nothing.
    fn is_only(mut candidates: CookieCandidates, cookie: &[u8]) -> bool {
        candidates.cookies.add(Cookie::new("again", cookie));
        candidates.cookies.len() == 1
    }

    #[test]
    fn a_cookie_without_a_label_is_labelled_by_its_line() {
        let file = b"ABC\n\nprod-1@x.y\tDEF\r\nGHI";
        assert_eq!(labels(file).unwrap(), ["c:1", "c:4", "prod-1@x.y"]);
    }

    #[test]
    fn a_trailing_blank_is_part_of_the_cookie_and_the_line_end_is_not() {
        for (line, cookie) in [(&b"A B \r\n"[..], &b"A B "[..]), (b"C\n", b"C"), (b"C", b"C")] {
            let mut candidates = CookieCandidates::new(9);
            candidates.add_file("c", line).unwrap();
            assert!(is_only(candidates, cookie));
        }
    }

    #[test]
    fn an_error_in_a_line_shows_its_number_and_not_its_text() {
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
        assert!(matches!(error, CookieError::Label { line: 1, .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("KQXV"));
    }

    #[test]
    fn probable_mistakes_are_warned_of_by_line_and_the_cookie_is_taken_as_it_is() {
        use CookieWarning::{Blank, NoTab, Quotes};
        let file = || "c".to_owned();
        let (quotes, blank, no_tab) = (
            |line| Quotes { file: file(), line },
            |line| Blank { file: file(), line },
            |line| NoTab { file: file(), line },
        );
        for (text, expected) in [
            (&b"S3CR3T\nprod\tS3CR3T2\n"[..], vec![]),
            (b"ok\n\"S3CR3T\"\n'S3CR3T2'\n", vec![quotes(2), quotes(3)]),
            (b"prod\t\"S3CR3T\"\n", vec![quotes(1)]),
            (b"S3CR3T \r\n S3CR3T\nprod\t S3CR3T2\n", vec![blank(1), blank(2), blank(3)]),
            (b"prod S3CR3T\nprod\\tS3CR3T\nlabel\tS3 CR3T\n", vec![no_tab(1), no_tab(2)]),
            (b"\"\n", vec![]),
        ] {
            let mut candidates = CookieCandidates::new(9);
            candidates.add_file("c", text).unwrap();
            assert_eq!(candidates.warnings, expected);
            let printed: Vec<_> = expected.iter().map(|it| format!("{it} {it:?}")).collect();
            assert!(!printed.concat().contains("S3CR3T"));
        }
        let mut home = CookieCandidates::new(9);
        home.add_home(b"S3CR3T \n").unwrap();
        assert!(matches!(&home.warnings[..], [Blank { line: 1, .. }]));
        let mut home = CookieCandidates::new(9);
        home.add_home(b"S3 CR3T\n").unwrap();
        assert_eq!(home.warnings, []);
    }

    #[test]
    fn bounds_hold() {
        assert!(matches!(
            labels(b"1\n2\n3\n4\n5\n6\n7\n8\n9\n0\n"),
            Err(CookieError::TooMany { max: 9 })
        ));
        assert!(matches!(labels(b"\n\r\n"), Err(CookieError::NoCookie { .. })));
        let error = read_bounded(Path::new("Cargo.toml"), 9).unwrap_err();
        assert!(matches!(error, CookieError::TooLarge { max: 9, .. }), "{error}");
    }

    #[test]
    fn a_typed_cookie_is_latin_1() {
        let mut candidates = CookieCandidates::new(9);
        candidates.add_typed(1, &CookieText("é".into())).unwrap();
        assert!(is_only(candidates, b"\xe9"));
        let mut candidates = CookieCandidates::new(9);
        let error = candidates.add_typed(2, &CookieText("".into())).unwrap_err();
        assert_eq!(error.to_string(), "the cookie of --cookie number 2 is empty");
    }

    #[test]
    fn the_home_cookie_is_the_only_line_of_its_file() {
        let mut candidates = CookieCandidates::new(9);
        candidates.add_home(b"S3CR3T\n").unwrap();
        assert!(candidates.labels.contains("home") && is_only(candidates, b"S3CR3T"));
        for wrong in [&b"S3CR3T\nS3CR3T2"[..], b"", b"S3CR3T\t"] {
            let error = CookieCandidates::new(9).add_home(wrong).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("S3CR3T"));
        }
    }

    #[test]
    fn a_cookie_in_place_of_a_file_name_is_not_repeated() {
        let sources = CookieSources { files: &["S3CR3T".into()], typed: &[], use_home: false };
        let error = load(&sources, &Limits::default()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("S3CR3T"), "{error}");
    }

    #[test]
    fn files_of_the_same_name_are_labelled_by_their_paths() {
        let all = ["a/c", "b/c", "b/d"].map(PathBuf::from);
        let names: Vec<_> = all.iter().map(|path| short_name(path, &all)).collect();
        assert_eq!(names, ["a/c", "b/c", "d"]);
    }
}
