//! Events as lines of JSON.
//!
//! In: an [`Event`], its number and the name of its input. Out: one object on one line, in the
//! shape of Suricata's EVE records. The types are those of [`crate::record`].

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::escaped::to_writer;
use crate::record::{Body, ConnectionIds, Event, VERSION};
use crate::time::Timestamp;

/// One line of output.
#[derive(JsonSchema, Serialize)]
#[schemars(title = "A line of Beamscope's output")]
pub(super) struct Line<'a> {
    /// Version of this schema.
    #[schemars(extend("const" = VERSION))]
    v: u8,
    /// Capture time of the packet that settled the fact, or the moment on the capture's clock at
    /// which it was settled without one; RFC 3339 in UTC with nine decimals, so that text order is
    /// time order. `null` if the packets have no times, or none was read.
    timestamp: Timestamp,
    /// Kind of the event; the key of the body has the same name.
    event_type: &'static str,
    /// Number of the line in the output, from 1.
    #[schemars(range(min = 1))]
    seq: u64,
    /// The file as given, `-` for standard input, or the name of the interface; absent if the line is
    /// about several inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    /// 1-based number of the packet in its input, as Wireshark counts; absent if no packet
    /// settled the fact.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    frame: Option<u64>,
    #[serde(flatten)]
    connection: Option<&'a ConnectionIds>,
    #[serde(flatten)]
    body: &'a Body,
}

/// Writes one event as a line.
pub(super) fn write(
    out: &mut impl Write,
    seq: u64,
    input: Option<&str>,
    event: &Event,
) -> io::Result<()> {
    let line = Line {
        v: VERSION,
        timestamp: event.at,
        event_type: event.body.event_type(),
        seq,
        input,
        frame: event.frame.map(|frame| frame.number),
        connection: event.connection.as_deref(),
        body: &event.body,
    };
    json_line(out, &line)
}

/// Writes any value as one line of JSON.
///
/// # Errors
///
/// Writing to `out` failed.
pub fn json_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn a_line_has_the_documented_form() {
        let mut out = Vec::new();
        write(&mut out, 1, Some("lan.pcap"), &samples::epmd()).unwrap();
        let expected = concat!(
            r#"{"v":1,"timestamp":"2014-05-25T14:32:25.000512000Z","event_type":"epmd","seq":1,"#,
            r#""input":"lan.pcap","frame":9,"session_id":"5f0c1a2b3c4d5e6f","#,
            r#""community_id":"1:E13v/443dILbtN/IyLRmvhbtZcU=","src_ip":"192.168.0.100","#,
            r#""src_port":37832,"dest_ip":"192.168.0.103","dest_port":33435,"proto":"TCP","#,
            r#""encap":["vlan 7"],"epmd":{"request":"PORT_PLEASE2_REQ","name":"two","#,
            r#""outcome":"answered","response":"PORT2_RESP","result":0,"port":33435,"#,
            r#""node_type":"normal","highest_version":6,"lowest_version":5,"#,
            r#""response_time_us":213}}"#,
            "\n",
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
