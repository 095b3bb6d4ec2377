//! The targets of `fuzz/` without libFuzzer: every input of its corpora, and inputs that are made of them by small changes.
//! `scripts/fuzz` searches for longer, led by what each input reaches.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::{env, fs};

use crate::support::machine;
use crate::support::packets::Dice;

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a library of its own, in fuzz/")]
mod targets;

/// A target: the name of its folder, and its function.
type Target = (&'static str, fn(&[u8]));

const TARGETS: &[Target] = &[
    ("compare", targets::compare),
    ("decode", targets::decode),
    ("epmd", targets::epmd),
    ("erltf", targets::erltf),
    ("extract", targets::extract),
    ("facts", targets::facts),
    ("fast_decode", targets::fast_decode),
    ("handshake", targets::handshake),
    ("header", targets::header),
    ("merge", targets::merge),
    ("pcap_parser", targets::pcap_parser),
    ("pipeline", targets::pipeline),
    ("reader", targets::reader),
    ("reassembly", targets::reassembly),
    ("resegmented", targets::resegmented),
    ("terms", targets::terms),
    ("tls", targets::tls),
];

/// Changed inputs tried for each target, unless `BEAMSCOPE_FUZZ_ROUNDS` has another number.
const ROUNDS: u64 = 100;

#[test]
fn inputs_of_the_corpora_and_changed_ones_keep_every_promise() {
    let _others_wait = machine();
    let chosen = env::var("BEAMSCOPE_FUZZ_ROUNDS").ok();
    let rounds = chosen.map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut wrong = Vec::new();
    for (name, target) in TARGETS {
        let seeds = corpus(name);
        assert!(!seeds.is_empty(), "no corpus of {name}");
        let mut dice = Dice(0x5eed);
        let changed = (0..rounds).map(|_| changed(&seeds, &mut dice));
        let broken = seeds.iter().cloned().chain(changed).find(|input| is_broken(*target, input));
        wrong.extend(broken.map(|input| format!("{name}: {}", kept(name, &input))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn is_broken(target: fn(&[u8]), input: &[u8]) -> bool {
    panic::catch_unwind(AssertUnwindSafe(|| target(input))).is_err()
}

/// Writes an input that breaks a promise, for `scripts/fuzz`, and returns its path.
fn kept(name: &str, input: &[u8]) -> String {
    let path = env::temp_dir().join(format!("beamscope-fuzz-{name}"));
    fs::write(&path, input).unwrap();
    path.display().to_string()
}

/// One of the inputs with a few small changes.
fn changed(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = seeds[dice.roll(seeds.len())].clone();
    for _ in 0..1 + dice.roll(4) {
        let place = dice.roll(input.len() + 1);
        match dice.roll(7) {
            0 => input.truncate(place),
            1 => input.insert(place, dice.roll(256) as u8),
            2 => {
                let other = &seeds[dice.roll(seeds.len())];
                input.splice(place.., other[dice.roll(other.len() + 1)..].iter().copied());
            }
            3 => {
                let end = (place + dice.roll(16)).min(input.len());
                input.drain(place..end);
            }
            4 => {
                let len = 1 << dice.roll(3);
                let number = INTERESTING[dice.roll(INTERESTING.len())].to_be_bytes();
                let end = (place + len).min(input.len());
                input.splice(place..end, number[8 - len..].iter().copied());
            }
            5 => {
                let end = (place + dice.roll(64)).min(input.len());
                let part = input[place..end].to_vec();
                input.splice(place..place, part);
            }
            _ => {
                if let Some(byte) = input.get_mut(place) {
                    *byte ^= 1 << dice.roll(8);
                }
            }
        }
    }
    input
}

/// Numbers at which lengths and counts go wrong.
const INTERESTING: [u64; 9] = [0, 1, 4, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, u32::MAX as u64];
