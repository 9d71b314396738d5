//! The limit: one thread, rusqlite, prepared statements, batches made by hand of as many rows as the others have callers.
//! Nobody sends these rows from elsewhere, and nobody is answered. A batch of one is an INSERT alone, in autocommit.

use std::time::Instant;

use harness::{Failure, Options, Report, Rows, Span, sqlite};
use rusqlite::Connection;

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    let file = options.dir.join("peer.db");
    let conn = Connection::open(&file)?;
    sqlite::set_up(&conn, &options.synchronous)?;
    sqlite::make_tables(&conn)?;
    let rows = Rows::read(&options)?;

    let mut report = Report { batch: Some(f64::from(u32::try_from(options.callers)?)), ..Report::default() };
    let span = Span::new(&options);
    let mut now = Instant::now();
    while now < span.to {
        if options.callers == 1 {
            sqlite::insert(&conn, &rows.next())?;
        } else {
            conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            for _ in 0..options.callers {
                sqlite::insert(&conn, &rows.next())?;
            }
            conn.prepare_cached("COMMIT")?.execute([])?;
        }
        now = Instant::now();
        report.acknowledged += options.callers;
        if span.contains(now) {
            report.inserts += options.callers;
        }
    }
    report.print(&options, &file);
    Ok(())
}
