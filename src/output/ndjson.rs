//! Stage 8: events as lines of JSON.
//!
//! In: an [`Event`], its number and the name of its input. Out: one object on one line, in the
//! shape of Suricata's EVE records. The types are those of [`crate::event`]; nothing is put into
//! words here.

use std::io::{self, Write};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::{Body, ConnectionIds, Event, MessageEvent, VERSION};
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
    /// time order.
    timestamp: Timestamp,
    /// What the line is about; the body stands under a key of the same name.
    event_type: &'static str,
    /// 1, 2, 3 … in output order.
    #[schemars(range(min = 1))]
    seq: u64,
    /// The file as given, `-` for standard input, or the name of the interface; absent where
    /// several are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    /// 1-based number of the packet in its input, as Wireshark counts; absent where no packet
    /// settled the fact.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    frame: Option<u64>,
    #[serde(flatten)]
    connection: Option<&'a ConnectionIds>,
    #[serde(flatten)]
    body: &'a Body,
}

/// Writes one line.
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

/// Writes the lines of messages, which may come by the million: what is the same on many of them is kept
/// as it was written.
#[derive(Default)]
pub(super) struct MessageLines {
    /// The input that lines were written for last, and as it is written.
    input: Option<(u16, Vec<u8>)>,
    connection: Option<(Arc<ConnectionIds>, Vec<u8>)>,
    second: Option<(u64, String)>,
}

impl MessageLines {
    /// Writes one line.
    pub(super) fn write(
        &mut self,
        out: &mut impl Write,
        seq: u64,
        name: impl FnOnce(u16) -> Option<Arc<str>>,
        event: &MessageEvent<'_>,
    ) -> io::Result<()> {
        let MessageEvent { mark, connection, message } = event;
        let (second, nanos) = mark.at.parts();
        if self.second.as_ref().is_none_or(|(known, _)| *known != second) {
            let text = Timestamp::new(second, 0).to_string();
            // "2014-05-25T14:32:25." of "2014-05-25T14:32:25.000000000Z"
            let whole = text.split_inclusive('.').next().unwrap_or_default().to_owned();
            self.second = Some((second, whole));
        }
        if self.input.as_ref().is_none_or(|(known, _)| *known != mark.frame.input) {
            let mut written = Vec::new();
            if let Some(name) = name(mark.frame.input) {
                written.extend(b",\"input\":");
                serde_json::to_writer(&mut written, &*name)?;
            }
            self.input = Some((mark.frame.input, written));
        }
        if self.connection.as_ref().is_none_or(|(known, _)| !Arc::ptr_eq(known, connection)) {
            let mut written = serde_json::to_vec(&**connection)?;
            // Its fields, without the braces around them.
            written.pop();
            let fields = written.get(1..).unwrap_or_default().to_vec();
            self.connection = Some((Arc::clone(connection), fields));
        }
        let Self { input: Some((_, input)), connection: Some((_, fields)), second: Some((_, second)) } =
            self
        else {
            return Ok(());
        };
        write!(
            out,
            "{{\"v\":{VERSION},\"timestamp\":\"{second}{nanos:09}Z\",\"event_type\":\"message\",\
             \"seq\":{seq}",
        )?;
        out.write_all(input)?;
        write!(out, ",\"frame\":{},", mark.frame.number)?;
        out.write_all(fields)?;
        out.write_all(b",\"message\":")?;
        serde_json::to_writer(&mut *out, message)?;
        out.write_all(b"}\n")
    }
}

/// Writes anything as one line of JSON.
///
/// # Errors
///
/// `out` takes no more.
pub fn json_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;

    #[test]
    fn a_line_is_what_the_contract_shows() {
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
