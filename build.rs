//! Runs before the crate is compiled, to say how to come by libpcap before the linker fails on it.
//! Looks where the linker will look and decides nothing: the build goes on either way.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBPCAP_LIBDIR");
    let live = env::var_os("CARGO_FEATURE_LIVE").is_some();
    let linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    // Elsewhere libpcap comes with the system; a linker for another target answers for itself.
    if !live || !linux || env::var_os("TARGET") != env::var_os("HOST") || finds_libpcap() {
        return;
    }
    println!(
        "cargo::warning=libpcap not found: run scripts/setup, or build with \
         --no-default-features to read capture files only"
    );
    // A file that does not exist keeps cargo from repeating the warning after libpcap has come.
    println!("cargo::rerun-if-changed=libpcap is not here yet");
}

fn finds_libpcap() -> bool {
    env::var_os("LIBPCAP_LIBDIR").is_some()
        || Command::new("pkg-config")
            .args(["--exists", "libpcap"])
            .status()
            .is_ok_and(|status| status.success())
        || ["libpcap.so", "libpcap.a"].iter().any(|name| {
            // The bare name comes back where no directory of the linker's has the file.
            Command::new("cc")
                .arg(format!("-print-file-name={name}"))
                .output()
                .is_ok_and(|out| out.stdout.contains(&b'/'))
        })
}
