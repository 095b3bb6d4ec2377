//! Text for people: zones, locales, problems of one cause, and options that nothing fits.

use crate::support::{SEED, TestDir, beamscope, captures, lines_of};

#[test]
fn times_are_in_the_zone_of_the_reader_which_is_printed_once() {
    let output = beamscope(&["--text", "--tz", "local", SEED])
        .env("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        .output()
        .unwrap();
    let local = String::from_utf8(output.stdout).unwrap();
    let utc = lines_of(&["--text", SEED]);
    assert!(local.contains("from 2026-11-22\n16:29:51.691 to 16:29:52.159 CET;"), "{local}");
    assert_eq!(local.replace(" CET", " UTC").replace("16:29:5", "15:29:5"), utc);
    assert_eq!((local.matches("CET").count(), utc.matches("UTC").count()), (1, 1), "{local}{utc}");
    assert_eq!(lines_of(&["--json", "--tz", "local", SEED]), lines_of(&["--json", SEED]));
}

#[test]
fn text_is_ascii_where_the_locale_is_not_utf_8() {
    for (variable, locale, is_ascii) in [
        ("LC_ALL", "C", true),
        ("LC_ALL", "en_US.ISO-8859-1", true),
        ("LC_ALL", "de_DE.UTF-8", false),
        ("LC_CTYPE", "C.utf8", false),
        ("LANG", "C", true),
    ] {
        let mut command = beamscope(&["--text", "-v", SEED]);
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().for_each(|name| _ = command.env_remove(name));
        let output = command.env(variable, locale).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.is_ascii(), is_ascii, "{variable}={locale}: {text}");
    }
}

#[test]
fn what_to_do_about_several_problems_is_read_once() {
    let text = lines_of(&["--text", "captures/epmd-command.pcap"]);
    assert!(text.contains("What to do: as for 1."), "{text}");
    assert_eq!(text.matches("beamscope explain epmd-command").count(), 1, "{text}");
    assert_eq!(
        text.matches("  - Find out who sent the command from 127.0.0.1.").count(),
        1,
        "{text}"
    );
}

#[test]
fn an_option_that_nothing_fits_is_a_warning_that_names_the_nodes() {
    let warning = |option: &str, value: &str| {
        let output = beamscope(&["--json", option, value, SEED]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let names = "one@192.168.0.100 and two@192.168.0.103";
    let expected = format!("warning: nothing in this capture fits --node; it has {names}\n");
    assert_eq!(warning("--node", "three"), expected);
    assert_eq!(warning("--host", "10.0.0.0/8"), expected.replace("--node", "--host"));
    let half = expected.replace("--node;", "--pair: no node or address is \"three\";");
    assert_eq!(warning("--pair", "one,three"), half);
    assert_eq!(warning("--pair", "one,two"), "");
    assert_eq!(warning("--op", "SPAWN*"), "warning: no message of this capture fits --op\n");
    for fitting in [["--node", "one"], ["--host", "192.168.0.0/16"], ["--rule", "cookie-guessing"]]
    {
        assert_eq!(warning(fitting[0], fitting[1]), "", "{fitting:?}");
    }
}

#[test]
fn no_line_is_longer_than_80_columns_unless_a_word_is() {
    for capture in captures() {
        for line in lines_of(&["--text", &capture]).lines() {
            let columns = line.chars().count();
            let longest = line.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
            assert!(columns <= 80 || longest > 55, "{capture}: {line}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_zone_whose_file_does_not_end_is_refused() {
    let folder = TestDir::new("zone");
    let large = folder.file("large");
    std::fs::File::create(&large).unwrap().set_len(1 << 30).unwrap();
    for (variable, problem) in [
        (":/dev/zero", "no file of a time zone"),
        ("/dev/tty", "no file"),
        (&*large, "too large"),
        ("../../../dev/zero", "no file"),
    ] {
        let output =
            beamscope(&["--text", "--tz", "local", SEED]).env("TZ", variable).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{variable}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(problem), "{variable}: {stderr}");
    }
    for variable in
        ["", "Europe/Berlin", ":Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3", "nowhere", ":/none"]
    {
        let output =
            beamscope(&["--text", "--tz", "local", SEED]).env("TZ", variable).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{variable}");
    }
}
