//! The record of one connection: the verdict, and everything that goes with it.

use std::sync::Arc;

use super::digest::short_id;
use super::dist::handshake::{Exchange, Hello};
use super::dist::{DirectionState, Distribution};
use super::facts::{Facts, Question};
use super::tls;
use super::verdict::{Case, CookieTest, Verdict, judge};
use super::{ConnContext, ConnOutput, Connection, Now, ReportReason, Talk};
use crate::flow::Direction;
use crate::packet::PacketRef;
use crate::record::{
    Abilities, AlertSays, Anomaly, AnomalyKind, Body, CloseKind, Confidence, ConnectionIds, Flowed,
    Ground, Hex, HostClue, Implementation, Lookup, Orientation, Outcome, Party, Role, Session,
    SessionSeen, Stall, State, TlsAlert, Traffic, Wanted,
};
use crate::stream::tcp::{ClosedWindow, ClosingFlag, Opened};
use crate::time::micros;
use crate::wire::flags::DistFlags;

/// What of a record is compared to see whether telling it again says anything new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Told {
    pub(super) outcome: Outcome,
    state: State,
    closed_by: Option<Role>,
    bytes: u64,
}

impl Connection {
    /// The names of this connection, settled when its first line is written.
    pub(super) fn ids(&mut self) -> Arc<ConnectionIds> {
        if let Some(ids) = &self.ids {
            return Arc::clone(ids);
        }
        let originator = self.originator();
        let (src, dst) = (self.end(originator), self.end(originator.reverse()));
        let isn = |direction: Direction| {
            self.tcp.side(direction).syn.map_or_else(String::new, |syn| syn.isn.0.to_string())
        };
        let text = format!(
            "{},{},{},{},{},{}",
            src.ip,
            src.port,
            dst.ip,
            dst.port,
            isn(originator),
            isn(originator.reverse())
        );
        let ids = Arc::new(ConnectionIds {
            session_id: short_id(&text),
            community_id: community_id(src, dst).into(),
            src_ip: src.ip,
            src_port: src.port,
            dest_ip: dst.ip,
            dest_port: dst.port,
            proto: "TCP",
            encap: self.encap.clone(),
        });
        self.ids = Some(Arc::clone(&ids));
        ids
    }

    /// Who opened the TCP connection: by its SYN, else the Erlang side that would have.
    fn originator(&self) -> Direction {
        let by_reset = || Some(self.tcp.lone_reset()?.0.reverse());
        let by_role = match &self.talk {
            Talk::Epmd(talk) => Some(talk.requester()),
            Talk::Distribution(talk) => talk.initiator().map(|(initiator, _)| initiator),
        };
        self.tcp.originator().or(by_role).or_else(by_reset).unwrap_or(Direction::LowToHigh)
    }

    /// Tells the session whose handshake has just completed.
    pub(super) fn tell_established(
        &mut self,
        now: Now,
        setting: &ConnContext<'_>,
        said: &mut ConnOutput,
    ) {
        let Some(mut record) = self.record(now, setting) else { return };
        if record.outcome == Outcome::Connected {
            record.state = State::Established;
            record.closed_by = None;
            record.close = None;
            said.push(Body::Session { session: Box::new(record) });
        }
    }

    /// Tells the established session one side of which has fallen silent with its packet `last`.
    pub(super) fn tell_silence(
        &mut self,
        now: Now,
        silent: Direction,
        last: PacketRef,
        setting: &ConnContext<'_>,
        said: &mut ConnOutput,
    ) {
        let Talk::Distribution(talk) = &self.talk else { return };
        let (initiator, _) =
            talk.initiator().unwrap_or_else(|| (self.originator(), Orientation::Guess));
        let Some(mut record) = self.record(now, setting) else { return };
        if record.outcome == Outcome::Connected && record.state == State::Open {
            record.state = State::Established;
            let role = if silent == initiator { Role::Initiator } else { Role::Acceptor };
            record.seen.silent = Some((role, last));
            said.push(Body::Session { session: Box::new(record) });
        }
    }

    /// Tells the connection as it stands, unless that was told already.
    pub(super) fn tell(
        &mut self,
        now: Now,
        why: ReportReason,
        setting: &ConnContext<'_>,
        said: &mut ConnOutput,
    ) {
        for direction in [Direction::LowToHigh, Direction::HighToLow] {
            let Self { tcp, transport, talk, .. } = &mut *self;
            let opening = tcp.originator().is_some();
            tcp.finish(direction, &mut |chunk| {
                transport.on_chunk(direction, &chunk, opening, &mut |chunk| {
                    talk.on_chunk(direction, chunk, opening, setting, said);
                });
            });
        }
        let Self { tcp, talk, .. } = &mut *self;
        match talk {
            Talk::Epmd(talk) => talk.on_end(tcp, now, why, setting.facts.lost_until(), said),
            Talk::Distribution(_) => {}
        }
        let Some(mut record) = self.record(now, setting) else { return };
        if record.seen.is_pending && why == ReportReason::Over {
            return;
        }
        if record.state == State::Open {
            record.close = Some(if why == ReportReason::Quiet {
                CloseKind::Idle
            } else {
                CloseKind::InputEnd
            });
        }
        let told = Told {
            outcome: record.outcome,
            state: record.state,
            closed_by: record.closed_by,
            bytes: record.traffic.initiator.bytes + record.traffic.acceptor.bytes,
        };
        if self.told == Some(told) {
            return;
        }
        self.tell_damage(said);
        record.seen.again = self.told.is_some_and(|before| before.outcome == told.outcome);
        self.told = Some(told);
        said.push(Body::Session { session: Box::new(record) });
    }

    /// Tells, once, what of the streams is missing or came in two versions.
    fn tell_damage(&mut self, said: &mut ConnOutput) {
        let (gaps, bytes) = self.gaps();
        let conflicts = [Direction::LowToHigh, Direction::HighToLow]
            .map(|direction| self.tcp.side(direction).stream.conflicts())
            .iter()
            .sum::<u64>();
        if gaps + conflicts == 0 || std::mem::replace(&mut self.damage_told, true) {
            return;
        }
        let found = [
            (gaps, AnomalyKind::Gap, format!("{bytes} bytes in {gaps} gaps were not captured")),
            (
                conflicts,
                AnomalyKind::OverlapConflict,
                format!("{conflicts} segments differ from what came before; the first is believed"),
            ),
        ];
        for (_, kind, detail) in found.into_iter().filter(|(count, ..)| *count > 0) {
            said.push(Body::Anomaly { anomaly: Box::new(Anomaly::new(kind, detail)) });
        }
    }

    fn record(&mut self, now: Now, setting: &ConnContext<'_>) -> Option<Session> {
        if let Talk::Distribution(talk) = &mut self.talk {
            talk.catch_up();
        }
        let Talk::Distribution(talk) = &self.talk else { return None };
        let guessed = (self.originator(), Orientation::Guess);
        let (initiator, orientation) = talk.initiator().unwrap_or(guessed);
        let acceptor = initiator.reverse();
        let exchange = &talk.exchange;
        let close = self.tcp.first_close();
        let opened = self.tcp.opened();
        let refused = opened.refused();
        let initiator_name = exchange.initiator_name().map(|(name, _)| Arc::clone(name));
        let acceptor_name = exchange.challenge.as_ref().map(|said| Arc::clone(&said.what.name));
        let facts = setting.facts.facts(&Question {
            initiator: self.end(initiator).ip,
            acceptor: self.end(acceptor),
            opened: self.tcp.first().at,
            closed: close.map_or(now.at, |close| close.mark.at),
            initiator_name: initiator_name.as_deref(),
            acceptor_name: acceptor_name.as_deref(),
        });
        let cookies = CookieTest {
            reply: exchange.reply_cookie(setting.cookies),
            ack: exchange.ack_cookie(setting.cookies),
        };
        let voices = [talk.voice(initiator), talk.voice(acceptor)];
        let tls_facts = [initiator, acceptor].map(|direction| self.transport.tls(direction));
        let case = Case {
            tcp: &self.tcp,
            exchange,
            facts: &facts,
            initiator,
            frames: voices.map(DirectionState::frames),
            foreign: voices.map(|voice| voice.foreign.is_some()),
            tls: tls_facts.map(|facts| facts.map(|facts| facts.sign.0)),
            cookies: &cookies,
            now: now.at,
            lost: setting.facts.lost_until(),
        };
        let mut verdict = judge(&case);
        let refusal = tls::refusal(&case, tls_facts);
        let wanted = DialTarget::of(facts, exchange, verdict.outcome);
        if wanted.is_answered && verdict.confidence == Confidence::Likely {
            // The close is a name mismatch's, and the names are equal as far as anything tells.
            verdict.confidence = Confidence::Possible;
        }
        let role = |direction: Direction| {
            if direction == initiator { Role::Initiator } else { Role::Acceptor }
        };
        let (closed_by, close_kind) = match opened {
            Opened::Reset(_) => (Some(Role::Acceptor), Some(CloseKind::Rst)),
            Opened::Unreachable(_) => (None, None),
            _ => (close.and_then(|c| c.by).map(role), close.map(|c| c.kind.into())),
        };
        let is_closed = close.is_some() || refused.is_some();
        let flowed = |direction: Direction| {
            let (stream, voice) = (&self.tcp.side(direction).stream, talk.voice(direction));
            Flowed {
                bytes: stream.bytes(),
                missing_bytes: self.tcp.missing(direction),
                retransmitted_bytes: stream.retransmitted(),
                messages: voice.speech.messages(),
                ticks: voice.speech.ticks(),
            }
        };
        let turned = initiator != self.originator();
        let address = |direction: Direction| {
            let end = self.end(direction);
            if turned { (Some(end.ip), Some(end.port)) } else { (None, None) }
        };
        let (initiator_ip, initiator_port) = address(initiator);
        let (acceptor_ip, acceptor_port) = address(acceptor);
        let party = |hello: Option<&Hello>| {
            hello.map_or_else(Party::default, |hello| Party {
                version: Some(hello.version),
                flags: Some(Hex(hello.flags.0)),
                creation: hello.creation,
                abilities: Some(abilities(hello.flags)),
                otp_at_least: hello.flags.otp_at_least(),
                ..Party::default()
            })
        };
        let named = exchange.initiator_name();
        let said_name = exchange.send_name.as_ref().map(|said| &said.what);
        let said_challenge = exchange.challenge.as_ref().map(|said| &said.what);
        Some(Session {
            protocol: verdict.protocol,
            state: if is_closed { State::Closed } else { State::Open },
            outcome: verdict.outcome,
            confidence: verdict.confidence,
            not_excluded: verdict.not_excluded.iter().map(ToString::to_string).collect(),
            detected_by: verdict.detected_by,
            orientation,
            initiator: Party {
                node: initiator_name,
                node_hex: named.and_then(|(_, hex)| hex.cloned()),
                cookie: cookies.reply.flatten(),
                ip: initiator_ip,
                port: initiator_port,
                ..party(said_name)
            },
            acceptor: Party {
                node: acceptor_name,
                node_hex: said_challenge.and_then(|hello| hello.name_hex.clone()),
                cookie: cookies.ack.flatten(),
                ip: acceptor_ip,
                port: acceptor_port,
                ..party(said_challenge)
            },
            reached: exchange.reached().map(|kind| kind.name()),
            wanted: wanted.told(),
            closed_by,
            close: close_kind,
            lookup: wanted.lookup,
            handshake_us: exchange
                .send_name
                .as_ref()
                .zip(exchange.ack.as_ref())
                .map(|(from, to)| micros(to.mark.at.since(from.mark.at))),
            duration_us: micros(self.tcp.last().at.since(self.tcp.first().at)),
            traffic: Traffic { initiator: flowed(initiator), acceptor: flowed(acceptor) },
            messages: talk.messages(initiator, &self.tcp).map(Box::new),
            seen: {
                let seen = self.seen(talk, initiator, &verdict, refused);
                let tls_alert = seen.tls_alert.or(refusal);
                SessionSeen { host_clue: wanted.host, tls_alert, ..seen }
            },
        })
    }

    fn seen(
        &self,
        talk: &Distribution,
        initiator: Direction,
        verdict: &Verdict,
        refused: Option<PacketRef>,
    ) -> SessionSeen {
        let exchange = &talk.exchange;
        let (from, to) = (self.tcp.side(initiator), self.tcp.side(initiator.reverse()));
        let close = refused.or_else(|| self.tcp.first_close().map(|close| close.mark));
        let last_word = [
            exchange.send_name.as_ref().map(|said| said.mark),
            exchange.answer.as_ref().map(|said| said.mark),
            exchange.challenge.as_ref().map(|said| said.mark),
            exchange.reply.as_ref().map(|said| said.mark),
            to.syn.map(|syn| syn.mark),
        ];
        let last_word = last_word.into_iter().flatten().map(|mark| mark.at);
        let before = |at: &crate::time::Timestamp| close.is_none_or(|close| *at <= close.at);
        let last_word = last_word.filter(before).max();
        let sides = [(initiator, Role::Initiator), (initiator.reverse(), Role::Acceptor)];
        let tls = sides.into_iter().find_map(|(direction, role)| {
            let (_, mark) = self.transport.tls(direction)?.sign;
            Some((role, mark))
        });
        let alerts = sides.into_iter().filter_map(|(direction, from)| {
            let (description, mark) = self.transport.tls(direction)?.fatal?;
            Some(TlsAlert { from, mark, says: AlertSays::Number(description) })
        });
        SessionSeen {
            syn: from.syn.map(|syn| syn.mark),
            syns: from.syn.map_or(0, |syn| syn.count),
            syn_ack: to.syn.map(|syn| syn.mark),
            send_name: exchange.send_name.as_ref().map(|said| said.mark),
            status: exchange.answer.as_ref().map(|s| (s.mark, s.what.text().to_owned())),
            alive_reply: exchange.alive_reply.as_ref().map(|said| (said.mark, said.what)),
            challenge: exchange.challenge.as_ref().map(|said| said.mark),
            challenge_reply: exchange.reply.as_ref().map(|said| said.mark),
            odd_challenge: exchange.odd_challenge(),
            challenge_ack: exchange.ack.as_ref().map(|said| said.mark),
            close,
            last: Some(self.tcp.last()),
            is_answer: self.tcp.first_close().is_some_and(|close| close.is_answer),
            closed_at: [from, to].map(|side| side.closed_at()),
            fin_unseen: [initiator, initiator.reverse()]
                .map(|direction| self.tcp.fin_unseen(direction)),
            last_bytes: [from, to]
                .map(|side| side.last_bytes(close.unwrap_or_else(|| self.tcp.last()).at)),
            last_segment: [from.last(), to.last()],
            unanswered: [from.unanswered(), to.unanswered()],
            silent: None,
            corrupt: talk.corrupt(initiator),
            tick_period_us: [initiator, initiator.reverse()]
                .map(|direction| talk.voice(direction).speech.tick_period().map(micros)),
            stalls: [from, to].map(|side| side.longest_closed_window().map(Into::into)),
            silence_us: close
                .zip(last_word)
                .map_or(0, |(close, word)| micros(close.at.since(word))),
            icmp: self.tcp.icmp().map(|icmp| (icmp.kind, icmp.code, icmp.reporter)),
            missing_flags: verdict.missing_flags.names().map(|n| n.into_owned()).collect(),
            foreign: talk.foreign(initiator),
            tls,
            tls_alert: alerts.min_by_key(|alert| alert.mark.at),
            owed: verdict.owed,
            host_clue: None,
            again: false,
            is_pending: verdict.is_pending,
        }
    }
}

impl From<ClosingFlag> for CloseKind {
    fn from(flag: ClosingFlag) -> Self {
        match flag {
            ClosingFlag::Fin => Self::Fin,
            ClosingFlag::Rst => Self::Rst,
        }
    }
}

impl From<ClosedWindow> for Stall {
    fn from(window: ClosedWindow) -> Self {
        Self { since: window.since, lasted_us: window.lasted_us, spoke: window.sent_bytes }
    }
}

/// What the initiator was after.
struct DialTarget {
    lookup: Option<Lookup>,
    host: Option<HostClue>,
    /// It closed over the name of a node that has, as far as the capture tells, the one it dialed.
    is_answered: bool,
}

impl DialTarget {
    fn of(facts: Facts, exchange: &Exchange, outcome: Outcome) -> Self {
        let Facts { lookup, hosts, .. } = facts;
        if outcome == Outcome::Connected || exchange.reply.is_some() {
            // It took the name that it was given: guesses have nothing to add.
            return Self { lookup, host: None, is_answered: false };
        }
        let answered = exchange.challenge.as_ref().and_then(|said| said.what.name.split_once('@'));
        let is_answered = |clue: &HostClue| {
            let asked = lookup.as_ref().map(|lookup| &*lookup.asked);
            outcome == Outcome::NameMismatch
                && answered.is_some_and(|(alive, host)| Some(alive) == asked && host == &*clue.host)
        };
        // What is no more than a habit is refuted by the close.
        let is_firm = |clue: &HostClue| matches!(clue.ground, Ground::Dns { .. });
        let host = hosts.into_iter().find(|clue| is_firm(clue) || !is_answered(clue));
        let is_answered = host.as_ref().is_some_and(is_answered);
        Self { lookup, host, is_answered }
    }

    fn told(&self) -> Option<Wanted> {
        let Self { lookup, host, .. } = self;
        let rests_on = lookup.iter().map(|_| "epmd");
        let rests_on: Vec<_> = rests_on.chain(host.iter().map(|clue| clue.ground.name())).collect();
        (!rests_on.is_empty()).then(|| Wanted {
            alive: lookup.as_ref().map(|lookup| Arc::clone(&lookup.asked)),
            host: host.as_ref().map(|clue| Arc::clone(&clue.host)),
            rests_on,
        })
    }
}

pub(crate) fn abilities(flags: DistFlags) -> Abilities {
    Abilities {
        published: flags.contains(DistFlags::PUBLISHED),
        names: flags.contains(DistFlags::NAME_ME),
        answers_whole: flags.contains(DistFlags::HANDSHAKE_23),
        implementation: match () {
            () if flags.is_vm() => Implementation::Vm,
            () if flags.is_c_node() => Implementation::CNode,
            () => Implementation::JavaNode,
        },
        otp_at_most: flags.otp_at_most(),
        accepted_up_to: flags.accepted_up_to().map(|(release, missing)| {
            (release, missing.names().map(|name| name.into_owned()).collect())
        }),
    }
}

fn community_id(src: crate::decode::Endpoint, dst: crate::decode::Endpoint) -> String {
    const TCP: u8 = 6;
    community_id::calculate_community_id(
        0,
        src.ip,
        dst.ip,
        Some(src.port),
        Some(dst.port),
        TCP,
        Default::default(),
    )
    .unwrap_or_default()
}
