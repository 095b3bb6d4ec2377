//! Problems of one cause together.
//!
//! In: the problems of a report, the worst first. Out: groups with one remedy each, in the same order.

use std::collections::HashMap;

use super::Problem;
use crate::render::words::count;

/// Problems with one rule and one remedy.
pub(in crate::render) struct ProblemGroup<'a> {
    /// The title of the only problem, or how many there are of which kind.
    pub(in crate::render) heading: String,
    pub(in crate::render) rule: &'static str,
    pub(in crate::render) remedy: &'a [String],
    pub(in crate::render) problems: Vec<&'a Problem>,
}

/// The problems by rule and remedy; each group at the place of its first problem.
pub(in crate::render) fn grouped_by_cause(problems: &[Problem]) -> Vec<ProblemGroup<'_>> {
    let mut places: HashMap<(&str, &[String]), usize> = HashMap::new();
    let mut groups: Vec<ProblemGroup<'_>> = Vec::new();
    for problem in problems {
        let (rule, remedy) = (problem.finding.rule, problem.finding.remedy.as_slice());
        let place = *places.entry((rule, remedy)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.problems.push(problem),
            None => groups.push(ProblemGroup {
                heading: String::new(),
                rule,
                remedy,
                problems: vec![problem],
            }),
        }
    }
    for group in &mut groups {
        group.heading = match group.problems.as_slice() {
            [one] => one.finding.title.clone(),
            several => {
                format!("{} of one cause: {}", count(several.len() as u64, "problem"), group.rule)
            }
        };
    }
    groups
}
