//! Stage 3, beside [`names`](crate::names): questions before the first SYN that nothing answered.
//!
//! In: questions to name servers and for link addresses (ARP, neighbour discovery), and their answers. Out: those without
//! an answer. This stage knows no connection; a node whose question has no answer never sends a SYN.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::decode::Neighbour;
use crate::names::{NoAddress, Question, QuestionId, Unresolved};
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// A host that asked for another one of its own network, and got no answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NoNeighbour {
    /// The host that asked.
    pub asker: IpAddr,
    /// The host that it asked for.
    pub wanted: IpAddr,
    /// The packet with the first question.
    pub first: PacketRef,
    /// The packet with the last question.
    pub last: PacketRef,
    /// Number of questions that were asked.
    pub count: u32,
}

/// Questions that wait for their answer.
#[derive(Debug, Default)]
pub struct Questions {
    /// By the client, its port and identifier.
    names: HashMap<(IpAddr, QuestionId), Question, RandomState>,
    /// Keys of `names` with the time of the question, the oldest first.
    order: VecDeque<(Timestamp, (IpAddr, QuestionId))>,
    /// By the host that is asked for: one entry for each host that asks.
    neighbours: HashMap<IpAddr, Vec<NoNeighbour>, RandomState>,
    /// Keys of `neighbours`, the oldest first.
    wanted: VecDeque<IpAddr>,
    /// Start of the current second of the capture, and the questions in it.
    second: (Timestamp, u32),
}

impl Questions {
    /// A question to a name server. A copy of one that waits changes nothing.
    pub fn on_question(&mut self, question: Question, id: QuestionId) {
        if !self.has_time(question.mark.at) {
            return;
        }
        let key = (question.client, id);
        let known = self.names.get(&key);
        if known.is_some_and(|known| known.name == question.name && known.is_v6 == question.is_v6) {
            return;
        }
        self.order.push_back((question.mark.at, key));
        self.names.insert(key, question);
        if self.order.len() > MAX_NAMES
            && let Some((at, oldest)) = self.order.pop_front()
        {
            self.take(at, oldest);
        }
    }

    /// An answer to the question of a client with this identifier. Returns the question.
    pub fn on_answer(&mut self, client: IpAddr, id: QuestionId) -> Option<Question> {
        self.names.remove(&(client, id))
    }

    /// A message of ARP or neighbour discovery: its sender is there.
    pub fn on_neighbour(&mut self, message: &Neighbour) {
        let Some(sender) = message.sender else { return };
        self.neighbours.remove(&sender);
        let Some(wanted) = message.wanted else { return };
        if !self.has_time(message.at) {
            return;
        }
        let mark = PacketRef { frame: message.frame, at: message.at };
        if !self.neighbours.contains_key(&wanted) {
            self.wanted.push_back(wanted);
            if self.wanted.len() > MAX_NEIGHBOURS {
                self.wanted.pop_front().and_then(|oldest| self.neighbours.remove(&oldest));
            }
        }
        let asked = self.neighbours.entry(wanted).or_default();
        if let Some(known) = asked.iter_mut().find(|known| known.asker == sender) {
            known.last = mark;
            known.count = known.count.saturating_add(1);
        } else if asked.len() < MAX_ASKERS {
            asked.push(NoNeighbour { asker: sender, wanted, first: mark, last: mark, count: 1 });
        }
    }

    /// The questions to name servers that nothing has answered in `WAIT` before `now`.
    pub fn overdue(&mut self, now: Timestamp) -> Vec<Unresolved> {
        self.asked_before(now.before(WAIT))
    }

    /// The questions without an answer at the end of the input: those that had at least `SHORTEST_WAIT` for it, and
    /// those for neighbours that were repeated.
    pub fn at_end(&mut self, now: Timestamp) -> (Vec<Unresolved>, Vec<NoNeighbour>) {
        let names = self.asked_before(now.before(SHORTEST_WAIT));
        let mut neighbours = Vec::new();
        for wanted in std::mem::take(&mut self.wanted) {
            let asked = self.neighbours.remove(&wanted).unwrap_or_default();
            neighbours.extend(asked.into_iter().filter(NoNeighbour::was_repeated));
        }
        (names, neighbours)
    }

    fn asked_before(&mut self, latest: Timestamp) -> Vec<Unresolved> {
        let mut found = Vec::new();
        while self.order.front().is_some_and(|(at, _)| *at <= latest) {
            let Some((at, key)) = self.order.pop_front() else { break };
            let question = self.take(at, key);
            found.extend(question.map(|question| Unresolved {
                question,
                answer: None,
                reason: NoAddress::NoAnswer,
            }));
        }
        found
    }

    /// Removes the question that was asked at that time, unless its identifier was used again since.
    fn take(&mut self, at: Timestamp, key: (IpAddr, QuestionId)) -> Option<Question> {
        if self.names.get(&key)?.mark.at != at {
            return None;
        }
        self.names.remove(&key)
    }

    /// Whether there is time for a question at `at`: a flood of them must not take that of everything else.
    fn has_time(&mut self, at: Timestamp) -> bool {
        let (since, count) = &mut self.second;
        if at.since(*since) >= Duration::from_secs(1) || at < *since {
            (*since, *count) = (at, 0);
        }
        *count += 1;
        *count <= MAX_PER_SECOND
    }
}

impl NoNeighbour {
    /// Whether it was asked as often as a host does that gets no answer. Who does not see the answers sees one question:
    /// Linux repeats it every second, three times in all.
    fn was_repeated(&self) -> bool {
        self.count >= 3 && self.last.at.since(self.first.at) >= Duration::from_secs(1)
    }
}

/// Resolvers ask again after 2 to 5 s.
const WAIT: Duration = Duration::from_secs(5);

/// A name server answers within less than this, unless it has to ask others that are slow.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Questions to name servers that wait for an answer: those of five seconds of a busy host.
const MAX_NAMES: usize = 4096;

/// Hosts that are asked for at a time, and hosts that ask for one of them: a network with a few hosts that are down.
const MAX_NEIGHBOURS: usize = 1024;
const MAX_ASKERS: usize = 16;

/// Questions that are looked at in one second of the capture. A resolver of a large cluster has some hundred.
const MAX_PER_SECOND: u32 = 2000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::FrameRef;

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn at(ms: u64) -> PacketRef {
        let at = Timestamp::new(1000, 0).after(Duration::from_millis(ms));
        PacketRef { frame: FrameRef { input: 0, number: ms }, at }
    }

    fn ask(known: &mut Questions, ms: u64, id: u16, name: &str) {
        let question = Question {
            mark: at(ms),
            client: ip(1),
            server: ip(53),
            name: name.into(),
            is_v6: false,
        };
        known.on_question(question, (40_000, id));
    }

    fn names(found: &[Unresolved]) -> Vec<&str> {
        found.iter().map(|it| &*it.question.name).collect()
    }

    #[test]
    fn a_question_is_overdue_after_five_seconds_without_an_answer() {
        let mut known = Questions::default();
        ask(&mut known, 0, 1, "a.lan");
        ask(&mut known, 10, 2, "b.lan");
        assert!(known.on_answer(ip(1), (40_000, 2)).is_some());
        assert!(known.overdue(at(4999).at).is_empty());
        assert_eq!(names(&known.overdue(at(5100).at)), ["a.lan"]);
        assert!(known.overdue(at(9000).at).is_empty() && known.names.is_empty());
    }

    #[test]
    fn at_the_end_a_question_counts_that_had_the_time_for_an_answer() {
        let mut known = Questions::default();
        ask(&mut known, 0, 1, "a.lan");
        ask(&mut known, 0, 1, "a.lan");
        ask(&mut known, 1007, 2, "a.lan.lan");
        assert_eq!(names(&known.at_end(at(1007).at).0), ["a.lan"]);
    }

    #[test]
    fn an_identifier_that_is_used_again_is_another_question() {
        let mut known = Questions::default();
        ask(&mut known, 0, 1, "a.lan");
        ask(&mut known, 100, 1, "b.lan");
        assert!(known.on_answer(ip(1), (40_000, 1)).is_some());
        assert!(known.overdue(at(60_000).at).is_empty());
    }

    fn arp(known: &mut Questions, ms: u64, sender: u8, wanted: Option<u8>) {
        let PacketRef { frame, at } = at(ms);
        let (sender, wanted) = (Some(ip(sender)), wanted.map(ip));
        known.on_neighbour(&Neighbour { frame, at, sender, wanted });
    }

    fn neighbours(known: &mut Questions) -> Vec<(IpAddr, IpAddr, u32)> {
        let found = known.at_end(at(60_000).at).1;
        found.into_iter().map(|it| (it.asker, it.wanted, it.count)).collect()
    }

    #[test]
    fn a_neighbour_that_is_asked_for_three_times_does_not_answer() {
        let mut known = Questions::default();
        for ms in [0, 1000, 2000] {
            arp(&mut known, ms, 1, Some(2));
            arp(&mut known, ms, 1, Some(3));
        }
        arp(&mut known, 2001, 3, None);
        assert_eq!(neighbours(&mut known), [(ip(1), ip(2), 3)]);
        // Of others only the questions are seen, and one question is no sign.
        for asker in 5..15 {
            arp(&mut known, 10, asker, Some(2));
        }
        for ms in [0, 10, 20] {
            arp(&mut known, ms, 4, Some(9));
        }
        assert!(neighbours(&mut known).is_empty(), "copies of one packet are no repetition");
    }

    #[test]
    fn a_flood_of_questions_is_not_kept() {
        let mut known = Questions::default();
        for id in 0..60_000 {
            ask(&mut known, u64::from(id) / 100, id, "a.lan");
            arp(&mut known, u64::from(id) / 100, 1, Some((id % 200) as u8));
        }
        assert!(known.names.len() <= MAX_PER_SECOND as usize);
        assert_eq!(known.names.len(), known.order.len());
        for ms in 0..20_000 {
            ask(&mut known, 1000 * ms, (ms % 60_000) as u16, "a.lan");
        }
        assert!(known.order.len() <= MAX_NAMES && known.names.len() <= MAX_NAMES);
    }
}
