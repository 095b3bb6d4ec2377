//! What comes into the program from outside: licences, sources, versions and reasons of crates. The lists are those of
//! deny.toml, which `cargo deny` reads too; compiling that would take a third of the time of CI.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::check;

const RULES: &str = include_str!("../../deny.toml");
const MANIFEST: &str = include_str!("../../Cargo.toml");

/// The lines between the brackets of a list of deny.toml.
fn list(name: &str) -> Vec<&'static str> {
    let start = format!("\n{name} = [\n");
    let (_, behind) = RULES.split_once(&start).unwrap();
    let (list, _) = behind.split_once("\n]").unwrap();
    list.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect()
}

/// The text in the first quotation marks behind `key`.
fn quoted<'a>(line: &'a str, key: &str) -> &'a str {
    let (_, behind) = line.split_once(key).unwrap_or_else(|| panic!("{key} is missing in {line}"));
    behind.split('"').nth(1).unwrap()
}

/// Names and versions in Cargo.lock, and where each comes from.
fn locked() -> Vec<(String, String, String)> {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let packages = lock.split("[[package]]").skip(1);
    let field = |package: &str, name: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
        line.map(|rest| rest.trim_end_matches('"').to_owned()).unwrap_or_default()
    };
    packages.map(|it| (field(it, "name"), field(it, "version"), field(it, "source"))).collect()
}

/// The crates that depend on one, by Cargo.lock.
fn users(name: &str) -> Vec<String> {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let dependency = [format!(" \"{name}\","), format!(" \"{name} ")];
    let packages = lock.split("[[package]]").skip(1);
    let users = packages.filter(|it| dependency.iter().any(|line| it.contains(line)));
    users.map(|it| quoted(it, "name =").to_owned()).collect()
}

/// Whether a version is one that `name@prefix` names.
fn fits(rule: &str, name: &str, version: &str) -> bool {
    let (named, prefix) = rule.split_once('@').unwrap_or((rule, ""));
    let is_prefix = |rest: &str| rest.is_empty() || rest.starts_with('.');
    named == name && (prefix.is_empty() || version.strip_prefix(prefix).is_some_and(is_prefix))
}

#[test]
fn all_crates_are_packages_of_crates_io_and_none_is_banned() {
    let mut offences = Vec::new();
    let banned = list("deny");
    for (name, version, source) in locked() {
        let is_own = name == env!("CARGO_PKG_NAME");
        if !is_own && source != "registry+https://github.com/rust-lang/crates.io-index" {
            offences.push((name.clone(), format!("comes from {source:?}")));
        }
        for line in banned.iter().filter(|line| fits(quoted(line, "crate ="), &name, &version)) {
            let is_known = |user: &String| line.contains(&format!("\"{user}\""));
            if !line.contains("wrappers") || !users(&name).iter().all(is_known) {
                offences.push((name.clone(), quoted(line, "reason =").to_owned()));
            }
        }
    }
    check(&offences);
}

#[test]
fn each_crate_that_is_there_twice_has_a_reason() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, version, _) in locked() {
        versions.entry(name).or_default().insert(version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let mut rules = list("skip");
    let mut offences = Vec::new();
    for (name, versions) in &versions {
        let before = rules.len();
        rules.retain(|line| !versions.iter().any(|it| fits(quoted(line, "crate ="), name, it)));
        if before - rules.len() != versions.len() - 1 {
            offences.push((
                name.clone(),
                format!("{versions:?}, and all but one need a reason in deny.toml"),
            ));
        }
    }
    offences.extend(rules.iter().map(|line| ((*line).to_owned(), "is there once only".to_owned())));
    check(&offences);
}

/// Whether a licence expression allows what `allowed` does. `AND` binds more tightly than `OR`, and `/` is an old `OR`.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], "");
    // An expression in parentheses is one of alternatives here, beside `AND`.
    let mut parts: Vec<Vec<&str>> = vec![Vec::new()];
    for part in expression.split(" AND ") {
        parts.push(part.split(" OR ").map(str::trim).collect());
    }
    parts.iter().skip(1).all(|any| any.iter().any(|licence| allowed.contains(licence)))
}

#[test]
fn each_crate_has_a_licence_under_which_the_program_can_be_given_on() {
    let allowed: Vec<_> = list("allow").iter().map(|line| quoted(line, "")).collect();
    for (expression, is) in [
        ("MIT", true),
        ("MIT OR GPL-3.0", true),
        ("MIT/Apache-2.0", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("GPL-3.0", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), is, "{expression}");
    }
    // The crates of this platform: those of others need not be here.
    let host = Command::new("rustc").arg("-vV").output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", host])
        .args(if cfg!(feature = "tui") { &["--all-features"][..] } else { &[] })
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50);
    let offences: Vec<_> = packages
        .iter()
        .filter_map(|package| {
            let licence = package["license"].as_str().unwrap_or("no licence");
            let name = package["name"].as_str().unwrap().to_owned();
            (!is_allowed(licence, &allowed)).then(|| (name, licence.to_owned()))
        })
        .collect();
    check(&offences);
}

#[test]
fn each_direct_dependency_has_a_reason_beside_it() {
    let (mut is_table, mut has_reason, mut count) = (false, false, 0);
    let mut offences = Vec::new();
    for line in MANIFEST.lines() {
        match line {
            _ if line.starts_with('[') => {
                (is_table, has_reason) = (line.ends_with("dependencies]"), false);
            }
            _ if line.starts_with('#') => has_reason = true,
            "" => has_reason = false,
            _ if is_table && line.contains(" = ") => {
                count += 1;
                if !has_reason {
                    offences.push((line.to_owned(), "has no comment above it".to_owned()));
                }
            }
            _ => {}
        }
    }
    assert!(count > 30, "{count}");
    check(&offences);
}
