//! The name by which a node is distinguished from others.
//!
//! A node is known by its name. A command-line tool starts a hidden node with a new name at each call: the names that
//! one kind of tool uses on one host are one identity, written with `*` in place of what changes.

use std::sync::Arc;

use crate::observe::{DistFlags, HandshakeFacts, Observation, Role};

/// The label of a node: its name, or the pattern of the names that its kind uses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The name or the pattern.
    pub label: Arc<str>,
    /// Whether it is a tool, which has a new name each time that it is started.
    pub is_tool: bool,
}

impl Identity {
    /// The identity of the side in this role, if its name was seen.
    pub fn of(seen: &Observation, role: Role) -> Option<Self> {
        Self::from_handshake(&seen.handshake, role)
    }

    fn from_handshake(handshake: &HandshakeFacts, role: Role) -> Option<Self> {
        let (name, _) = handshake.name(role)?;
        let pattern = match handshake.hello(role).map(|hello| hello.what.flags) {
            Some(flags) if role == Role::Initiator && flags.contains(DistFlags::NAME_ME) => {
                name.split_once('@').map(|(_, host)| format!("*@{host}"))
            }
            // A visible node is a member of the mesh, whatever its name looks like.
            Some(flags) if !flags.contains(DistFlags::PUBLISHED) => tool_pattern(name),
            _ => None,
        };
        Some(match pattern {
            Some(pattern) => Self { label: pattern.into(), is_tool: true },
            None => Self { label: Arc::clone(name), is_tool: false },
        })
    }
}

/// Whether a node with this name and these flags is a command-line tool.
pub(super) fn is_tool(name: &str, flags: DistFlags) -> bool {
    !flags.contains(DistFlags::PUBLISHED) && tool_pattern(name).is_some()
}

/// The pattern of a name that a command-line tool made up, or `None`.
///
/// `rabbitmqctl` and the like (`RabbitMQ.CLI.Core.Distribution`), `ejabberdctl` (its function `uid`), releases of Elixir
/// (`rpc` and `remote` of the start script of `mix release`), releases made with relx and Distillery (`relx_gen_id`,
/// `nodetool`).
fn tool_pattern(name: &str) -> Option<String> {
    let (alive, host) = name.split_once('@')?;
    let pattern = after_prefix(alive).or_else(|| before_suffix(alive))?;
    Some(format!("{pattern}@{host}"))
}

/// The pattern of a name such as `rabbitmqcli-527-rabbit`: a known word, a number, and the rest.
fn after_prefix(alive: &str) -> Option<String> {
    PREFIXES.iter().find_map(|Prefix { word, digits, rest }| {
        let behind = alive.strip_prefix(word)?;
        let end = behind.find(|c: char| !digits.fits(c)).unwrap_or(behind.len());
        let (number, tail) = behind.split_at_checked(end)?;
        let is_number = (1..=MAX_DIGITS).contains(&number.len());
        (is_number && rest.fits(tail)).then(|| format!("{word}*{tail}"))
    })
}

/// The pattern of a name such as `782-ping`, `70b-ctl-ejabberd` or `app_maint_4711`.
fn before_suffix(alive: &str) -> Option<String> {
    if let Some((id, tail)) = alive.split_at_checked(3) {
        let is_id = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_tail = tail == "-ping" || tail.starts_with("-ctl-") || tail.starts_with("-debug-");
        if is_id && is_tail {
            return Some(format!("*{tail}"));
        }
    }
    let (head, number) = alive.rsplit_once("_maint_").or_else(|| alive.rsplit_once("_remsh_"))?;
    let word = alive.get(..alive.len() - number.len())?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !head.is_empty()).then(|| format!("{word}*"))
}

/// A word that a tool puts before a number in its name.
struct Prefix {
    word: &'static str,
    digits: Digits,
    rest: Rest,
}

/// The digits of the number.
#[derive(Clone, Copy)]
enum Digits {
    Decimal,
    Hex,
}

impl Digits {
    const fn fits(self, c: char) -> bool {
        match self {
            Self::Decimal => c.is_ascii_digit(),
            Self::Hex => c.is_ascii_hexdigit(),
        }
    }
}

/// What follows the number.
#[derive(Clone, Copy)]
enum Rest {
    /// A dash, and the alive name of the node that the tool is for.
    Node,
    /// The same, or nothing.
    NodeOrNothing,
}

impl Rest {
    fn fits(self, tail: &str) -> bool {
        match (self, tail.strip_prefix('-')) {
            (_, Some(node)) => !node.is_empty(),
            (Self::NodeOrNothing, None) => tail.is_empty(),
            (Self::Node, None) => false,
        }
    }
}

const fn prefix(word: &'static str, digits: Digits, rest: Rest) -> Prefix {
    Prefix { word, digits, rest }
}

#[rustfmt::skip] // a table reads best as a table
const PREFIXES: [Prefix; 10] = [
    prefix("rabbitmqcli-",  Digits::Decimal, Rest::Node),
    prefix("rabbitmq-cli-", Digits::Decimal, Rest::NodeOrNothing),
    prefix("ctl-",          Digits::Decimal, Rest::Node),
    prefix("rem-",          Digits::Hex,     Rest::NodeOrNothing),
    prefix("rpc-",          Digits::Hex,     Rest::NodeOrNothing),
    prefix("remsh",         Digits::Hex,     Rest::Node),
    prefix("maint",         Digits::Hex,     Rest::Node),
    prefix("rpc",           Digits::Hex,     Rest::Node),
    prefix("eval",          Digits::Hex,     Rest::Node),
    prefix("longname",      Digits::Hex,     Rest::Node),
];

/// The longest number that a tool puts into its name: 8 hex digits, or a process id of up to 10 digits.
const MAX_DIGITS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{dial, mark};
    use crate::observe::StatusText;

    /// The label of a node of this name with these flags.
    fn label(name: &str, flags: u64) -> String {
        let dial = dial(0, &format!("{name}/10.0.0.1/1"), "b@h2/10.0.0.2/2");
        let seen = dial.flags(flags, 0xd_07df_7fbd).judged().seen;
        Identity::of(&seen, Role::Initiator).unwrap().label.to_string()
    }

    const HIDDEN: u64 = 0xd_07df_7fbc;

    #[test]
    fn the_names_of_one_tool_on_one_host_are_one_identity() {
        for (name, expected) in [
            ("rabbitmqcli-527-rabbit@rab1", "rabbitmqcli-*-rabbit@rab1"),
            ("rabbitmqcli-32763-my-rabbit@rab1.lan", "rabbitmqcli-*-my-rabbit@rab1.lan"),
            ("rabbitmq-cli-12@rab1", "rabbitmq-cli-*@rab1"),
            ("782-ping@ej2", "*-ping@ej2"),
            ("70b-ctl-ejabberd@ej2", "*-ctl-ejabberd@ej2"),
            ("ctl-3-ejabberd@ej2", "ctl-*-ejabberd@ej2"),
            ("rem-1f0c-shop@h", "rem-*-shop@h"),
            ("rpc-9a2e-shop@h", "rpc-*-shop@h"),
            ("remsh0011aabb-shop@h", "remsh*-shop@h"),
            ("maint0011aabb-shop@h", "maint*-shop@h"),
            ("shop_maint_4711@h", "shop_maint_*@h"),
        ] {
            assert_eq!(label(name, HIDDEN), expected);
        }
    }

    #[test]
    fn other_names_and_visible_nodes_are_nodes_of_their_own() {
        for name in [
            "rem@h",
            "rabbit@rab1",
            "debug@h",
            "worker-1@h",
            "con1@h",
            "rabbitmqcli-x-rabbit@h",
            "rem-shop@h",
            "abc-pingpong@h",
            "ctl-1@h",
            "maintenance@h",
            "_maint_4@h",
            "rpc-server@h",
            "evaluator@h",
            "c17@h1",
            "rem-123456789abcdef@h",
        ] {
            assert_eq!(label(name, HIDDEN), name);
        }
        assert_eq!(label("rem-1f0c-shop@h", HIDDEN | 1), "rem-1f0c-shop@h");
    }

    #[test]
    fn nodes_with_an_assigned_name_are_one_identity_on_each_host() {
        let dial = dial(0, "h1/10.0.0.1/0", "b@h2/10.0.0.2/2").flags(0x6_0707_4f9c, 0xd_07df_7fbd);
        let mut judged = dial.judged();
        judged.status(mark(1), "ok");
        let named = StatusText::Named("1IFAK6L49K3AT@h1".into(), None, 7);
        judged.seen.handshake.status.as_mut().unwrap().what = named;
        let identity = Identity::of(&judged.seen, Role::Initiator).unwrap();
        assert_eq!((&*identity.label, identity.is_tool), ("*@h1", true));
    }
}
