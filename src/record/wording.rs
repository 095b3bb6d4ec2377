//! Messages in the words of their lines.
//!
//! In: the JSON that [`Message`]'s own serialization gives, up to what is known only at its end, byte for byte,
//! as [`words`](super::words) writes it; tests hold the two together. Out: that as it is, for lines; and the
//! [`Message`], read back from it, for whoever wants to look at it.
//!
//! Messages come by the million where everything else comes by the thousand, and nearly all of them become
//! nothing but lines. Kept as texts and put into lines later, one took 4,300 instructions; with each term written
//! once, where it is read, and all of them taken over as a whole, it takes 1,700.

use std::str;

use super::words::name;
use super::{Call, Message, Payload, Role, RuleTrigger};
use crate::wire::control::Operation;
use crate::wire::otp::RequestKind;

/// A message as it is told.
#[derive(Clone, Copy, Debug)]
pub struct Wording<'a> {
    /// What is known of it beside its terms.
    pub facts: &'a Facts,
    /// What it carries, if somebody asked for that.
    pub payload: Option<Payload<'a>>,
    /// Its JSON up to `fragments`.
    pub(crate) words: &'a [u8],
    /// The texts of which JSON escapes something, as they are.
    pub(super) escaped: &'a str,
}

/// What is known of a message beside its terms; see [`Message`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "documented where they are told")]
pub struct Facts {
    pub from: Role,
    pub operation: Operation,
    pub call: Option<RequestKind>,
    pub fragments: u32,
    pub payload_bytes: Option<u64>,
    pub trigger: Option<RuleTrigger>,
}

impl<'a> Wording<'a> {
    /// The message, read back.
    pub fn message(&self) -> Message<'a> {
        let mut call = self.facts.call.map(|kind| Call {
            kind: kind.name(),
            tag: None,
            request: None,
            module: None,
            function: None,
            arity: None,
            latency_us: None,
        });
        let mut message = Message {
            fragments: self.facts.fragments,
            payload_bytes: self.facts.payload_bytes,
            payload: self.payload,
            trigger: self.facts.trigger,
            ..Message::new(self.facts.from, name(self.facts.operation))
        };
        let words = str::from_utf8(self.words).unwrap_or_default();
        for (key, value) in (Fields { words, escaped: self.escaped }) {
            let text = Some(value);
            match (key, &mut call) {
                ("from_pid", _) => message.from_pid = text,
                ("to", _) => message.to = text,
                ("to_name", _) => message.to_name = text,
                ("ref", _) => message.reference = text,
                ("reason", _) => message.reason = text,
                ("id", _) => message.id = text,
                ("group_leader", _) => message.group_leader = text,
                ("mfa", _) => message.mfa = text,
                ("options", _) => message.options = text,
                ("flags", _) => message.flags = text,
                ("result", _) => message.result = text,
                ("token", _) => message.token = text,
                ("tag", Some(call)) => call.tag = text,
                ("request", Some(call)) => call.request = text,
                ("module", Some(call)) => call.module = text,
                ("function", Some(call)) => call.function = text,
                ("arity", Some(call)) => call.arity = value.parse().ok(),
                ("latency_us", Some(call)) => call.latency_us = value.parse().ok(),
                // The rest are facts.
                _ => {}
            }
        }
        message.call = call;
        message
    }
}

/// The texts and numbers in the words of a message, each with its key.
struct Fields<'a> {
    words: &'a str,
    escaped: &'a str,
}

impl<'a> Fields<'a> {
    /// What stands between the next two quotes.
    fn quoted(&mut self) -> Option<&'a str> {
        let (_, behind) = self.words.split_once('"')?;
        let mut is_escaped = false;
        let end = behind.bytes().position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        })?;
        let (quoted, rest) = behind.split_at_checked(end)?;
        self.words = rest.get(1..)?;
        Some(quoted)
    }

    /// What JSON has written as `quoted`.
    fn text(&mut self, quoted: &'a str) -> Option<&'a str> {
        let (mut bytes, mut len) = (quoted.bytes(), 0);
        while let Some(byte) = bytes.next() {
            if byte == b'\\' && bytes.next() == Some(b'u') {
                bytes.nth(3);
            }
            len += 1;
        }
        if len == quoted.len() {
            return Some(quoted);
        }
        let text;
        (text, self.escaped) = self.escaped.split_at_checked(len)?;
        Some(text)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = self.quoted()?;
            let value = self.words.strip_prefix(':')?;
            if value.starts_with('"') {
                let quoted = self.quoted()?;
                return Some((key, self.text(quoted)?));
            }
            // What is in a call follows like the rest.
            if !value.starts_with('{') {
                return value.split([',', '}']).next().map(|number| (key, number));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples::{Worded, message};

    #[test]
    fn texts_are_read_back_whatever_json_makes_of_them() {
        let texts = [
            "plain",
            "",
            "\"",
            "\\",
            "\\\"",
            "\u{1}\n\u{1f}u",
            "\":\"to\":",
            "é\\",
            "tag",
            "{1,2}",
        ];
        for (at, text) in texts.iter().enumerate() {
            let [text, next] = [*text, texts[(at + 1) % texts.len()]];
            let call = Call {
                kind: "gen_call",
                tag: Some(next),
                request: None,
                module: Some(text),
                function: None,
                arity: Some(2),
                latency_us: Some(u64::MAX),
            };
            let told = Message {
                from_pid: Some(text),
                to: Some(next),
                reason: Some(text),
                call: Some(call),
                ..message("LINK")
            };
            let worded = Worded::new(&told);
            assert_eq!(format!("{:?}", worded.wording().message()), format!("{told:?}"));
        }
    }
}
