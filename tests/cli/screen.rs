//! `--tui` in a terminal of 80 columns without UTF-8, which tmux is.

use std::process::{self, Command};
use std::thread;
use std::time::Duration;

use crate::support::skip;

/// A server of tmux with one terminal; ended when dropped.
struct Terminal(String);

impl Terminal {
    /// Runs the program in the terminal; `None` without tmux.
    fn start(arguments: &str) -> Option<Self> {
        let terminal = Self(format!("beamscope-{}-{}", process::id(), arguments.len()));
        let program = env!("CARGO_BIN_EXE_beamscope");
        let command =
            format!("env LC_ALL=C TZ=UTC {program} {arguments}; printf 'status %s' $?; sleep 60");
        let folder = env!("CARGO_MANIFEST_DIR");
        let new = ["new-session", "-d", "-x", "80", "-y", "24", "-c", folder, &command];
        let started =
            Command::new("tmux").args(["-f", "/dev/null", "-L", &terminal.0]).args(new).status();
        started.is_ok_and(|status| status.success()).then_some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", &self.0]).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// What the terminal shows once that has `part`.
    fn once(&self, part: &str) -> String {
        for _ in 0..300 {
            let shown = self.tmux(&["capture-pane", "-p"]);
            if shown.contains(part) {
                return shown;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("no {part:?} in\n{}", self.tmux(&["capture-pane", "-p"]));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn lists_a_filter_and_a_ladder_are_drawn_and_the_terminal_is_restored() {
    let capture = "captures/seed-lan-wrong-then-right-cookie.pcap";
    let Some(terminal) = Terminal::start(&format!("--tui {capture}")) else {
        return skip("screen", "tmux is missing");
    };
    let connections = terminal.once("the capture has ended");
    assert!(
        connections.starts_with(" 1 4 connections  2 1 problems  3 2 nodes   captures/seed"),
        "{connections}"
    );
    assert!(
        connections.contains("\n15:29:52.159  one@192.168.0.100 -> two@192.168.0.103: closed by"),
        "{connections}"
    );

    terminal.press("2");
    let problems = terminal.once("SOLVED  HIGH");
    assert!(
        problems.contains("two@192.168.0.103 refused the cookie of one@192.168.0.100"),
        "{problems}"
    );
    terminal.press("Enter");
    let ladder = terminal.once("challenge_reply");
    let expected = "
 frame    ms  one@192.168.0.100                         two@192.168.0.103
                                                           port 33435
     6     0  |-- EPMD: port of \"two\"? ------------------------>|
     8   0.1  |<---------------------------- EPMD: port 33435 --|
";
    assert!(ladder.is_ascii() && ladder.contains(expected), "{ladder}");

    terminal.press("Escape");
    terminal.once("Enter ladder");
    for key in ["3", "/", "t", "w", "o"] {
        terminal.press(key);
    }
    let nodes = terminal.once("filter: two_");
    assert!(
        nodes.contains("two@192.168.0.103  OTP 25 to 27") && !nodes.contains("one@"),
        "{nodes}"
    );

    terminal.press("Enter");
    terminal.once("filter: two ");
    terminal.press("q");
    let shell = terminal.once("status 0");
    assert!(!shell.contains("connections"), "{shell}");
}
