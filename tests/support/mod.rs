//! What tests of the real binary share: how it is started, the captures of the project, folders of their
//! own, scripts that play scenes, and what to do where something is missing.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

pub(crate) mod capture_builder;
pub(crate) mod corpus;
pub(crate) mod erlang;
pub(crate) mod link_headers;
#[cfg(all(feature = "live", target_os = "linux"))]
pub(crate) mod live;
pub(crate) mod packets;
pub(crate) mod pieces;
pub(crate) mod story;
pub(crate) mod streams;

/// The capture of the story in README.md.
pub(crate) const SEED: &str = "captures/seed-lan-wrong-then-right-cookie.pcap";

/// The capture that contains the secrets of its TLS connections. Files made of it have them only with `--with-keys`.
pub(crate) const WITH_SECRETS: &str = "captures/tls13-keys-in-capture.pcapng";

/// The binary with these arguments, to be run in the project's folder, so that captures have the
/// same names everywhere.
pub(crate) fn beamscope(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beamscope"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("CLICOLOR_FORCE");
    // Text has characters beyond ASCII in such a locale only.
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// Standard output of a run that must end with status 0.
pub(crate) fn lines_of(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = beamscope(arguments).output().unwrap();
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// The project's own captures, as `captures/NAME`, sorted.
pub(crate) fn captures() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| format!("captures/{}", entry.unwrap().file_name().to_string_lossy()))
        .filter(|name| name.contains(".pcap"))
        .collect();
    names.sort();
    names
}

/// Reports that a group of tests is skipped and why; fails where nothing may be.
pub(crate) fn skip(group: &str, reason: &str) {
    println!("skipped: {group}: {reason}");
    assert!(env::var("BEAMSCOPE_REQUIRE_ALL").as_deref() != Ok("1"), "{reason}");
}

/// Runs a script of the project, which ends with status 2 and a reason where the machine lacks what it
/// needs: then the group is skipped. Whether it was run.
pub(crate) fn script(group: &str, arguments: &[&str]) -> bool {
    let _others_wait = machine();
    let run =
        Command::new("python3").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let reason = match run {
        Err(e) => format!("python3: {e}"),
        Ok(run) => {
            let stderr = String::from_utf8_lossy(&run.stderr);
            match run.status.code() {
                Some(0) => return true,
                Some(2) => stderr.trim_end().to_owned(),
                _ => panic!("{arguments:?}: {stderr}{}", String::from_utf8_lossy(&run.stdout)),
            }
        }
    };
    skip(group, &reason);
    false
}

/// Lets a script, whose last argument is a folder, play into one that stays when the test fails; `None`
/// where that cannot be.
pub(crate) fn play(group: &str, arguments: &[&str]) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(group);
    let _ = fs::remove_dir_all(&folder);
    let arguments = [arguments, &[folder.to_str().unwrap()]].concat();
    script(group, &arguments).then_some(folder)
}

/// A lock for tests that load the whole machine or set up networks: one at a time, or their time limits
/// would depend on each other.
pub(crate) fn machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this process runs the caller alone. Where it does not, a process that does is started and must
/// pass: memory and address space are counted for a process as a whole. `test` is the caller's path.
#[must_use]
pub(crate) fn is_alone(test: &str) -> bool {
    const MARK: &str = "BEAMSCOPE_TEST_ALONE";
    if env::var_os(MARK).is_some() {
        return true;
    }
    let _others_wait = machine();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--test-threads=1"]).env(MARK, "1");
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&stdout);
    assert!(
        status.success() && stdout.contains("1 passed"),
        "{stdout}{}",
        String::from_utf8_lossy(&stderr)
    );
    false
}

/// The strings of a list.
pub(crate) fn texts(list: &Value) -> BTreeSet<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// A folder of its own, gone at the end.
pub(crate) struct TestDir(pub(crate) PathBuf);

impl TestDir {
    pub(crate) fn new(name: &str) -> Self {
        let folder = Self::to_be_made(name);
        fs::create_dir(&folder.0).unwrap();
        folder
    }

    /// One that the program is to make.
    pub(crate) fn to_be_made(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("beamscope-{name}-{}-{count}", process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Names of what is in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
