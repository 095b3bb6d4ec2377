//! Session records, read back from lines of JSON.
//!
//! In: lines of [NDJSON](super::super::Format::Ndjson). Out: what those about sessions say of a pair of
//! nodes. Fields that are not needed are not looked at, so that lines of later versions of the program
//! are read as long as the version of the contract is the same.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::compare::Attempt;
use crate::record::{Outcome, State, VERSION};
use crate::render::words::escape;

/// Why lines cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read at all.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is none of this program's lines.
    #[error(
        "line {line} is no event: {found}; expected one JSON object a line, as beamscope writes"
    )]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        found: String,
    },
    /// It is of another contract.
    #[error("line {line} is of schema version {found}; expected {VERSION}")]
    Version {
        /// Counted from 1.
        line: u64,
        /// Its version.
        found: u64,
    },
    /// It does not end.
    #[error("line {line} is longer than any event; expected at most {LONGEST} bytes")]
    Endless {
        /// Counted from 1.
        line: u64,
    },
}

/// The session records among lines.
pub struct Records<R> {
    lines: R,
    /// Number of the last line read.
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Records<R> {
    /// Reads from `lines`.
    pub const fn new(lines: R) -> Self {
        Self { lines, line: 0, buffer: Vec::new() }
    }

    /// The next session record; `None` when there is none left.
    ///
    /// # Errors
    ///
    /// A line that cannot be read, or is no event.
    pub fn next_attempt(&mut self) -> Result<Option<Attempt>, ReadError> {
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

    /// What the line in the buffer says.
    fn attempt(&self) -> Result<Option<Attempt>, ReadError> {
        // What is wrong may quote the line, and a line may say anything.
        let wrong = |found: &dyn ToString| {
            let found = escape(&found.to_string()).into_owned();
            ReadError::Line { line: self.line, found }
        };
        let line: Line<'_> = serde_json::from_slice(&self.buffer).map_err(|e| wrong(&e))?;
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
        let at = line.timestamp.parse().map_err(|e| wrong(&e))?;
        let Record { state, outcome, initiator, acceptor, lookup } = session;
        let ips = [initiator.ip.unwrap_or(src), acceptor.ip.unwrap_or(dst)];
        let asked = lookup.map(|lookup| lookup.asked);
        let sides = Attempt::sides(ips, [initiator.node, acceptor.node], asked);
        Ok(Some(Attempt { at, session_id, state, outcome, sides }))
    }
}

/// One line, as far as it is needed.
#[derive(Deserialize)]
struct Line<'a> {
    v: u64,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
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
    initiator: Party,
    acceptor: Party,
    lookup: Option<Lookup>,
}

#[derive(Deserialize)]
struct Party {
    node: Option<Arc<str>>,
    ip: Option<IpAddr>,
}

#[derive(Deserialize)]
struct Lookup {
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
    fn what_was_written_is_read_back_as_the_event_said_it() {
        let events = samples::all();
        let lines = events.iter().map(line).collect::<Vec<_>>().join("\n");
        let mut records = Records::new(lines.as_bytes());
        let read = records.next_attempt().unwrap().unwrap();
        let told = events.iter().find_map(Attempt::of).unwrap();
        assert_eq!(format!("{read:?}"), format!("{told:?}"));
        assert!(records.next_attempt().unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        let good = line(&samples::epmd());
        let session = line(&samples::session(State::Closed, Outcome::Refused));
        for (line, words) in [
            ("{\"v\":1}", "line 3 is no event: missing field `timestamp`"),
            ("{\"v\":1,\"\x1b[2J\":}", "line 3 is no event"),
            ("[]", "expected one JSON object a line"),
            (&session.replace("\"v\":1", "\"v\":2"), "line 3 is of schema version 2; expected 1"),
            (&session.replace("\"refused\"", "\"\\u001b[2J\""), r"unknown variant `\x1b[2J`"),
            (&session.replace("\"dest_ip\"", "\"else\""), "a session without its body, its id"),
            (&session.replace("2014-05-25T", "yesterday"), "line 3 is no event"),
            (&session[..100], "line 3 is no event"),
        ] {
            let told = failure(&format!("{good}\n{line}"));
            assert!(told.contains(words), "{line}: {told}");
            assert!(!told.contains('\x1b'), "{told}");
        }
    }
}
