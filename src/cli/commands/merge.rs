//! `beamscope merge`: what several sensors saw, as one run over everything would have it.
//!
//! In: files of observations, captures and extracts. Out: the events of a run over all of them. Captures are read together,
//! as one more sensor; the library joins the facts of all.

use beamscope::engine::Engine;
use beamscope::merge::{Part, merge};

#[cfg(feature = "nats")]
use super::follow::{FollowState, Following};
use super::merge_inputs::MergeInputs;
use super::{OpenOutputs, confined, finish_run};
use crate::cli::console::report_error;
use crate::cli::error::{Error, RunOutcome};
#[cfg(feature = "nats")]
use crate::cli::nats::MessageReader;
use crate::cli::place::Trusted;
use crate::cli::settings::MergeSettings;
#[cfg(feature = "nats")]
use crate::cli::settings::{NatsSettings, OutputSettings};
use crate::cli::sinks;
use crate::cli::sources::{self, MixedInput};

/// Joins the inputs.
///
/// # Errors
///
/// None of the inputs can be used, or the output cannot be written. An input that cannot be used, or in part only, is
/// reported, and the outcome is then `Incomplete`.
pub(in crate::cli) fn run(settings: MergeSettings) -> Result<RunOutcome, Error> {
    let MergeSettings {
        is_sandboxed,
        mut inputs,
        #[cfg(feature = "nats")]
        nats,
        #[cfg(feature = "nats")]
        follow,
        config,
        output: settings,
        fail_on,
    } = settings;
    #[cfg(feature = "nats")]
    let is_quiet = settings.warnings.are_off();
    #[cfg(feature = "nats")]
    let follows = follow.is_some();
    #[cfg(feature = "nats")]
    let start = |nats: NatsSettings| {
        MessageReader::start(&nats, is_quiet, follows).map(|reader| (reader, nats))
    };
    #[cfg(feature = "nats")]
    let published = nats.map(start).transpose()?;
    #[cfg(feature = "nats")]
    let state = follow.as_ref().map(FollowState::open).transpose()?;
    sources::check_opens(&inputs)?;
    let outputs = OpenOutputs::of_events(sinks::open_file(&settings, Trusted::default())?);
    let _confined = confined(is_sandboxed, &inputs, &outputs, None, false);
    // In one order, so that the numbers of captures do not depend on how they were named.
    inputs.sort();
    let limits = config.limits.merge;
    let mut reading = MergeInputs {
        parts: Vec::new(),
        left: limits.facts,
        unread: Vec::new(),
        has_failed: false,
    };
    let (mut captures, mut paths) = (Vec::new(), Vec::new());
    for path in &inputs {
        match sources::open(path) {
            MixedInput::Events(lines) => {
                reading.observations(path.display().to_string(), lines, Vec::new());
            }
            MixedInput::Capture(input) => {
                captures.push(input);
                paths.push(path.clone());
            }
        }
    }
    if !captures.is_empty() {
        reading.captures(captures, &paths, &config)?;
    }
    #[cfg(feature = "nats")]
    let published = match (published, follow, state) {
        (Some((published, _)), Some(follow), Some(state)) => {
            let form = OutputSettings { options: follow.options.clone(), ..settings.clone() };
            let output = sinks::open_output(&form, outputs.events, Vec::new())?;
            let following = Following::new(reading, config, &follow, state)?;
            return following.run(published, output, (&settings, &follow, fail_on));
        }
        (published, ..) => published,
    };
    #[cfg(feature = "nats")]
    if let Some((published, nats)) = published {
        reading.published(published, &nats, &limits)?;
    }
    let MergeInputs { parts, mut unread, has_failed, .. } = reading;
    if parts.is_empty() {
        return match unread.pop() {
            Some((error, _)) => Err(error),
            None => Err(Error::NoInput),
        };
    }
    let is_read = !has_failed && unread.is_empty();
    let is_complete = is_read && parts.iter().all(Part::is_complete);
    let merged = merge(parts, &limits);
    let output = sinks::open_output(&settings, outputs.events, merged.inputs)?;
    let mut engine = Engine::new(config, output);
    for (error, anomaly) in unread {
        report_error(&error, error.hint());
        engine.on_anomaly(anomaly);
    }
    merged.facts.into_iter().for_each(|fact| engine.push_fact(fact));
    finish_run(&settings, fail_on, engine.finish(), is_complete)
}
