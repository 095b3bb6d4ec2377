//! Finds the rules behind a line of a log.
//!
//! In: text that a user copied: a whole line, a part of one, or several lines, with any prefix of a
//! logger. Out: the known log lines that it resembles most. Node names, numbers and punctuation
//! differ from log to log, so only words are compared.

use super::log_notes::{LogNote, NOTES};
use super::{LogLine, RuleDoc, docs};

/// A known log line, and a rule that can cause it.
#[derive(Clone, Copy, Debug)]
pub struct Logged {
    /// The documentation of the rule; `None` if the line has a note and no rule.
    pub doc: Option<&'static RuleDoc>,
    /// The log line as it is known.
    pub line: &'static LogLine,
    /// What the line means and what to do, if the line belongs to no single rule.
    pub note: Option<&'static LogNote>,
}

/// Every known log line: first those of the rules, then those with a note, once for each rule that can cause them.
pub fn lines() -> impl Iterator<Item = Logged> {
    let own = docs().flat_map(|doc| {
        doc.log_lines.iter().map(move |line| Logged { doc: Some(doc), line, note: None })
    });
    let noted = NOTES.iter().flat_map(|note| {
        let causes: Vec<_> =
            note.rules.iter().copied().flatten().filter_map(by_name).map(Some).collect();
        let causes = if causes.is_empty() { vec![None] } else { causes };
        causes.into_iter().map(move |doc| Logged { doc, line: &note.line, note: Some(note) })
    });
    own.chain(noted).filter(|logged| !logged.line.text.is_empty())
}

fn by_name(rule: &&str) -> Option<&'static RuleDoc> {
    docs().find(|doc| doc.rule == *rule)
}

/// The known lines that share the longest run of words with `text`; empty if that run is too short
/// to be significant.
pub fn search(text: &str) -> Vec<Logged> {
    let sought = words(text);
    let mut last: Option<(&LogLine, Option<Likeness>)> = None;
    let scored = lines().filter_map(|logged| {
        // The causes of a line follow each other, and the line is compared once.
        let likeness = match last {
            Some((line, likeness)) if std::ptr::eq(line, logged.line) => likeness,
            _ => Likeness::of(&words(logged.line.text), &sought),
        };
        last = Some((logged.line, likeness));
        Some((likeness?, logged))
    });
    let mut best = Vec::new();
    let mut most = None;
    for (likeness, logged) in scored {
        if most < Some(likeness) {
            most = Some(likeness);
            best.clear();
        }
        if most == Some(likeness) {
            best.push(logged);
        }
    }
    best
}

/// The names of nodes in a text of the user, for each that the known line has: `("a@h", "web@10.0.0.1")`.
///
/// A name of the text belongs to the name of the line that follows the same word. Other names go by their order, the last
/// ones of the text if it has more, since loggers add text before a line.
pub fn names(line: &LogLine, text: &str) -> Vec<(&'static str, String)> {
    let mut known: Vec<(&str, &'static str)> = Vec::new();
    for (word, name) in names_in(line.text) {
        if let Some(name) = PLACEHOLDERS.iter().find(|known| name.starts_with(**known))
            && known.iter().all(|(_, other)| other != name)
        {
            known.push((word, name));
        }
    }
    let mut found = names_in(text);
    let mut pairs = Vec::new();
    known.retain(|(word, name)| {
        let place = found.iter().position(|(other, _)| !word.is_empty() && word == other);
        let Some((_, own)) = place.map(|place| found.remove(place)) else { return true };
        pairs.push((*name, own.to_owned()));
        false
    });
    let surplus = found.len().saturating_sub(known.len());
    let rest = known.iter().zip(found.iter().skip(surplus));
    pairs.extend(rest.map(|((_, name), (_, own))| (*name, (*own).to_owned())));
    for (word, placeholder) in HOSTS {
        let known = format!("{word} {placeholder}");
        if let (true, Some(own)) = (line.text.contains(&known), token_after(text, word)) {
            pairs.push((placeholder, own.to_owned()));
        }
    }
    pairs.sort_unstable_by_key(|(name, _)| *name);
    pairs
}

/// The text between blanks after the first `word`, without what encloses it.
fn token_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let mut tokens = text.split_whitespace().skip_while(|token| !token.eq_ignore_ascii_case(word));
    let token = tokens.nth(1)?.trim_matches(|c: char| !c.is_alphanumeric());
    (!token.is_empty()).then_some(token)
}

/// Every `name@host` of a text, with the word before it.
fn names_in(text: &str) -> Vec<(&str, &str)> {
    let is_name = |c: char| c.is_alphanumeric() || "_-.+%".contains(c);
    let mut found = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices('@') {
        let (Some(before), Some(after)) = (text.get(from..at), text.get(at + 1..)) else {
            continue;
        };
        let start = from + before.trim_end_matches(is_name).len();
        let host_len = after.len() - after.trim_start_matches(is_name).len();
        let address_len = after.len()
            - after.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == ':').len();
        let is_address = after.get(..address_len).is_some_and(|host| host.matches(':').count() > 1);
        let end = at + 1 + if is_address { address_len } else { host_len };
        let Some(name) = text.get(start..end) else { continue };
        let name = name.trim_end_matches(['.', ':', '-']);
        if start < at && name.len() > at + 1 - start {
            let word = text.get(from..start).unwrap_or_default();
            let word = word.trim_end_matches(|c: char| !c.is_alphanumeric());
            let word = word.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            found.push((word, name));
            from = start + name.len();
        }
    }
    found
}

/// Names without `@` in known lines: the word before, and the name. They are no part of other words of the line.
const HOSTS: [(&str, &str); 3] = [("Hostname", "h"), ("Nodename", "b"), ("IP", "10.0.0.1")];

/// Names of nodes in known lines: the dialing node, the dialed node, and a third one.
const PLACEHOLDERS: [&str; 3] = ["a@h", "b@h", "c@h"];

/// How well a known line matches; a greater value is a better match.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Likeness {
    /// Number of consecutive words that both have.
    run: usize,
    /// Whether the run has all words of the known line.
    is_whole: bool,
}

impl Likeness {
    /// `None` if the run is too short: it is neither all of one of the two, nor [`ENOUGH`] words.
    fn of(known: &[String], sought: &[String]) -> Option<Self> {
        if let (Some(known), Some(sought)) = (tls_alert(known), tls_alert(sought))
            && known != sought
        {
            return None;
        }
        let run = longest_run(known, sought);
        let shorter = known.len().min(sought.len());
        let is_alike = run == shorter || run >= ENOUGH && run.saturating_mul(2) >= shorter;
        (run > 0 && is_alike).then_some(Self { run, is_whole: run == known.len() })
    }
}

/// Length of the longest run of consecutive words of `known` that `sought` has in the same order.
/// A few other words may lie between them: names that do not look like names, and the prefix that a
/// logger adds to each part of a line.
fn longest_run(known: &[String], sought: &[String]) -> usize {
    /// A run that ends at a word of `known`, and the position in `sought` where it ended.
    #[derive(Clone, Copy)]
    struct Run {
        len: usize,
        at: usize,
    }
    let mut runs: Vec<Option<Run>> = vec![None; known.len()];
    let mut longest = 0;
    for (at, word) in sought.iter().enumerate() {
        let should_continue = |run: &Run| at - run.at <= BETWEEN + 1;
        // Backwards, so that one word of `sought` does not extend the run that it has just begun.
        for (j, _) in known.iter().enumerate().rev().filter(|(_, known)| *known == word) {
            let before = j.checked_sub(1).and_then(|before| runs.get(before).copied().flatten());
            let len = 1 + before.filter(should_continue).map_or(0, |run| run.len);
            longest = longest.max(len);
            if let Some(run) = runs.get_mut(j)
                && run.is_none_or(|run| run.len <= len || !should_continue(&run))
            {
                *run = Some(Run { len, at });
            }
        }
    }
    longest
}

/// The words of a line that are the same in every log: without names of nodes and hosts, quoted text
/// that has no blank inside, words with a digit, and single letters.
fn words(text: &str) -> Vec<String> {
    // JSON loggers escape line ends and tabs in strings.
    let text = text.replace("\\n", " ").replace("\\t", " ").replace(['\u{2018}', '\u{2019}'], "'");
    let mut words = Vec::new();
    let mut word = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let is_inside =
            c == '\'' && !word.is_empty() && rest.as_str().starts_with(char::is_alphanumeric);
        match c {
            // An apostrophe inside a word, as in "can't".
            '\'' if is_inside => {}
            '\'' | '"' => {
                end_of_word(&mut word, &mut words);
                let quoted =
                    rest.as_str().split_once(c).map(|(quoted, after)| (quoted, after.chars()));
                if let Some((quoted, after)) = quoted
                    && !quoted.is_empty()
                    && !quoted.contains(char::is_whitespace)
                {
                    rest = after;
                }
            }
            _ if c.is_alphanumeric() || NAMES.contains(&c) => word.extend(c.to_lowercase()),
            _ => end_of_word(&mut word, &mut words),
        }
    }
    end_of_word(&mut word, &mut words);
    without_tls_state(words)
}

/// Removes the name of the state from `TLS client: In state NAME ...`: it differs from release to release.
fn without_tls_state(mut words: Vec<String>) -> Vec<String> {
    let mut before = [String::new(), String::new()];
    words.retain(|word| {
        let [first, second] = &before;
        let is_state = first == "in" && second == "state" && !TLS_VERBS.contains(&word.as_str());
        before.rotate_left(1);
        if let Some(last) = before.last_mut() {
            last.clone_from(word);
        }
        !is_state
    });
    words
}

/// The first word of the name of a fatal TLS alert. Alerts of other names have other causes.
fn tls_alert(words: &[String]) -> Option<&String> {
    let at = words.windows(2).position(|pair| pair == ["alert", "fatal"])?;
    words.get(at + 2)
}

/// Words after the state of a TLS connection, which may be missing itself because it looks like a name.
const TLS_VERBS: [&str; 3] = ["at", "generated", "received"];

fn end_of_word(word: &mut String, words: &mut Vec<String>) {
    let bare = word.trim_matches(['.', '-']);
    // Host names have no `_`, and `ALIVE2_REQ` counts as a word.
    let is_numbered = !bare.contains('_') && bare.contains(char::is_numeric);
    let is_name = bare.contains(['@', '.']) || is_numbered;
    if !is_name && bare.chars().nth(1).is_some() {
        words.push(bare.to_owned());
    }
    word.clear();
}

/// Characters of a name besides letters and digits.
const NAMES: [char; 4] = ['_', '@', '.', '-'];

/// A run of fewer words than this can be coincidence.
const ENOUGH: usize = 3;

/// Maximum of other words between two words of a run: `Nov 22 host beam` of a wrapped line.
const BETWEEN: usize = 4;

/// The reason that the dialing node logs, if verbose, when its setup time (7 s) is over.
pub(super) const SETUP_TIMED_OUT: LogLine = LogLine {
    writer: "the dialing node, with net_kernel:verbose(1)",
    releases: "OTP 25 and older",
    text: "{net_kernel,{'EXIT',<0.87.0>,setup_timer_timeout}}",
};

/// What a node logs that closes a connection because it received nothing for the whole `net_ticktime`.
pub(super) const TIMED_OUT_LINES: &[LogLine] = &[
    LogLine {
        writer: "the node that closes",
        releases: "all",
        text: "** Node b@h not responding **",
    },
    LogLine {
        writer: "the node that closes",
        releases: "all",
        text: "** Removing (timedout) connection **",
    },
];

/// What nodes log that are cut off from each other for longer than `net_ticktime`.
pub(super) const CUT_OFF_LINES: &[LogLine] = &[
    LogLine {
        writer: "either node, if it receives nothing for net_ticktime",
        releases: "all",
        text: "** Node b@h not responding **",
    },
    LogLine {
        writer: "either node, if it receives nothing for net_ticktime",
        releases: "all",
        text: "** Removing (timedout) connection **",
    },
];

/// The reason that it logs when the dialed node closed after `send_name`.
pub(super) const CLOSED_WITHOUT_STATUS: LogLine = LogLine {
    writer: "the dialing node, with net_kernel:verbose(1)",
    releases: "OTP 25 and older",
    text: "{net_kernel,{'EXIT',<0.87.0>,{recv_status_failed,{error,closed}}}}",
};

/// The reason that it logs when it was refused with a status.
pub(super) const REFUSED_BY_STATUS: LogLine = LogLine {
    writer: "the dialing node, with net_kernel:verbose(1)",
    releases: "OTP 25 and older",
    text: "{net_kernel,{'EXIT',<0.87.0>,{recv_status_failed,not_allowed}}}",
};

/// The reason that it logs when there was no port to connect to, or that port refused.
pub(super) const NO_LISTENER: LogLine = LogLine {
    writer: "the dialing node, with net_kernel:verbose(1)",
    releases: "OTP 25 and older",
    text: "{net_kernel,{'EXIT',<0.87.0>,shutdown}}",
};

/// The text of RabbitMQ's tools for [`SETUP_TIMED_OUT`].
pub(super) const RABBITMQ_TIMED_OUT: LogLine = LogLine {
    writer: "rabbitmqctl on the dialing host",
    releases: "all",
    text: "* TCP connection to remote host has timed out. Is the Erlang distribution using TLS?",
};

/// The text of RabbitMQ's tools for [`CLOSED_WITHOUT_STATUS`].
pub(super) const RABBITMQ_CLOSED: LogLine = LogLine {
    writer: "rabbitmqctl on the dialing host",
    releases: "all",
    text: "* Remote host closed TCP connection before completing authentication. Is the Erlang \
           distribution using TLS?",
};

/// The text of RabbitMQ's tools when EPMD gave a port and the connection to it failed.
pub(super) const RABBITMQ_NO_TCP: LogLine = LogLine {
    writer: "rabbitmqctl on the dialing host",
    releases: "all",
    text: "* can't establish TCP connection to the target node, reason: ...",
};

/// The notice of a node with TLS when the other side does not use TLS.
pub(super) const TLS_NOTICE: LogLine = LogLine {
    writer: "the dialed node, if it is the one with TLS",
    releases: "seen with OTP 25; state and place differ by release",
    text: "TLS server: In state hello at tls_record.erl:564 generated SERVER ALERT: Fatal - \
           Unexpected Message",
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules found for a text, sorted by name.
    fn found(text: &str) -> Vec<&'static str> {
        let mut rules: Vec<_> =
            search(text).iter().filter_map(|logged| Some(logged.doc?.rule)).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    const WRONG_COOKIE: &[&str] = &["cookie-mismatch"];
    const REFUSED_DIGEST: &[&str] = &["cookie-guessing", "cookie-mismatch", "unproven-name"];
    const COOKIE_OR_LIST: &[&str] = &["cookie-guessing", "cookie-mismatch", "not-allowed"];

    #[test]
    fn common_lines_name_rules_that_exist() {
        for rule in NOTES.iter().flat_map(|note| note.rules.iter().copied().flatten()) {
            assert!(docs().any(|doc| doc.rule == *rule), "{rule}");
        }
    }

    #[test]
    fn every_line_finds_itself_whatever_the_names() {
        for Logged { doc, line, note } in lines() {
            let text = line.text;
            let renamed = text.replace("a@h", "web-1@10.0.0.1").replace("b@h", "my_app@db.example");
            let logged = format!("2026-11-22T20:51:01Z host beam[77]: [error] {renamed}");
            for text in [text, &renamed, &logged, &text.to_uppercase(), &text.replace(' ', "\n   ")]
            {
                let is_it = |found: &Logged| match (doc, note) {
                    (Some(doc), _) => found.doc.is_some_and(|found| found.rule == doc.rule),
                    (None, note) => {
                        found.note.map(|found| found.meaning) == note.map(|note| note.meaning)
                    }
                };
                assert!(search(text).iter().any(is_it), "{line:?}: {text}");
            }
        }
    }

    #[test]
    fn a_fragment_is_enough() {
        for (text, rules) in [
            ("Connection attempt from disallowed node", COOKIE_OR_LIST),
            ("connection attempt from DISALLOWED", COOKIE_OR_LIST),
            ("Invalid challenge reply", REFUSED_DIGEST),
            ("rejected. Invalid challenge reply.", REFUSED_DIGEST),
            ("please check the Erlang cookie", WRONG_COOKIE),
            ("rejected since it cannot handle", &["version-mismatch"]),
            ("Cannot get connection id", &["same-name"]),
            ("recv_challenge_ack_failed", WRONG_COOKIE),
            ("not running at all", &["node-not-registered"]),
            ("epmd (port 4369)", &["epmd-unreachable"]),
        ] {
            assert_eq!(found(text), rules, "{text}");
        }
    }

    #[test]
    fn lines_of_real_logs_are_recognised() {
        for (text, rules) in [
            // The terminal output of OTP 25.
            (
                "=ERROR REPORT==== 22-Nov-2026::20:51:01.111935 ===\n** Connection attempt from \
                 node 'a1@127.0.0.1' rejected. Invalid challenge reply. **\n",
                REFUSED_DIGEST,
            ),
            // The console output of Elixir.
            (
                "20:51:07.675 [error] ** Connection attempt from node :\"a4@127.0.0.1\" rejected. \
                 Invalid challenge reply. **",
                REFUSED_DIGEST,
            ),
            (
                "[error] ** Connection attempt from node :a@h rejected. Invalid challenge reply.",
                REFUSED_DIGEST,
            ),
            // The journal, with a line wrapped by hand.
            (
                "Nov 22 20:51:01 web beam.smp[4711]: ** Connection attempt from node 'a@h.lan'\n\
                 Nov 22 20:51:01 web beam.smp[4711]:    rejected. Invalid challenge reply. **",
                REFUSED_DIGEST,
            ),
            // A line of a JSON log.
            (
                "{\"time\":\"2026-11-22T20:51:01Z\",\"level\":\"error\",\"msg\":\"** Connection \
                 attempt from node \\\"a@h\\\" rejected. Invalid\\nchallenge reply. **\\n\"}",
                REFUSED_DIGEST,
            ),
            // RabbitMQ's log, with its terminal colours.
            (
                "\u{1b}[38;5;160m2026-11-22 20:51:01.111935+00:00 [error] <0.2100.0> ** Connection \
                 attempt from node 'rabbitmqcli-99391-rabbit@warp10' rejected. Invalid challenge \
                 reply. **\u{1b}[0m",
                REFUSED_DIGEST,
            ),
            ("** Connection attempt from disallowed node a2@127.0.0.1 ** ", COOKIE_OR_LIST),
            (
                "** 'b@h.example': Connection attempt from node 'a@other.example' rejected since \
                 it cannot handle [\"V4_NC\",\n     \"UNLINK_ID\",\"HANDSHAKE_23\"].**",
                &["version-mismatch"],
            ),
            (
                "** b@h: Connection attempt to node c@h aborted since it cannot handle \
                 [\"V4_NC\"].**",
                &["version-mismatch"],
            ),
            (
                "** b@h: Connection attempt from node c@h rejected since it cannot handle extended \
                 references. **",
                &["version-mismatch"],
            ),
            (
                "2018-09-07 14:24:16.285 [error] pid=<0.58.0>\n** Cannot get connection id for \
                 node :example_api@mystique",
                &["same-name"],
            ),
            (
                "[notice] TLS :server: In state :hello at tls_record.erl:532 generated SERVER \
                 ALERT: Fatal - Unexpected Message\n - {:unsupported_record_type, 71}",
                &["not-distribution", "tls-mismatch"],
            ),
            (
                "=INFO REPORT==== 22-Nov-2026::20:51:02.251017 ===\n\
                 {net_kernel,{'EXIT',<0.87.0>,{recv_status_failed,not_allowed}}}",
                &["not-allowed", "version-mismatch"],
            ),
            (
                "rabbit@warp10:\n  * connected to epmd (port 4369) on warp10\n  * epmd reports \
                 node 'rabbit' running on port 25672\n  * TCP connection succeeded but Erlang \
                 distribution failed\n\n  * Authentication failed (rejected by the remote node), \
                 please check the Erlang cookie",
                WRONG_COOKIE,
            ),
            (
                "mq3-1  |   * unable to connect to epmd (port 4369) on broker: timeout (timed out)",
                &["epmd-unreachable"],
            ),
            (
                "  * epmd reports: node 'rabbit' not running at all\n    other nodes on h: [cli]",
                &["node-not-registered"],
            ),
            (
                "  * can't establish TCP connection to the target node, reason: timeout",
                &["dist-port-blocked", "stale-registration"],
            ),
            (
                "  * can\u{2019}t establish TCP connection, reason: econnrefused",
                &["dist-port-blocked", "stale-registration"],
            ),
        ] {
            assert_eq!(found(text), rules, "{text}");
        }
    }

    #[test]
    fn a_line_with_nodedown_matches_every_cause() {
        for text in [
            "Could not contact remote node my-app@fdaa:0:31d4:a5b:9d36:7c1e:f284:2, reason: \
             :nodedown. Aborting...",
            "Failed RPC connection to the node ejabberd@ns1: nodedown",
            "Failed RPC connection to the node 'ejabberd@coopens.com': nodedown",
            "10:14:54.324 [warn]  [libcluster:cluster] unable to connect to :\"node2@127.0.0.1\"",
            "{:badrpc, :nodedown}",
            "Error: unable to perform an operation on node 'rabbit@h'. Please see diagnostics \
             information and suggestions below.",
            "Node 'emqx@127.0.0.1' not responding to pings.",
            "2020-05-17T09:14:51.299676-06:00 warning: global: c@localhost failed to connect to \
             b@localhost",
            "'global' at c@localhost failed to connect to b@localhost",
        ] {
            let rules = found(text);
            for rule in ["cookie-mismatch", "node-not-registered", "dist-port-blocked"] {
                assert!(rules.contains(&rule), "{text}: {rules:?}");
            }
        }
        assert!(
            !found("TCP connection succeeded but Erlang distribution failed")
                .contains(&"epmd-unreachable")
        );
    }

    #[test]
    fn a_node_that_does_not_respond_may_be_silent_or_cut_off() {
        for line in ["** Node b@h not responding **", "** Removing (timedout) connection **"] {
            let rules = found(line);
            for rule in ["connection-lost", "tick-timeout"] {
                assert!(rules.contains(&rule), "{line}: {rules:?}");
            }
        }
    }

    #[test]
    fn other_lines_find_nothing() {
        for text in [
            "",
            "'a@h'",
            "4369",
            "** **",
            "hello world",
            "GenServer :foo terminating",
            "Connection reset by peer while reading from the node",
            "[info] Running MyAppWeb.Endpoint with Bandit 1.5.0 at 127.0.0.1:4000 (http)",
            "=SUPERVISOR REPORT==== Supervisor: {local,kernel_sup} Context: shutdown_error",
            "The connection to the database was closed. An attempt to connect failed.",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn names_numbers_and_punctuation_are_skipped() {
        for (text, expected) in [
            ("** 'a@h': node :\"b@h\" can't <0.87.0> **", "node cant"),
            ("{error,closed}", "error closed"),
            (r#"["V4_NC","UNLINK_ID"] inter-node tls_record.erl:564"#, "inter-node"),
            ("'not a name' \"nor this", "not name nor this"),
            ("rejected. Invalid", "rejected invalid"),
            ("epmd: ALIVE2_REQ from node01 at 4369", "epmd alive2_req from at"),
            (r"from\nnode\twith", "from node with"),
            ("\u{1b}[31mred\u{1b}[0m", ""),
        ] {
            assert_eq!(words(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn a_run_allows_few_other_words_and_skips_none() {
        for (known, sought, run) in [
            ("aa bb cc", "xx aa bb cc yy", 3),
            ("aa bb cc", "aa cc", 1),
            ("aa bb cc", "cc bb aa", 1),
            ("aa bb", "aa 1x xx xx xx xx bb", 2),
            ("aa bb", "aa xx xx xx xx xx bb", 1),
            ("aa aa", "aa", 1),
            ("aa bb cc", "aa xx xx xx xx bb bb cc", 3),
            ("aa", "", 0),
        ] {
            assert_eq!(longest_run(&words(known), &words(sought)), run, "{known} in {sought}");
        }
    }

    #[test]
    fn names_of_the_text_take_the_places_of_those_in_the_line() {
        let names_of = |text: &str| {
            let found = search(text);
            names(found.first().unwrap().line, text)
        };
        for (text, expected) in [
            (
                "** Connection attempt from node 'web-1@10.0.0.1' rejected. Invalid challenge reply. **",
                &[("a@h", "web-1@10.0.0.1")][..],
            ),
            (
                "root@db:~# tail log\n[error] ** Connection attempt from node :\"w@x\" rejected. Invalid challenge reply.",
                &[("a@h", "w@x")],
            ),
            (
                "** 'y@y.example': Connection attempt from node 'x@x.example' rejected since it cannot handle [\"V4_NC\"].**",
                &[("a@h", "x@x.example"), ("b@h", "y@y.example")],
            ),
            (
                "** y@y: Connection attempt to node x@x aborted since it cannot handle [\"V4_NC\"].**",
                &[("a@h", "y@y"), ("b@h", "x@x")],
            ),
            (
                "Could not contact remote node app@fdaa:0:31d4:a5b::2, reason: :nodedown. Aborting...",
                &[("b@h", "app@fdaa:0:31d4:a5b::2")],
            ),
            (
                "Failed RPC connection to the node ejabberd@ej1: nodedown",
                &[("b@h", "ejabberd@ej1")],
            ),
            ("{badrpc,nodedown}", &[]),
            ("** Hostname db.example is illegal **", &[("h", "db.example")]),
            ("** Nodename web illegal, no '@' character **", &[("b", "web")]),
            ("** Connection attempt from disallowed IP {10,0,0,7} **", &[("10.0.0.1", "10,0,0,7")]),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|(name, own)| (*name, (*own).to_owned())).collect();
            assert_eq!(names_of(text), expected, "{text}");
        }
        assert_eq!(names_in("@ a@ @b ''@'' x@y"), [("b", "x@y")]);
    }

    #[test]
    fn lines_with_a_note_are_found_in_real_logs() {
        for (text, words) in [
            (
                "** System NOT running to use fully qualified hostnames **\n** Hostname ex1.lan.test is illegal **",
                "short name",
            ),
            (
                "** System running to use fully qualified hostnames **\n** Hostname db is illegal **",
                "long name",
            ),
            (
                "2026-11-29 14:42:20.961834+00:00 [info] <0.445.0> node rabbit@rab2 down: net_tick_timeout",
                "net_ticktime",
            ),
            (
                "2026-11-29 14:55:12.878887+00:00 [info] <0.554.0> node rabbit@rab2 down: connection_closed",
                "closed the connection",
            ),
            (
                "2026-11-29 14:42:38.398548+00:00 [error] <0.263.0> Mnesia(rabbit@rab1): ** ERROR ** mnesia_event got \
                 {inconsistent_database, running_partitioned_network, rabbit@rab2}",
                "Mnesia does not merge",
            ),
            (
                "[warning] <0.446.0> epmd does not know us, re-registering rabbit at port 25672",
                "EPMD was restarted",
            ),
            (
                "[notice] <0.730.0> TLS client: In state wait_cert_cr at ssl_handshake.erl:2017 generated CLIENT ALERT: Fatal - \
                 Handshake Failure\n - {bad_cert,{hostname_check_failed,{requested,\"rab2\"},{received,[{dNSName,\"web9\"}]}}}",
                "not for the host that was dialed",
            ),
            (
                "[notice] TLS :client: In state :wait_cert at ssl_handshake.erl:2183 generated CLIENT ALERT: Fatal - \
                 Certificate Expired",
                "past its end date",
            ),
            (
                "TLS server: In state wait_cert received CLIENT ALERT: Fatal - Decrypt Error",
                "The other node refused",
            ),
            (
                "TLS client: In state certify at ssl_handshake.erl:1 generated CLIENT ALERT: Fatal - Unsupported Certificate",
                "This node refused",
            ),
            ("** Connection attempt from disallowed IP {10,0,0,7} **", "check_ip"),
            (
                "[libcluster:gossip] unable to connect to :\"app@10.0.0.2\": not part of network",
                "has no name",
            ),
            (
                "2026-11-29 14:57:01.666419+00:00 [info] Node ejabberd@ej2 has left our Mnesia S2S tables",
                "ended",
            ),
            ("** (EXIT) no connection to app@db.example", "ended"),
            (
                "[error] Failed to connect and authenticate to rabbit@rab1 in 60000 ms",
                "not reached",
            ),
            ("Can't set long node name!\nPlease check your configuration", "with a dot"),
            (
                "Cookie file /var/lib/rabbitmq/.erlang.cookie must be accessible by owner only",
                "Others may read",
            ),
        ] {
            let found = search(text);
            let note = found.first().and_then(|logged| logged.note);
            assert!(note.is_some_and(|note| note.meaning.contains(words)), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_complete_match_ranks_before_a_partial_one() {
        // Both contain the text, and the first has no other words.
        let whole = Likeness::of(&words("node not responding"), &words("node a@h not responding"));
        let part = words("node not responding to pings");
        assert!(whole > Likeness::of(&part, &words("node a@h not responding")));
    }

    #[test]
    fn search_time_grows_linearly_with_the_text() {
        let text = "Connection attempt from node ".repeat(4_000);
        assert!(!search(&text).is_empty());
        assert!(search(&"'".repeat(100_000)).is_empty());
    }
}
