//! A minute of what `scripts/soak` does to a live program for longer: short connections, floods of
//! SYNs, junk on the ports of nodes and of the port mapper.

use crate::support::script;

#[test]
fn a_minute_of_floods_and_junk_does_no_harm() {
    let soak = ["scripts/faults/soak.py", "--beamscope", env!("CARGO_BIN_EXE_beamscope"), "1"];
    script("soak", &soak);
}
