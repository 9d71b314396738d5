//! Settings: where they come from, which one wins, and what is shown of them.

use crate::on::{Place, Run, finish};

fn with_env(place: &Place, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = place.command(arguments);
    command.envs(variables.iter().copied());
    finish(command, b"")
}

#[test]
fn a_flag_beats_the_environment_and_that_the_file_and_that_the_default() {
    let place = Place::new();
    let path = |arguments: &[&str], variables: &[(&str, &str)]| {
        let shown = with_env(&place, &[&["config"], arguments].concat(), variables).ok();
        let shown: toml::Table = shown.parse().unwrap();
        shown["database"]["path"].as_str().unwrap().to_owned()
    };
    let variable = [("ACTIX_SQLITE__DATABASE__PATH", "env.db")];
    assert_eq!(path(&[], &[]), "actix-sqlite.db");
    place.write("settings.toml", "[database]\npath = \"file.db\"\n");
    assert_eq!(path(&[], &[]), "file.db");
    assert_eq!(path(&[], &variable), "env.db");
    assert_eq!(path(&["--database", "flag.db"], &variable), "flag.db");
}

#[test]
fn the_named_file_comes_before_the_variable_and_that_before_the_search_path() {
    let place = Place::new();
    let user = place.path(".config/actix-sqlite");
    std::fs::create_dir_all(&user).unwrap();
    let read = |arguments: &[&str], variables: &[(&str, &str)]| {
        let run = with_env(&place, &[&["config"], arguments].concat(), variables);
        assert_eq!(run.code, Some(0), "{run:?}");
        run.stderr
    };
    assert!(read(&[], &[]).contains("no settings file"));
    std::fs::write(user.join("settings.toml"), "").unwrap();
    assert!(read(&[], &[]).contains(".config/actix-sqlite/settings.toml"));
    for name in ["settings.toml", "variable.toml", "flag.toml"] {
        place.write(name, "");
    }
    assert_eq!(read(&[], &[]), "settings file: settings.toml\n");
    let variable = [("ACTIX_SQLITE_CONFIG", "variable.toml")];
    assert_eq!(read(&[], &variable), "settings file: variable.toml\n");
    assert_eq!(read(&["--config", "flag.toml"], &variable), "settings file: flag.toml\n");
    assert_eq!(read(&[], &[("ACTIX_SQLITE_CONFIG", "")]), "settings file: settings.toml\n");
}

#[test]
fn what_config_shows_can_be_used_as_a_file() {
    let place = Place::new();
    let shown = place.run(&["config"]).ok();
    let file: toml::Table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/settings.toml"))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(shown.parse::<toml::Table>().unwrap(), file);
    place.write("again.toml", &shown);
    assert_eq!(place.run(&["config", "--config", "again.toml"]).ok(), shown);
}

#[test]
fn secrets_are_masked_and_the_mask_is_no_secret() {
    let place = Place::new();
    let run = with_env(&place, &["config"], &[("ACTIX_SQLITE__AUTH__ADMIN_TOKEN", "hunter2")]);
    assert!(!format!("{run:?}").contains("hunter2"), "{run:?}");
    let shown = run.ok();
    assert!(shown.contains("admin_token = \"********\""), "{shown}");
    place.write("shown.toml", &shown);
    place.run(&["config", "--config", "shown.toml"]).fails_with(78, "auth.admin_token is the mask");
}

#[test]
fn wrong_settings_end_with_78_and_name_the_key() {
    for (settings, key) in [
        ("[databas]\npath = \"x\"\n", "databas"),
        ("[writer]\nlinger = \"soon\"\n", "linger"),
        ("[supervisor]\ninitial_backoff = \"1h\"\n", "max_backoff"),
        ("[server]\nlisten = \"0.0.0.0:0\"\n", "admin_token"),
        ("not toml", "settings"),
    ] {
        let place = Place::new();
        place.write("settings.toml", settings);
        for arguments in [&["config"][..], &["config", "--check"], &["execute", "SELECT 1"], &["serve"]] {
            place.run(arguments).fails_with(78, key);
        }
        // Another directory's settings are no reason to refuse to talk to a daemon; here none is there.
        assert_eq!(place.run(&["status", "--url", "http://127.0.0.1:1"]).code, Some(69));
    }
}

#[test]
fn a_filter_that_cannot_be_read_ends_serve_with_78() {
    let place = Place::new();
    let run = with_env(
        &place,
        &["serve", "--listen", "127.0.0.1:0"],
        &[("ACTIX_SQLITE__TELEMETRY__FILTER", "a=b=c")],
    );
    run.fails_with(78, "telemetry.filter");
}

#[test]
fn a_settings_file_that_is_named_must_be_there() {
    let place = Place::new();
    place.run(&["config", "--config", "none.toml"]).fails_with(78, "none.toml does not exist");
    let variable = [("ACTIX_SQLITE_CONFIG", "none.toml")];
    with_env(&place, &["query", "SELECT 1"], &variable).fails_with(78, "none.toml does not exist");
}

#[test]
fn the_variables_of_the_command_line_are_no_settings() {
    let place = Place::new();
    let variables = [("ACTIX_SQLITE_TOKEN", "secret"), ("ACTIX_SQLITE_ANYTHING", "1")];
    with_env(&place, &["config"], &variables).ok();
    let run = with_env(&place, &["config"], &[("ACTIX_SQLITE__ANYTHING", "1")]);
    run.fails_with(78, "anything");
}

#[test]
fn check_only_checks() {
    let place = Place::new();
    let run = place.run(&["config", "--check"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    assert!(run.stderr.ends_with("the settings are in order\n"), "{run:?}");
}
