//! How the command line explains itself, and what it takes for wrong usage.

use crate::on::Place;

#[test]
fn help_says_what_each_subcommand_does() {
    let place = Place::new();
    let mut pages = place.run(&["--help"]).ok();
    for subcommand in [
        "serve",
        "execute",
        "query",
        "import",
        "dead-letters",
        "dead-letters list",
        "dead-letters retry",
        "dead-letters expire",
        "status",
        "check",
        "bench",
        "config",
        "completions",
    ] {
        let words: Vec<_> = subcommand.split(' ').collect();
        let listed = format!("\n  {} ", words[words.len() - 1]);
        assert!(pages.contains(&listed), "{subcommand} is not listed");
        let page = place.run(&[&words[..], &["--help"]].concat()).ok();
        // The options that every subcommand takes are shown once.
        let (own, rest) = page.split_once("\nWhat to work on:").unwrap();
        let examples = rest.find("\nExamples:").map_or("", |at| &rest[at..]);
        pages = format!("{pages}\n===== {subcommand}\n\n{own}{examples}");
    }
    insta::assert_snapshot!(pages);
}

#[test]
fn wrong_usage_ends_with_2() {
    let place = Place::new();
    for arguments in [
        &[][..],
        &["nonsense"],
        &["query"],
        &["query", "SELECT 1", "--outptu", "csv"],
        &["query", "SELECT 1", "--output", "xml"],
        &["query", "SELECT 1", "--timeout", "5"],
        &["query", "SELECT 1", "--timeout", "0s"],
        &["query", "SELECT 1", "--param", "1", "--params", "[1]"],
        &["query", "SELECT 1", "--params", "1"],
        &["query", "SELECT 1", "--param", "9223372036854775808"],
        &["query", "SELECT 1", "--min-commit", "-1"],
        &["query", "SELECT 1", "--url", "127.0.0.1:4280"],
        &["query", "SELECT 1", "--url", "http://127.0.0.1:1", "--database", "a.db"],
        &["--url", "http://127.0.0.1:1", "query", "SELECT 1", "--database", "a.db"],
        &["--database", "a.db", "status", "--url", "http://127.0.0.1:1"],
        &["serve", "--url", "http://127.0.0.1:1"],
        &["config", "--url", "http://127.0.0.1:1"],
        &["bench", "--url", "http://127.0.0.1:1"],
        &["bench", "--seconds", "0"],
        &["bench", "--seconds", "1s"],
        &["bench", "--rounds", "0"],
        &["bench", "--callers", "0"],
        &["bench", "--callers", "1,,2"],
        &["bench", "--callers", "many"],
        &["bench", "--synchronous", "off"],
        &["bench", "--output", "csv"],
        &["completions", "bash", "--url", "http://127.0.0.1:1"],
        &["completions", "cmd.exe"],
        &["serve", "--listen", "localhost"],
    ] {
        let stderr = place.run(arguments).fails(2);
        assert!(stderr.contains("Usage:") || stderr.contains("--help"), "{arguments:?}: {stderr}");
    }
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 0, "something was created");
}

#[test]
fn completions_know_the_subcommands() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = place.run(&["completions", shell]).ok();
        assert!(script.contains("actix-sqlite") && script.contains("import"), "{shell}");
        assert!(script.contains("bench") && script.contains("synchronous"), "{shell}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let version = Place::new().run(&["--version"]).ok();
    assert_eq!(version, format!("actix-sqlite {}\n", env!("CARGO_PKG_VERSION")));
}
