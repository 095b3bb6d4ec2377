//! A minute of what `scripts/soak` lets a live program stand for longer: short connections, floods of
//! SYNs, junk on the ports of nodes and of the port mapper.

#![cfg(all(feature = "live", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::process::Command;

#[test]
fn a_minute_of_floods_and_junk_does_no_harm() {
    let run = Command::new("python3")
        .args(["scripts/faults/soak.py", "--beamscope", env!("CARGO_BIN_EXE_beamscope"), "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let reason = match run {
        Err(e) => format!("python3: {e}"),
        Ok(run) => {
            let said = String::from_utf8_lossy(&run.stderr).into_owned();
            match run.status.code() {
                Some(0) => return,
                Some(2) => said.trim_end().to_owned(),
                _ => panic!("{said}{}", String::from_utf8_lossy(&run.stdout)),
            }
        }
    };
    println!("skipped: soak: {reason}");
    assert!(std::env::var("BEAMSCOPE_REQUIRE_ALL").as_deref() != Ok("1"), "{reason}");
}
