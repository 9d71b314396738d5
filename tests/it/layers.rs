//! Imports go one way. The rule of `lib.rs`, read off the sources themselves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What of the crate a layer may name, by the first segment of its path; whatever is not listed here is refused.
const LAYERS: &[(&str, &[&str])] = &[
    ("policy", &["policy"]),
    ("error.rs", &["policy", "settings"]),
    ("settings.rs", &["policy"]),
    ("stats.rs", &["policy"]),
    ("queue.rs", &["policy"]),
    ("message", &["message", "error", "policy"]),
    ("engine", &["engine", "message", "error", "policy", "settings", "stats"]),
    ("actors", &["actors", "engine", "message", "error", "policy", "queue", "settings", "stats"]),
    (
        "database",
        &[
            "database", "actors", "engine", "message", "error", "policy", "queue", "relay", "settings",
            "stats",
        ],
    ),
];

/// Layers above the core may name anything but each other upwards.
const UPPER: &[(&str, &[&str])] =
    &[("relay", &["server", "cli", "actors"]), ("server", &["cli", "actors"]), ("cli", &["actors"])];

/// Other crates, each with the only places that may speak of it.
const ONLY_THERE: &[(&str, &[&str])] = &[
    ("actix", &["actors/", "database/actor.rs", "relay/"]),
    (
        "rusqlite",
        &["engine/", "database/open.rs", "database/status.rs", "relay/", "server/", "cli/", "lib.rs"],
    ),
    ("actix_web", &["server/", "cli/"]),
    ("clap", &["cli/", "main.rs"]),
];

/// Tests, which may look at everything, are left out.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file: no comments, no tests, no strings that span a `//`.
fn code(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let uncommented = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    uncommented.collect::<Vec<_>>().join("\n")
}

/// The segments that follow `name::` as a path's beginning: `use name::{a, b::c}` has `a` and `b`.
fn named(code: &str, name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let path = format!("{name}::");
    for (at, _) in code.match_indices(&path) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|before| before.is_alphanumeric() || "_:$".contains(before)) {
            continue;
        }
        let rest = &code[at + path.len()..];
        let heads = match rest.strip_prefix('{') {
            Some(list) => top_level(list),
            None => vec![rest],
        };
        for head in heads {
            let end = head.find(|character: char| !character.is_alphanumeric() && character != '_');
            found.insert(head[..end.unwrap_or(head.len())].to_owned());
        }
    }
    found.remove("");
    found
}

/// The parts of a braced list that stand between its own commas.
fn top_level(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(list[start..at].trim());
                return parts;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(list[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// What is wrong with a file, by its path under `src`.
fn offences(path: &str, source: &str) -> Vec<String> {
    let code = code(source);
    let mut offences = Vec::new();
    let of_layer = |layers: &[(&'static str, &'static [&'static str])]| {
        layers
            .iter()
            .find(|(layer, _)| path == *layer || path.starts_with(&format!("{layer}/")))
            .map(|layer| layer.1)
    };
    let uses = named(&code, "crate");
    if let Some(allowed) = of_layer(LAYERS) {
        let upwards = uses.iter().filter(|used| !allowed.contains(&used.as_str()));
        offences.extend(upwards.map(|used| format!("{path} names crate::{used}")));
    }
    if let Some(refused) = of_layer(UPPER) {
        let upwards = uses.iter().filter(|used| refused.contains(&used.as_str()));
        offences.extend(upwards.map(|used| format!("{path} names crate::{used}")));
    }
    for (name, places) in ONLY_THERE {
        if !named(&code, name).is_empty() && !places.iter().any(|place| path.starts_with(place)) {
            offences.push(format!("{path} speaks {name}"));
        }
    }
    if path.starts_with("policy/") {
        let imports = code.lines().map(str::trim_start).map(|line| line.trim_start_matches("pub "));
        let foreign = imports.filter(|line| line.starts_with("use ")).filter(|line| {
            !["use std::", "use crate::", "use super::"].iter().any(|own| line.starts_with(own))
        });
        offences.extend(
            foreign
                .filter(|line| !path.ends_with("mod.rs") || !own_module(line, &code))
                .map(|line| format!("{path}: {line}")),
        );
    }
    offences
}

/// Whether a `use` names a module that this file declares.
fn own_module(line: &str, code: &str) -> bool {
    let module = line.trim_start_matches("use ").split("::").next().unwrap_or_default();
    code.contains(&format!("mod {module};"))
}

#[test]
fn imports_go_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "only {} files were found", files.len());
    let mut found = Vec::new();
    for file in &files {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        found.extend(offences(&path, &std::fs::read_to_string(file).unwrap()));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let source = std::fs::read_to_string(&file).unwrap();
        assert!(source.starts_with("//!"), "{} begins without saying what it is for", file.display());
    }
}

/// The check itself has teeth.
#[test]
fn an_import_that_goes_up_is_seen() {
    for (path, source) in [
        ("policy/batch.rs", "use tokio::sync::oneshot;"),
        ("policy/batch.rs", "use crate::queue::Queue;"),
        ("message/rows.rs", "use crate::{error::ReadError, engine::Engine};"),
        ("message/rows.rs", "use crate::error::ReadError;\nuse crate::database::Database;"),
        ("engine/mod.rs", "fn f(_: crate::actors::shared::Shared) {}"),
        ("engine/sqlite/mod.rs", "use crate::database::Database;"),
        ("actors/writer.rs", "use crate::{\n    engine::{Engine, Outcomes},\n    database::Database,\n};"),
        ("database/mod.rs", "use crate::server::start;"),
        ("database/mod.rs", "use actix::Addr;"),
        ("engine/mod.rs", "use actix::Addr;"),
        ("queue.rs", "use rusqlite::Connection;"),
        ("server/mod.rs", "use crate::cli::run;"),
    ] {
        assert_eq!(offences(path, source).len(), 1, "{path}: {source}");
    }
    for (path, source) in [
        ("policy/batch.rs", "use std::time::Instant;\n// use tokio::sync::oneshot;"),
        ("policy/mod.rs", "mod batch;\npub use batch::Linger;"),
        ("engine/mod.rs", "use crate::message::Value; // as crate::database::Database does"),
        ("database/mod.rs", "use crate::actors::shared::Shared; actix_rt::spawn(f);"),
        ("actors/writer.rs", "use actix::Addr;"),
    ] {
        assert_eq!(offences(path, source), [""; 0], "{path}: {source}");
    }
}
