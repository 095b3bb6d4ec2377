//! One type name means one thing in the crate.

use std::collections::BTreeMap;
use std::path::Path;

use super::check;
use super::layering::{code, sources};

/// Names that may occur more than once, and why.
const ALLOWED: &[(&str, &str)] = &[(
    "Error",
    "each module that can fail has its own, as `std::fmt::Error` and `std::io::Error`",
)];

#[test]
fn no_type_name_occurs_in_two_files_of_the_crate() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in sources(&src, "") {
        for name in code(&text).lines().filter_map(type_name) {
            let files = places.entry(name.to_owned()).or_default();
            // Two definitions in one file are variants for two platforms.
            if !files.contains(&file) {
                files.push(file.clone());
            }
        }
    }
    places.retain(|name, files| {
        files.len() > 1 && !ALLOWED.iter().any(|(allowed, _)| allowed == name)
    });
    let offences: Vec<_> = places
        .into_iter()
        .map(|(name, files)| (name, format!("is defined in {}", files.join(" and "))))
        .collect();
    check(&offences);
}

/// The name of the type that a line defines, if it does. Associated types are indented.
fn type_name(line: &str) -> Option<&str> {
    let mut words = line.split(' ').skip_while(|word| word.starts_with("pub"));
    let is_type = matches!(words.next()?, "struct" | "enum" | "trait" | "union" | "type");
    let name = words.next().filter(|_| is_type)?;
    name.split(|c: char| !c.is_alphanumeric()).next()
}

#[test]
fn definitions_of_types_are_found() {
    let lines =
        ["pub(crate) struct One<T>(T);", "enum Two {", "pub trait Three: Four {", "type Five=u8;"];
    assert!(lines.into_iter().filter_map(type_name).eq(["One", "Two", "Three", "Five"]));
    assert_eq!(type_name("    type Item = u8;"), None);
    assert_eq!(type_name("impl Two {"), None);
}
