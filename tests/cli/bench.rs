//! `bench`: figures for people and for programs, from scratch files that are gone afterwards.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::on::{Daemon, PATIENCE, Place};

const SHORT: [&str; 7] = ["bench", "--seconds", "0.05", "--rounds", "1", "--callers", "1,8"];

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn figures_for_programs_have_a_name_each() {
    let place = Place::new();
    let run = place.run(&SHORT);
    assert!(run.stderr.lines().all(|line| line.starts_with("warning: this is a debug build")), "{run:?}");
    let report = run.json();
    assert_eq!((&report["rounds"], &report["seconds"]), (&1.into(), &0.05.into()), "{report}");
    assert!(report["fsync"]["median_us"].as_u64() <= report["fsync"]["p99_us"].as_u64(), "{report}");
    let list = |name: &str| report[name].as_array().unwrap().clone();
    let of = |rows: &[Value]| -> Vec<(String, u64)> {
        let text = |row: &Value| row["synchronous"].as_str().unwrap().to_owned();
        rows.iter().map(|row| (text(row), row["callers"].as_u64().unwrap_or(0))).collect()
    };
    let levels = |callers| ["full", "normal"].map(|level| (level.to_owned(), callers));
    assert_eq!(of(&list("one_by_one")), levels(0));
    let rows = [levels(1), levels(8)].concat();
    assert_eq!((of(&list("writes")), of(&list("limits"))), (rows.clone(), rows));
    for row in list("writes") {
        for figure in ["per_second", "plain_per_second", "of_plain"] {
            let [least, median, most] =
                ["least", "median", "most"].map(|name| row[figure][name].as_f64().unwrap());
            assert!(0.0 < least && least <= median && median <= most, "{figure}: {row}");
        }
        assert!(row["mean_batch"].as_f64().unwrap() >= 1.0, "{row}");
        assert!(row["p50_us"].as_u64() <= row["p99_us"].as_u64(), "{row}");
        let shares: Vec<_> = row["writer"].as_object().unwrap().values().collect();
        let sum: f64 = shares.iter().map(|share| share.as_f64().unwrap()).sum();
        // More than 1 if this process did not get a CPU between the two clocks.
        assert!(shares.len() == 5 && (0.99..2.0).contains(&sum), "{row}");
        assert_eq!(row["of_full"].is_object(), row["synchronous"] == "normal", "{row}");
        assert_eq!(row["other_linger"].is_object(), row["callers"] == 8, "{row}");
    }
    let in_force = list("reads").iter().filter(|row| row["of_in_force"].is_null()).count();
    assert!(in_force == 1 && list("reads").len() > 1, "{report}");
    let settings: Vec<_> =
        list("settings").iter().map(|row| row["setting"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        settings,
        [
            "queue.max_writes",
            "writer.max_batch_writes",
            "writer.linger",
            "database.synchronous",
            "readers.threads"
        ]
    );
    assert!(list("settings").iter().all(|row| !row["why"].as_str().unwrap().is_empty()), "{report}");
    assert!(report["conclusion"].as_str().unwrap().contains("right"), "{report}");
    assert_eq!(names(&place.path("")), [""; 0], "something was left");
}

/// Each number is a `#`, and of the rows of a table the beginning is kept.
fn masked(text: &str, place: &Place) -> String {
    let directory = place.path("");
    let text = text.replace(directory.to_str().unwrap().trim_end_matches('/'), "DIRECTORY");
    let mut shown = Vec::new();
    let (mut begins, mut kept) = (false, 0);
    for line in text.lines() {
        if line.starts_with(['├', '╞', '└']) {
            continue;
        }
        if line.starts_with('┌') {
            begins = true;
            continue;
        }
        if line.starts_with('│') {
            let cells: Vec<_> =
                line.split(['│', '┆']).map(str::trim).filter(|cell| !cell.is_empty()).collect();
            if begins {
                kept = if cells[1] == "callers" { 2 } else { 1 };
                shown.push(cells.join(" | "));
            } else {
                shown.push(format!("  {}", cells[..kept].join(" | ")));
            }
            begins = false;
            continue;
        }
        let words = line.split(' ').map(|word| {
            let number = word.trim_matches(['(', ')']);
            if number.parse::<f64>().is_ok() { word.replace(number, "#") } else { word.to_owned() }
        });
        shown.push(words.collect::<Vec<_>>().join(" "));
    }
    shown.join("\n")
}

#[test]
fn figures_for_people_are_tables_and_a_sentence() {
    let place = Place::new();
    place.write("settings.toml", "[readers]\nthreads = 2\n");
    let text = place.run(&[&SHORT[..], &["--output", "table", "--synchronous", "full"]].concat()).ok();
    let (tables, conclusion) = text.trim_end().rsplit_once("\n\n").unwrap();
    insta::assert_snapshot!(masked(tables, &place));
    assert!(conclusion.contains("right") && !conclusion.contains('\n'), "{conclusion}");
    assert_eq!(names(&place.path("")), ["settings.toml"], "something was left");
}

#[test]
fn the_database_itself_is_left_alone() {
    let place = Place::new();
    let arguments =
        ["bench", "--seconds", "0.01", "--rounds", "1", "--callers", "2", "--database", "data.db"];
    // There is none yet, and none is made.
    place.run(&arguments).json();
    assert_eq!(names(&place.path("")), [""; 0]);
    // A daemon has it open.
    let _daemon = Daemon::start(&place);
    let before = names(&place.path(""));
    let content = std::fs::read(place.path("data.db")).unwrap();
    place.run(&arguments).json();
    assert_eq!(names(&place.path("")), before);
    assert_eq!(std::fs::read(place.path("data.db")).unwrap(), content);
}

#[test]
fn a_directory_that_cannot_be_written_is_told() {
    let place = Place::new();
    place.write("file", "");
    place.run(&["bench", "--dir", "none"]).fails_with(1, "cannot write to none");
    place.run(&["bench", "--dir", "file"]).fails_with(1, "cannot write to file");
    place.run(&["bench", "--database", "none/data.db"]).fails_with(1, "name another directory with --dir");
    // Nobody may write there, not even root.
    #[cfg(target_os = "linux")]
    place.run(&["bench", "--dir", "/proc"]).fails_with(1, "cannot write to /proc");
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let place = Place::new();
        std::fs::create_dir(place.path("scratch")).unwrap();
        let mut command = place.command(&["bench", "--dir", "scratch", "--seconds", "600", "--callers", "2"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Its first file is there when it has taken the signals over.
        let begun = || {
            names(&place.path("scratch"))
                .first()
                .is_some_and(|name| place.path("scratch").join(name).join("fsync").exists())
        };
        let until = Instant::now() + PATIENCE;
        while !begun() {
            assert!(Instant::now() < until, "it does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(output.stdout.is_empty() && stderr.contains("interrupted by SIG"), "{stderr}");
        assert_eq!(names(&place.path("scratch")), [""; 0], "something was left");
    }
}
