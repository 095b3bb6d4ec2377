//! Session records, read back from lines of JSON.
//!
//! In: lines of [NDJSON](super::super::Format::Ndjson). Out: the outcome of each session, for a comparison.
//! Other fields are ignored, so that lines of later versions of the program are read as long as the version of
//! the contract is the same.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::compare::PairAttempt;
use crate::record::{Outcome, State, VERSION};
use crate::render::words::escape;

/// Why lines cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The input cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is not one of this program.
    #[error(
        "line {line} is no event: {found}; expected one JSON object a line, as beamscope writes"
    )]
    KeptLine {
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        found: String,
    },
    /// A line has another version of the contract.
    #[error("line {line} is of schema version {found}; expected {VERSION}")]
    Version {
        /// Number of the line, from 1.
        line: u64,
        /// Version of the line.
        found: u64,
    },
    /// A line is longer than any event.
    #[error("line {line} is longer than any event; expected at most {LONGEST} bytes")]
    Endless {
        /// Number of the line, from 1.
        line: u64,
    },
}

/// The session records among the lines of an input.
pub struct Records<R> {
    lines: R,
    /// Number of the last line read.
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Records<R> {
    /// Reads the records of `lines`.
    pub const fn new(lines: R) -> Self {
        Self { lines, line: 0, buffer: Vec::new() }
    }

    /// The next session record; `None` when there is none left.
    ///
    /// # Errors
    ///
    /// A line that cannot be read, or is no event.
    pub fn next_attempt(&mut self) -> Result<Option<PairAttempt>, ReadError> {
        loop {
            self.buffer.clear();
            let mut line = (&mut self.lines).take(LONGEST + 1);
            if line.read_until(b'\n', &mut self.buffer)? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if self.buffer.len() as u64 > LONGEST {
                return Err(ReadError::Endless { line: self.line });
            }
            if self.buffer.trim_ascii().is_empty() {
                continue;
            }
            if let Some(attempt) = self.attempt()? {
                return Ok(Some(attempt));
            }
        }
    }

    /// The session record of the line in the buffer, if it is one.
    fn attempt(&self) -> Result<Option<PairAttempt>, ReadError> {
        // The error may quote the line, which may contain control characters.
        let wrong = |found: &dyn ToString| {
            let found = escape(&found.to_string()).into_owned();
            ReadError::KeptLine { line: self.line, found }
        };
        let line: KeptLine<'_> = serde_json::from_slice(&self.buffer).map_err(|e| wrong(&e))?;
        if line.v != u64::from(VERSION) {
            return Err(ReadError::Version { line: self.line, found: line.v });
        }
        if line.event_type != "session" {
            return Ok(None);
        }
        let parts = (line.session, line.session_id, line.src_ip.zip(line.dest_ip));
        let (Some(session), Some(session_id), Some((src, dst))) = parts else {
            return Err(wrong(&"a session without its body, its id or its addresses"));
        };
        let at = line.timestamp.map(|text| text.parse().map_err(|e| wrong(&e))).transpose()?;
        let at = at.unwrap_or_default();
        let Record { state, outcome, initiator, acceptor, lookup } = session;
        let ips = [initiator.ip.unwrap_or(src), acceptor.ip.unwrap_or(dst)];
        let asked = lookup.map(|lookup| lookup.asked);
        let sides = PairAttempt::sides(ips, [initiator.node, acceptor.node], asked);
        Ok(Some(PairAttempt { at, session_id, state, outcome, sides }))
    }
}

/// The fields of a line that are needed.
#[derive(Deserialize)]
struct KeptLine<'a> {
    v: u64,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    session_id: Option<Arc<str>>,
    src_ip: Option<IpAddr>,
    dest_ip: Option<IpAddr>,
    session: Option<Record>,
}

#[derive(Deserialize)]
struct Record {
    state: State,
    outcome: Outcome,
    initiator: KeptParty,
    acceptor: KeptParty,
    lookup: Option<KeptLookup>,
}

#[derive(Deserialize)]
struct KeptParty {
    node: Option<Arc<str>>,
    ip: Option<IpAddr>,
}

#[derive(Deserialize)]
struct KeptLookup {
    asked: Arc<str>,
}

/// Bytes of the longest line read: far above a `cluster` of a thousand nodes in full mesh.
const LONGEST: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::super::ndjson;
    use super::*;
    use crate::render::samples;

    fn line(event: &crate::record::Event) -> String {
        let mut line = Vec::new();
        ndjson::write(&mut line, 1, Some("a.pcap"), event).unwrap();
        String::from_utf8(line).unwrap()
    }

    fn failure(lines: &str) -> String {
        let mut records = Records::new(lines.as_bytes());
        loop {
            match records.next_attempt() {
                Ok(attempt) => assert!(attempt.is_some(), "no error"),
                Err(error) => return error.to_string(),
            }
        }
    }

    #[test]
    fn a_written_session_is_read_back_unchanged() {
        let events = samples::all();
        let lines = events.iter().map(line).collect::<Vec<_>>().join("\n");
        let mut records = Records::new(lines.as_bytes());
        let read = records.next_attempt().unwrap().unwrap();
        let expected = events.iter().find_map(PairAttempt::of).unwrap();
        assert_eq!(format!("{read:?}"), format!("{expected:?}"));
        assert!(records.next_attempt().unwrap().is_none());
    }

    #[test]
    fn an_error_names_its_line() {
        let good = line(&samples::epmd());
        let session = line(&samples::session(State::Closed, Outcome::Refused));
        for (line, words) in [
            ("{\"v\":1}", "line 3 is no event: missing field `event_type`"),
            ("{\"v\":1,\"\x1b[2J\":}", "line 3 is no event"),
            ("[]", "expected one JSON object a line"),
            (&session.replace("\"v\":1", "\"v\":2"), "line 3 is of schema version 2; expected 1"),
            (&session.replace("\"refused\"", "\"\\u001b[2J\""), r"unknown variant `\x1b[2J`"),
            (&session.replace("\"dest_ip\"", "\"else\""), "a session without its body, its id"),
            (&session.replace("2014-05-25T", "yesterday"), "line 3 is no event"),
            (&session[..100], "line 3 is no event"),
        ] {
            let error = failure(&format!("{good}\n{line}"));
            assert!(error.contains(words), "{line}: {error}");
            assert!(!error.contains('\x1b'), "{error}");
        }
    }
}
