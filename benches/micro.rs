//! The steps of a write's and a result's way, each by itself: nanoseconds and allocations.
//!
//! `cargo bench --features bench-internals --bench micro [-- NAME]`. Without `--bench`, as under `cargo test`, everything
//! runs once. `BENCH_SECONDS` (1): how long each step is measured at the most.
//!
//! The inside is reached through `actix_sqlite::bench_internals`, which no release has. These figures say which step a
//! change made dearer; what it means for a database that also writes to a disk is said by `throughput`.

#![allow(clippy::unwrap_used, reason = "a bench says what is wrong by failing")]
#![allow(clippy::wildcard_imports, reason = "the modules here only name what is measured")]

#[allow(dead_code, reason = "shared with benches that need more of it")]
mod support;

use actix_sqlite::bench_internals::{Answer, Batching, HranaAnswer, Intake, Ticket, ndjson, read_pipeline};
use actix_sqlite::relay::MessageLog;
use actix_sqlite::{Execute, Linger, Rows, Value, params};
use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Rows of a result.
const ROWS: usize = 100;

fn main() {
    let length = support::Length::from_environment(1, 1.0);
    divan::Divan::from_args().max_time(length.part).main();
}

fn write() -> Execute {
    let values = params!["made-000000000000002a", "channel-3", "the server is back again", "sender7", 42];
    Execute::new(
        "INSERT INTO chat (message, channel, content, sender, latency_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .params(values)
}

fn ticket() -> (Ticket, Answer) {
    Ticket::new(write()).unwrap()
}

/// A page of message logs.
fn rows() -> Rows {
    let columns = [
        "id",
        "kook_message_id",
        "kook_channel_id",
        "content",
        "message_type",
        "sender_name",
        "target_platform",
        "target_channel",
        "status",
        "error_message",
        "latency_ms",
        "created_at",
    ];
    let row = |n: usize| -> Vec<Value> {
        let id = i64::try_from(n).unwrap();
        vec![
            id.into(),
            format!("made-{n:016x}").into(),
            format!("channel-{}", n % 7).into(),
            "the server is back again, \"since\" this morning".into(),
            "text".into(),
            format!("sender{}", n % 97).into(),
            "discord".into(),
            "target".into(),
            "success".into(),
            Value::Null,
            (id % 400).into(),
            "2026-01-31T12:34:56.789Z".into(),
        ]
    };
    Rows { columns: columns.into_iter().collect(), rows: (0..ROWS).map(row).collect() }
}

mod policy {
    use super::*;

    #[divan::bench]
    fn takes_the_next_write(bencher: Bencher<'_, '_>) {
        let batching = Batching::new(Linger::Auto);
        bencher.bench(|| batching.goes_on(black_box(10), black_box(Some(200))));
    }

    #[divan::bench]
    fn waits_for_company_or_not(bencher: Bencher<'_, '_>) {
        let batching = Batching::new(Linger::Auto);
        bencher.bench(|| batching.goes_on(black_box(10), black_box(None)));
    }
}

mod queue {
    use super::*;

    /// One thread, so many writes at once: pushed, then taken in one go and answered, as by the writer.
    #[divan::bench(args = [1, 64, 1024])]
    fn a_batch_goes_in_and_out(bencher: Bencher<'_, '_>, writes: usize) {
        let intake = Intake::default();
        bencher
            .counter(ItemsCount::new(writes))
            .with_inputs(|| (0..writes).map(|_| ticket()).unzip::<_, _, Vec<_>, Vec<_>>())
            .bench_local_values(|(tickets, answers)| {
                for ticket in tickets {
                    assert!(intake.push(ticket));
                }
                assert_eq!(intake.commit_all(), writes);
                answers
            });
    }

    /// So many threads, each pushes one and takes one: what the lock costs when it is fought for.
    #[divan::bench(threads = [1, 2, 4])]
    fn one_in_one_out(bencher: Bencher<'_, '_>) {
        let intake = Intake::default();
        bencher.counter(ItemsCount::new(1_usize)).with_inputs(ticket).bench_values(|(ticket, answer)| {
            assert!(intake.push(ticket));
            (intake.pop(), answer)
        });
    }

    /// So many callers and one writer, each on a thread: from the push to the receipt, without any database.
    #[divan::bench(threads = [1, 2, 4])]
    fn there_and_back(bencher: Bencher<'_, '_>) {
        let intake = Intake::default();
        std::thread::scope(|scope| {
            scope.spawn(|| intake.serve());
            bencher.counter(ItemsCount::new(1_usize)).with_inputs(ticket).bench_values(|(ticket, answer)| {
                assert!(intake.push(ticket));
                answer.receipt().unwrap()
            });
            intake.close();
        });
    }
}

mod receipt {
    use super::*;

    /// What a caller allocates before its write is anywhere.
    #[divan::bench]
    fn a_write_is_made() -> Execute {
        write()
    }

    #[divan::bench]
    fn a_ticket_is_made(bencher: Bencher<'_, '_>) {
        bencher.with_inputs(write).bench_values(|write| Ticket::new(write).unwrap());
    }

    #[divan::bench]
    fn an_answer_becomes_a_receipt(bencher: Bencher<'_, '_>) {
        bencher.with_inputs(ticket).bench_values(|(ticket, answer)| {
            ticket.commit(7);
            answer.receipt().unwrap()
        });
    }
}

mod rows_of_12_columns {
    use super::*;

    #[divan::bench]
    fn become_structs(bencher: Bencher<'_, '_>) {
        let rows = rows();
        bencher.counter(ItemsCount::new(ROWS)).bench(|| rows.deserialize::<MessageLog>().unwrap());
    }

    #[divan::bench]
    fn become_tuples(bencher: Bencher<'_, '_>) {
        type Tuple = (
            i64,
            String,
            String,
            String,
            String,
            String,
            String,
            String,
            String,
            Option<String>,
            i64,
            String,
        );
        let rows = rows();
        bencher.counter(ItemsCount::new(ROWS)).bench(|| rows.deserialize::<Tuple>().unwrap());
    }

    #[divan::bench]
    fn are_asked_by_name(bencher: Bencher<'_, '_>) {
        let rows = rows();
        let column =
            |name: &str| rows.iter().filter_map(|row| row.get(black_box(name))?.as_i64()).sum::<i64>();
        bencher.counter(ItemsCount::new(ROWS)).bench(|| (column("id"), column("latency_ms")));
    }

    #[divan::bench]
    fn become_json(bencher: Bencher<'_, '_>) {
        let rows = rows();
        let bytes = serde_json::to_vec(&rows).unwrap().len();
        bencher.counter(BytesCount::new(bytes)).bench(|| serde_json::to_vec(&rows).unwrap());
    }

    #[divan::bench]
    fn become_ndjson(bencher: Bencher<'_, '_>) {
        let rows = rows();
        bencher.counter(BytesCount::new(ndjson(&rows).len())).bench(|| ndjson(&rows));
    }
}

mod hrana {
    use super::*;

    /// An INSERT of ten values, as clients send it.
    #[divan::bench]
    fn a_pipeline_is_read(bencher: Bencher<'_, '_>) {
        let text = r#"{"type":"text","value":"the server is back again"}"#;
        let number = r#"{"type":"integer","value":"42"}"#;
        let args = [[text, number]; 5].concat().join(",");
        let stmt = format!(r#"{{"sql":"INSERT INTO chat VALUES (?,?,?,?,?,?,?,?,?,?)","args":[{args}]}}"#);
        let json =
            format!(r#"{{"baton":null,"requests":[{{"type":"execute","stmt":{stmt}}},{{"type":"close"}}]}}"#);
        assert_eq!(read_pipeline(json.as_bytes()), Some(2));
        bencher.counter(BytesCount::new(json.len())).bench(|| read_pipeline(black_box(json.as_bytes())));
    }

    #[divan::bench]
    fn a_receipt_is_written(bencher: Bencher<'_, '_>) {
        let answer = HranaAnswer::new(Rows::default());
        bencher.bench(|| answer.to_json().unwrap());
    }

    #[divan::bench]
    fn rows_are_written(bencher: Bencher<'_, '_>) {
        let answer = HranaAnswer::new(rows());
        let bytes = answer.to_json().unwrap().len();
        bencher.counter(BytesCount::new(bytes)).bench(|| answer.to_json().unwrap());
    }
}
