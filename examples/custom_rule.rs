//! Adds a rule to those of the library: nodes whose names lack the prefix of the cluster.
//!
//! ```text
//! cargo run --example custom_rule -- prod_ trace.pcapng
//! ```

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};

use beamscope::capture::{Input, Inputs, Order};
use beamscope::detect::{Detection, Rule, RuleDoc};
use beamscope::drive;
use beamscope::engine::{Config, Engine};
use beamscope::judge::JudgedConnection;
use beamscope::judge::world::World;
use beamscope::observe::Role;
use beamscope::record::{Body, Severity};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let prefix = arguments.next().ok_or("expected a prefix of node names")?;
    run(prefix.into_string().map_err(|_| "expected text")?, arguments, &mut io::stdout())
}

/// Prints the findings of the rule in the captures at `paths`.
pub(crate) fn run(
    prefix: String,
    paths: impl IntoIterator<Item = OsString>,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let inputs = paths.into_iter().map(|path| Input::Path(path.into())).collect();
    let mut inputs = Inputs::new(inputs, Order::Time)?;
    let mut engine = Engine::new(Config::default(), Vec::new());
    engine.add_rule(Box::new(ForeignNode { prefix }));
    drive::run(&mut inputs, &mut engine, &mut ())?;
    for event in engine.finish() {
        match event.body {
            Body::Finding { finding } if finding.rule == DOC.rule => {
                writeln!(out, "{}", finding.title)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Finds nodes whose names do not begin with the prefix of the cluster.
struct ForeignNode {
    prefix: String,
}

/// Describes the rule, as `beamscope explain` describes those of the library.
const DOC: RuleDoc = RuleDoc {
    rule: "foreign-node",
    severity: Severity::Low,
    summary: "a node of another cluster connected",
    symptom: "an unexpected name in nodes()",
    meaning: "The name of the node does not begin as the names of this cluster do.",
    evidence: "The names that both nodes sent in the handshake.",
    lookalikes: "A remote shell chooses a name of its own.",
    log_lines: &[],
    remedy: &["Give the clusters different cookies."],
};

impl Rule for ForeignNode {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(
        &mut self,
        connection: &JudgedConnection,
        _: &World,
        detections: &mut Vec<Detection>,
    ) {
        for role in [Role::Initiator, Role::Acceptor] {
            let Some(name) = connection.name(role) else { continue };
            if name.starts_with(&self.prefix) {
                continue;
            }
            detections.push(Detection {
                title: format!("{name} is not a node of this cluster"),
                explanation: format!("Its name does not begin with {}.", self.prefix),
                remedy: DOC.remedy.iter().map(|&step| step.to_owned()).collect(),
                nodes: vec![name.clone()],
                // Further connections of the same node are one incident.
                parties: name.to_string(),
                ..Detection::new(&DOC)
            });
        }
    }
}
