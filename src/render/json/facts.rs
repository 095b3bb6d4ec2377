//! Facts about parts of a traffic, and the summary of an extract, as one JSON object.
//!
//! In: [`Facts`], [`ExtractSummary`]. Out: a line; facts are read back.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::extract::{ExtractSummary, Facts};
use crate::record::VERSION;

/// Facts with the version of their format.
#[derive(Deserialize, Serialize)]
struct KeptFacts {
    v: u8,
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    facts: Facts,
}

/// A summary with the version of its format.
#[derive(Serialize)]
struct WrittenSummary<'a> {
    v: u8,
    r#type: &'static str,
    #[serde(flatten)]
    summary: &'a ExtractSummary,
}

/// Why a file is none of facts.
#[derive(Debug, thiserror::Error)]
pub enum NoFacts {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no JSON object of facts.
    #[error("expected what beamscope facts writes: {found}")]
    OtherContent {
        /// What is wrong with it.
        found: String,
    },
    /// It was written by another version.
    #[error("version {found} of the format is not read, only {VERSION}")]
    OtherVersion {
        /// The version of the file.
        found: u8,
    },
    /// It is larger than what is read.
    #[error("more than {MOST_BYTES} bytes")]
    TooLarge,
}

/// Writes facts as one line.
pub fn facts_line(facts: Facts) -> String {
    let kept = KeptFacts { v: VERSION, kind: KIND.to_owned(), facts };
    let mut line = serde_json::to_string(&kept).unwrap_or_default();
    line.push('\n');
    line
}

/// Writes the summary of an extract as one line.
pub fn summary_line(summary: &ExtractSummary) -> String {
    let written = WrittenSummary { v: VERSION, r#type: "extract", summary };
    let mut line = serde_json::to_string(&written).unwrap_or_default();
    line.push('\n');
    line
}

/// Reads facts back.
///
/// # Errors
///
/// The input cannot be read, is too large, or is not what [`facts_line`] writes.
pub fn read_facts(input: impl Read) -> Result<Facts, NoFacts> {
    let mut bytes = Vec::new();
    input.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(NoFacts::TooLarge);
    }
    let other = |found: String| NoFacts::OtherContent { found };
    let kept: KeptFacts = serde_json::from_slice(&bytes).map_err(|e| other(e.to_string()))?;
    if kept.kind != KIND {
        return Err(other(format!("its type is not \"{KIND}\"")));
    }
    if kept.v != VERSION {
        return Err(NoFacts::OtherVersion { found: kept.v });
    }
    Ok(kept.facts)
}

/// The type of these objects.
const KIND: &str = "facts";

/// Bytes of a file of facts that are read: about a million endpoints.
const MOST_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Endpoint;

    #[test]
    fn facts_are_read_as_they_were_written() {
        let end = |host, port| Endpoint { ip: [10, 0, 0, host].into(), port };
        let facts = Facts {
            ends: [end(1, 43211), end(2, 9100)].into(),
            flows: [[end(1, 1), end(2, 2)]].into(),
        };
        let line = facts_line(facts.clone());
        assert_eq!(
            line,
            "{\"v\":1,\"type\":\"facts\",\"ends\":[{\"ip\":\"10.0.0.1\",\"port\":43211},{\"ip\":\"10.0.0.2\",\
             \"port\":9100}],\"flows\":[[{\"ip\":\"10.0.0.1\",\"port\":1},{\"ip\":\"10.0.0.2\",\"port\":2}]]}\n"
        );
        assert_eq!(read_facts(line.as_bytes()).unwrap(), facts);
    }

    #[test]
    fn what_is_no_facts_is_an_error() {
        for (text, error) in [
            ("", "expected what beamscope facts writes: EOF"),
            ("{}", "expected what beamscope facts writes: missing field"),
            ("{\"v\":1,\"type\":\"stats\",\"ends\":[],\"flows\":[]}", "its type is not \"facts\""),
            ("{\"v\":9,\"type\":\"facts\",\"ends\":[],\"flows\":[]}", "version 9 of the format"),
            (
                "{\"v\":1,\"type\":\"facts\",\"ends\":[{\"ip\":\"x\",\"port\":1}],\"flows\":[]}",
                "invalid IP",
            ),
        ] {
            let found = read_facts(text.as_bytes()).unwrap_err().to_string();
            assert!(found.contains(error), "{found}");
        }
        assert!(matches!(read_facts(io::repeat(b' ')), Err(NoFacts::TooLarge)));
    }
}
