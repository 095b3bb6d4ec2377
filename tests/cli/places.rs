//! Where output goes when other users have made links or files there: nowhere that they chose. Most of this needs root,
//! which alone can make files of two users.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{SEED, TestDir, beamscope, skip};

/// Neither root nor the user that runs the tests.
const OTHER: u32 = 65_534;

fn run(arguments: &[&str]) -> Output {
    beamscope(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &str, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A link that belongs to a user.
fn link(to: &str, at: &str, user: u32) {
    symlink(to, at).unwrap();
    lchown(at, Some(user), Some(user)).unwrap();
}

fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !is_root {
        skip("files of two users", "not root");
    }
    is_root
}

/// A folder of a user, with the mode, and a file of root's beside it that nothing may change.
struct Scene {
    folder: TestDir,
    dir: String,
    victim: String,
}

impl Scene {
    fn new(name: &str, user: u32, mode: u32) -> Self {
        let folder = TestDir::new(name);
        let (dir, victim) = (folder.file("shared"), folder.file("victim"));
        fs::create_dir(&dir).unwrap();
        chown(&dir, Some(user), Some(user)).unwrap();
        set_mode(&dir, mode);
        fs::write(&victim, "precious").unwrap();
        set_mode(&victim, 0o644);
        Self { folder, dir, victim }
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    fn assert_unharmed(&self, what: &str) {
        assert_eq!(fs::read_to_string(&self.victim).unwrap(), "precious", "{what}");
        let now = fs::metadata(&self.victim).unwrap();
        assert_eq!((now.mode() & 0o777, now.uid()), (0o644, 0), "{what}");
    }
}

/// All that writes a file of this name.
fn writers(path: &str) -> Vec<Vec<&str>> {
    vec![
        vec![SEED, "-o", path],
        vec![SEED, "-o", path, "--append"],
        vec![SEED, "-w", path],
        vec![SEED, "--payloads", "-o", path],
        vec!["report", SEED, "--format", "html", "-o", path],
        vec!["ladder", SEED, "--format", "text", "-o", path],
        vec!["diff", SEED, SEED, "--json", "-o", path],
        vec!["annotate", SEED, "-o", path],
        vec!["extract", SEED, "-w", path],
        vec!["facts", SEED, "-o", path],
        vec!["merge", SEED, "-o", path],
    ]
}

#[test]
fn no_link_of_another_user_is_followed() {
    if !is_root() {
        return;
    }
    // Like /tmp; a folder of the other user; one that a group writes to.
    for (user, dir_mode) in [(0, 0o1777), (OTHER, 0o755), (0, 0o775), (0, 0o777)] {
        let scene = Scene::new("links", user, dir_mode);
        let (at, through) = (scene.file("out"), scene.file("folder"));
        link(&scene.victim, &at, OTHER);
        link(scene.folder.path(), &through, OTHER);
        let through = format!("{through}/victim");
        for path in [&at, &through] {
            for arguments in writers(path) {
                let output = run(&arguments);
                assert_eq!(output.status.code(), Some(2), "{arguments:?}");
                let problem = stderr(&output);
                let expected = format!("is a symbolic link of user {OTHER}, which is not followed");
                assert!(problem.contains(&expected), "{arguments:?}: {problem}");
                scene.assert_unharmed(&format!("{arguments:?}"));
            }
        }
        let evidence = scene.file("folder/evidence");
        for directory in [&*scene.file("folder"), &evidence] {
            let output = run(&[SEED, "--evidence", directory, "-o", "/dev/null"]);
            assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
            assert!(!Path::new(&scene.folder.file("evidence")).exists());
        }
    }
}

#[test]
fn links_of_root_and_of_the_user_are_followed_and_any_where_no_other_can_write() {
    if !is_root() {
        return;
    }
    for (user, dir_mode, owner) in [(0, 0o1777, 0), (OTHER, 0o755, 0), (0, 0o755, OTHER)] {
        let scene = Scene::new("own-links", user, dir_mode);
        let (at, target) = (scene.file("out"), scene.folder.file("target"));
        link("../target", &at, owner);
        for arguments in writers(&at) {
            let output = run(&arguments);
            assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
            assert!(fs::metadata(&target).unwrap().len() > 0);
            fs::remove_file(&target).unwrap();
        }
        assert!(fs::symlink_metadata(&at).unwrap().is_symlink());
        let evidence = scene.file("evidence");
        link("../found", &evidence, owner);
        fs::create_dir(scene.folder.file("found")).unwrap();
        run(&[SEED, "--evidence", &evidence, "-o", "/dev/null"]);
        assert_eq!(fs::read_dir(scene.folder.file("found")).unwrap().count(), 2);
    }
}

#[test]
fn no_file_of_another_user_and_no_second_name_of_a_file_is_written_to() {
    if !is_root() {
        return;
    }
    let scene = Scene::new("second-names", OTHER, 0o755);
    let at = scene.file("out");
    fs::hard_link(&scene.victim, &at).unwrap();
    for arguments in writers(&at) {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains("a second name"), "{}", stderr(&output));
        scene.assert_unharmed(&format!("{arguments:?}"));
    }
    // A file that waits for the packets of root.
    let scene = Scene::new("waiting", 0, 0o1777);
    let at = scene.file("out");
    fs::write(&at, "mine").unwrap();
    set_mode(&at, 0o666);
    chown(&at, Some(OTHER), Some(OTHER)).unwrap();
    for arguments in writers(&at) {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains("belongs to user 65534"), "{}", stderr(&output));
        assert_eq!(fs::read_to_string(&at).unwrap(), "mine");
    }
    // In a folder of its own, a user may have the events, and never the packets.
    let scene = Scene::new("own-folder", OTHER, 0o755);
    let at = scene.file("out");
    let packets = [false, false, true, true, false, false, false, true, true, false, false];
    for (arguments, is_refused) in writers(&at).into_iter().zip(packets) {
        fs::write(&at, "mine").unwrap();
        chown(&at, Some(OTHER), Some(OTHER)).unwrap();
        let output = run(&arguments);
        assert_eq!(
            output.status.code() == Some(2),
            is_refused,
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert_eq!(fs::read_to_string(&at).unwrap() == "mine", is_refused, "{arguments:?}");
        fs::remove_file(&at).unwrap();
    }
}

#[test]
fn a_row_and_evidence_pass_over_what_others_put_in_their_way() {
    if !is_root() {
        return;
    }
    let scene = Scene::new("row", 0, 0o1777);
    // The names are known beforehand: they come from the times of the packets.
    let row = scene.file("lan.pcapng");
    let arguments = [SEED, "-w", &row, "-C", "2k", "-o", "/dev/null"];
    assert_eq!(run(&arguments).status.code(), Some(0));
    let first = fs::read_dir(&scene.dir).unwrap().map(|it| it.unwrap().path()).min().unwrap();
    // Those of an earlier run are written anew.
    assert_eq!(run(&arguments).status.code(), Some(0));
    fs::remove_file(&first).unwrap();
    link(&scene.victim, first.to_str().unwrap(), OTHER);
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("packets are not saved until the next file"),
        "{}",
        stderr(&output)
    );
    scene.assert_unharmed("a row");

    let scene = Scene::new("evidence-row", 0, 0o1777);
    let arguments = [SEED, "--evidence", &scene.dir, "-o", "/dev/null"];
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(&scene.dir).unwrap().map(|it| it.unwrap().path()).collect();
        names.sort();
        names
    };
    run(&arguments);
    let made = names();
    assert_eq!(made.len(), 2);
    run(&arguments);
    assert_eq!(names(), made, "a file of an earlier run is replaced");
    let (name, path) = (made[0].file_name().unwrap().to_str().unwrap(), made[0].to_str().unwrap());
    fs::remove_file(path).unwrap();
    link(&scene.victim, path, OTHER);
    link(&scene.victim, &scene.file(&format!(".{name}.part")), OTHER);
    run(&arguments);
    scene.assert_unharmed("evidence");
    assert!(fs::symlink_metadata(path).unwrap().is_symlink());
    let other = path.replace(".pcapng", "-2.pcapng");
    assert_eq!((mode(&other), names().len()), (0o600, 4));
}

#[test]
fn evidence_beside_its_capture_leaves_the_capture_alone() {
    let folder = TestDir::new("evidence-beside");
    let run = |capture: &str| {
        let output = run(&["--json", "--evidence", folder.path(), capture]);
        let text = String::from_utf8(output.stdout).unwrap();
        let lines =
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let files =
            lines.filter_map(|line| Some(line["finding"]["evidence_file"].as_str()?.to_owned()));
        files.collect::<Vec<_>>()
    };
    let file = run(SEED).remove(0);
    let before = fs::read(&file).unwrap();
    let again = run(&file);
    assert_eq!(fs::read(&file).unwrap(), before, "what was read is there as it was");
    assert_eq!(again[0], file.replace(".pcapng", "-2.pcapng"));
    assert!(fs::metadata(&again[0]).unwrap().len() > 0);
    // From a pipe, too.
    let mut reader = beamscope(&["--json", "--evidence", folder.path(), "-"]);
    reader.stdin(fs::File::open(&file).unwrap());
    assert!(reader.output().unwrap().status.success());
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn what_was_there_keeps_its_mode_unless_the_owner_alone_may_read_it() {
    let folder = TestDir::new("modes");
    let file = folder.file("out");
    for (arguments, (new, old)) in writers(&file).into_iter().zip([
        (0o644, 0o640),
        (0o644, 0o640),
        (0o600, 0o600),
        (0o600, 0o600),
        (0o644, 0o640),
        (0o644, 0o640),
        (0o644, 0o640),
        (0o600, 0o600),
        (0o600, 0o600),
        (0o644, 0o640),
        (0o644, 0o640),
    ]) {
        let (program, line) = (env!("CARGO_BIN_EXE_beamscope"), "umask 022; exec \"$@\"");
        let run = || {
            let mut command = Command::new("sh");
            command
                .args(["-c", line, "sh", program])
                .args(&arguments)
                .current_dir(env!("CARGO_MANIFEST_DIR"));
            assert!(command.output().unwrap().status.success(), "{arguments:?}");
        };
        run();
        assert_eq!(mode(&file), new, "{arguments:?}");
        set_mode(&file, 0o640);
        run();
        assert_eq!(mode(&file), old, "{arguments:?}");
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_failed_run_leaves_what_was_there_and_makes_nothing() {
    let folder = TestDir::new("failed");
    let (file, none) = (folder.file("out"), folder.file("none.pcap"));
    let text = folder.file("text.pcap");
    fs::write(&text, "no capture\n").unwrap();
    for mut arguments in writers(&file) {
        let command = arguments[0];
        if command == SEED {
            continue;
        }
        arguments.retain(|it| *it != SEED);
        // These take other files than captures as well, which shows when they are read.
        let is_mixed = ["report", "diff", "merge"].contains(&command);
        let bad = if is_mixed { vec![&none] } else { vec![&none, &text] };
        for input in bad {
            let inputs = vec![&**input; if command == "diff" { 2 } else { 1 }];
            let arguments = [&arguments[..], &inputs].concat();
            assert_eq!(run(&arguments).status.code(), Some(2), "{arguments:?}");
            assert!(!fs::exists(&file).unwrap(), "{arguments:?}");
            fs::write(&file, "before").unwrap();
            assert_eq!(run(&arguments).status.code(), Some(2), "{arguments:?}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "before", "{arguments:?}");
            fs::remove_file(&file).unwrap();
        }
    }
}

#[test]
fn devices_pipes_and_descriptors_are_written_to() {
    let folder = TestDir::new("devices");
    let expected = run(&["--json", SEED]).stdout;
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    for path in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let output = run(&["--json", SEED, "-o", path]);
        assert_eq!((output.status.code(), output.stdout), (Some(0), expected.clone()), "{path}");
        // Behind what is in a file already.
        let log = folder.file("log");
        fs::write(&log, "first\n").unwrap();
        let file = fs::File::options().append(true).open(&log).unwrap();
        assert!(beamscope(&["--json", SEED, "-o", path]).stdout(file).status().unwrap().success());
        let text = fs::read(&log).unwrap();
        assert!(text.starts_with(b"first\n") && lines(&text) == lines(&expected) + 1);
    }
    assert_eq!(run(&["--json", SEED, "-o", "/dev/null"]).status.code(), Some(0));
    assert_eq!(run(&["--json", SEED, "-w", "/dev/null", "-o", "/dev/null"]).status.code(), Some(0));
    let pipe = folder.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut writer =
        beamscope(&["--json", SEED, "-o", &pipe]).stdout(Stdio::null()).spawn().unwrap();
    let mut read = Vec::new();
    fs::File::open(&pipe).unwrap().read_to_end(&mut read).unwrap();
    assert!(writer.wait().unwrap().success());
    assert_eq!(read, expected);
    for (path, problem) in [
        (folder.path(), "s a directory"),
        (&*folder.file("no/such"), "No such file"),
        (&format!("{pipe}/x"), "ot a directory"),
        (&folder.file("new/"), "No such file"),
    ] {
        let output = run(&["--json", SEED, "-o", path]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(stderr(&output).contains(problem), "{path}: {}", stderr(&output));
    }
}
