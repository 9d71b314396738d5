//! The domain: accounts, message logs, their tables in files of other ages, and the import.

use actix_sqlite::relay::{
    AddAccount, AddMessageLog, DeleteAccount, GetAccount, GetAccounts, GetMessageLog, GetMessageLogs, Import,
    ImportReport, MessageLog, MessageLogPage, UpdateAccountStatus,
};
use actix_sqlite::{Database, DatabaseActor, Keyed, Overflow};
use secrecy::SecretString;

use crate::harness::{Place, key, run};
use crate::support::{Random, chat_file};

const MAX_LINE: usize = 1_000_000;

async fn open(place: &Place) -> Database {
    place.open(|settings| settings.relay.migrate = true).await
}

fn log(message: &str, platform: &str) -> AddMessageLog {
    AddMessageLog {
        kook_message_id: message.into(),
        kook_channel_id: "lobby".into(),
        content: format!("content of {message}"),
        message_type: "text".into(),
        sender_name: "ann".into(),
        target_platform: platform.into(),
        target_channel: format!("{platform}-general"),
        status: "success".into(),
        error_message: None,
        latency_ms: Some(12),
        created_at: None,
    }
}

fn ids(page: &MessageLogPage) -> Vec<i64> {
    page.message_logs.iter().map(|log| log.id).collect()
}

async fn page(database: &Database, ask: GetMessageLogs) -> MessageLogPage {
    database.get_message_logs(ask).await.unwrap()
}

#[test]
fn an_account_is_added_found_changed_and_deleted() {
    let place = Place::new();
    run(async {
        let database = open(&place).await;
        let ann = database.add_account(AddAccount::new("ann@example.org")).await.unwrap();
        let bob = database.add_account(AddAccount::new("bob@example.org")).await.unwrap();
        assert!(ann.inserted && bob.inserted && ann.id != bob.id);
        let again = database.add_account(AddAccount::new("ann@example.org")).await.unwrap();
        assert_eq!((again.id, again.inserted), (ann.id, false), "an address is one account");

        let online = UpdateAccountStatus { id: bob.id, status: "online".into() };
        assert!(database.update_account_status(online).await.unwrap().updated);
        let of_nobody = UpdateAccountStatus { id: 99, status: "online".into() };
        assert!(!database.update_account_status(of_nobody).await.unwrap().updated);
        let found = database
            .get_accounts(GetAccounts { status: Some("online".into()), secrets: false })
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].id, &*found[0].email), (bob.id, "bob@example.org"));
        assert!(found[0].last_active.is_some());

        assert!(database.delete_account(DeleteAccount { id: ann.id }).await.unwrap().deleted);
        assert!(!database.delete_account(DeleteAccount { id: ann.id }).await.unwrap().deleted);
        assert_eq!(database.get_account(GetAccount { id: ann.id, secrets: false }).await.unwrap(), None);
    });
}

#[test]
fn secrets_are_shown_only_when_asked_for_and_never_printed() {
    let place = Place::new();
    run(async {
        let database = open(&place).await;
        let mut account = AddAccount::new("ann@example.org");
        account.password_encrypted = Some(SecretString::from("hunter2"));
        account.cookie = Some(SecretString::from("chocolate"));
        assert!(!format!("{account:?}").contains("hunter2"));
        let id = database.add_account(account).await.unwrap().id;

        let without = database.get_account(GetAccount { id, secrets: false }).await.unwrap().unwrap();
        assert_eq!(without.secrets, None);
        let json = serde_json::to_value(&without).unwrap();
        assert!(json.get("cookie").is_none() && json.get("password_encrypted").is_none(), "{json}");
        let with = database.get_account(GetAccount { id, secrets: true }).await.unwrap().unwrap();
        assert_eq!(with.secrets.as_ref().unwrap().cookie.as_deref(), Some("chocolate"));
        assert!(!format!("{with:?}").contains("chocolate"));
        assert_eq!(serde_json::to_value(&with).unwrap()["password_encrypted"], "hunter2");
    });
}

#[test]
fn one_message_to_one_target_is_one_row() {
    let place = Place::new();
    run(async {
        let database = open(&place).await;
        let first = database.add_message_log(log("m1", "discord")).await.unwrap();
        let again = database.add_message_log(log("m1", "discord")).await.unwrap();
        let elsewhere = database.add_message_log(log("m1", "telegram")).await.unwrap();
        assert!(first.inserted && !again.inserted && elsewhere.inserted);
        assert_eq!(first.id, again.id);
        assert_ne!(first.id, elsewhere.id);
        let stored = database.get_message_log(GetMessageLog { id: first.id }).await.unwrap().unwrap();
        assert_eq!((&*stored.content, stored.latency_ms), ("content of m1", Some(12)));
        assert!(stored.created_at.ends_with('Z'), "{}", stored.created_at);
        assert_eq!(database.get_message_log(GetMessageLog { id: 99 }).await.unwrap(), None);
    });
}

/// Whether a log passes a filter.
type Keep = fn(&MessageLog) -> bool;

/// Makes a good log bad.
type Spoil = fn(&mut AddMessageLog);

#[test]
fn logs_are_filtered_counted_and_paged() {
    let place = Place::new();
    run(async {
        let database = open(&place).await;
        for n in 0..60 {
            let mut log = log(&format!("m{n}"), ["discord", "telegram", "feishu"][n % 3]);
            log.status = if n % 4 == 0 { "failed" } else { "success" }.into();
            log.kook_channel_id = format!("channel{}", n % 5);
            log.created_at = Some(format!("2026-01-{:02}T00:00:00+02:00", n / 2 + 1));
            database.add_message_log(log).await.unwrap();
        }
        let all = GetMessageLogs { limit: Some(1000), total: true, ..GetMessageLogs::default() };
        let everything = page(&database, all.clone()).await;
        assert_eq!(everything.total, Some(60));
        assert_eq!(ids(&everything), (1..=60).rev().collect::<Vec<_>>(), "the latest first");

        // Each filter against the same condition on what is known to be there.
        let filters: [(GetMessageLogs, Keep); 6] = [
            (GetMessageLogs { status: Some("failed".into()), ..all.clone() }, |log| log.status == "failed"),
            (GetMessageLogs { platform: Some("feishu".into()), ..all.clone() }, |log| {
                log.target_platform == "feishu"
            }),
            (GetMessageLogs { channel: Some("channel3".into()), ..all.clone() }, |log| {
                log.kook_channel_id == "channel3"
            }),
            (GetMessageLogs { channel: Some("discord-general".into()), ..all.clone() }, |log| {
                log.target_channel == "discord-general"
            }),
            (
                GetMessageLogs {
                    since: Some("2026-01-10".into()),
                    until: Some("2026-01-20T00:00:00Z".into()),
                    ..all.clone()
                },
                |log| ("2026-01-10".."2026-01-20").contains(&&*log.created_at),
            ),
            (
                GetMessageLogs {
                    status: Some("failed".into()),
                    platform: Some("discord".into()),
                    ..all.clone()
                },
                |log| log.status == "failed" && log.target_platform == "discord",
            ),
        ];
        for (ask, keep) in filters {
            let expected: Vec<i64> =
                everything.message_logs.iter().filter(|log| keep(log)).map(|log| log.id).collect();
            assert!(!expected.is_empty() && expected.len() < 60, "{ask:?}");
            let found = page(&database, ask.clone()).await;
            assert_eq!(ids(&found), expected, "{ask:?}");
            assert_eq!(found.total, Some(expected.len() as u64), "{ask:?}");

            // By offset and by keyset, the pages together are the whole.
            let (mut by_offset, mut by_keyset) = (Vec::new(), Vec::new());
            let small = GetMessageLogs { limit: Some(7), ..ask };
            let mut before_id = None;
            loop {
                let offset = Some(by_offset.len() as u64);
                by_offset.extend(ids(&page(&database, GetMessageLogs { offset, ..small.clone() }).await));
                let next = page(&database, GetMessageLogs { before_id, ..small.clone() }).await;
                assert_eq!(next.total, Some(expected.len() as u64), "the total is of all pages");
                by_keyset.extend(ids(&next));
                before_id = next.next_before_id;
                if before_id.is_none() {
                    break;
                }
            }
            assert_eq!(by_offset, expected);
            assert_eq!(by_keyset, expected);
        }
        assert_eq!(page(&database, GetMessageLogs::default()).await.total, None);
    });
}

#[test]
fn a_field_out_of_its_bounds_is_named() {
    let place = Place::new();
    run(async {
        let database = open(&place).await;
        let bad: [(&str, Spoil); 6] = [
            ("kook_message_id is empty", |log| log.kook_message_id.clear()),
            ("target_platform has 300 characters", |log| log.target_platform = "x".repeat(300)),
            ("content has 1000001 characters", |log| log.content = "x".repeat(1_000_001)),
            ("latency_ms is negative", |log| log.latency_ms = Some(-1)),
            ("created_at is no time", |log| log.created_at = Some("noon".into())),
            ("status is empty", |log| log.status.clear()),
        ];
        for (reason, spoil) in bad {
            let mut log = log("m1", "discord");
            spoil(&mut log);
            let error = database.add_message_log(log).await.unwrap_err();
            assert_eq!(error.code(), "invalid_message");
            assert!(error.to_string().contains(reason), "{error}");
        }
        let error = database.add_account(AddAccount::new("ann")).await.unwrap_err();
        assert!(error.to_string().contains("email"), "{error}");
        for ask in [
            GetMessageLogs { limit: Some(0), ..GetMessageLogs::default() },
            GetMessageLogs { since: Some("noon".into()), ..GetMessageLogs::default() },
        ] {
            assert_eq!(database.get_message_logs(ask).await.unwrap_err().code(), "invalid_message");
        }
        assert_eq!(
            page(&database, GetMessageLogs { total: true, ..GetMessageLogs::default() }).await.total,
            Some(0)
        );
    });
}

#[test]
fn actors_send_the_messages_of_the_domain() {
    let place = Place::new();
    run(async {
        let address = DatabaseActor::register(open(&place).await);
        let added = address.send(log("m1", "discord")).await.unwrap().unwrap();
        let found = address.send(GetMessageLog { id: added.id }).await.unwrap().unwrap().unwrap();
        assert_eq!(found.kook_message_id, "m1");
        assert!(address.send(AddAccount::new("ann@example.org")).await.unwrap().unwrap().inserted);
        assert_eq!(address.send(GetAccounts::default()).await.unwrap().unwrap().len(), 1);
    });
}

#[test]
fn a_typed_write_under_a_key_happens_once_and_keeps_its_first_answer() {
    let place = Place::new();
    run(async {
        let database = open(&place).await;
        let keyed = |message: &str| Keyed { write: log(message, "discord"), key: key("once") };
        let first = database.send(keyed("m1")).await.unwrap();
        assert!(first.inserted);
        assert_eq!(database.send(keyed("m1")).await.unwrap(), first, "without the key: a duplicate");
        assert_eq!(database.send(keyed("m2")).await.unwrap_err().code(), "idempotency_conflict");
        let address = DatabaseActor::register(database);
        assert_eq!(address.send(keyed("m1")).await.unwrap().unwrap(), first);
    });
}

#[test]
fn an_older_file_is_brought_up_and_keeps_what_it_has() {
    let place = Place::new();
    run(async {
        let older = place.open(|_| {}).await;
        older.execute("CREATE TABLE mine (a)").await.unwrap();
        older.execute("INSERT INTO mine VALUES (1)").await.unwrap();
        assert!(older.shutdown().await.closed);
        let database = open(&place).await;
        assert!(database.add_message_log(log("m1", "discord")).await.unwrap().inserted);
        assert_eq!(database.query_as::<i64>("SELECT a FROM mine").await.unwrap(), [1]);
        assert!(database.shutdown().await.closed);
        assert!(!open(&place).await.add_message_log(log("m1", "discord")).await.unwrap().inserted);
    });
}

#[test]
fn a_newer_file_is_refused_and_left_alone() {
    let place = Place::new();
    run(async {
        assert!(open(&place).await.shutdown().await.closed);
        let newer = "INSERT INTO _actix_sqlite_relay_migrations SELECT 99, 'later', applied_on, checksum
                     FROM _actix_sqlite_relay_migrations";
        place.raw().execute_batch(newer).unwrap();
        let error =
            Database::open(place.settings(|settings| settings.relay.migrate = true)).await.unwrap_err();
        assert_eq!(error.code(), "newer_schema");
        assert!(error.to_string().contains("migration 99"), "{error}");
        // Whoever does not need the domain may still use the file.
        let database = place.open(|_| {}).await;
        assert_eq!(database.query_as::<i64>("SELECT count(*) FROM message_logs").await.unwrap(), [0]);
    });
}

async fn import(database: &Database, pieces: impl Iterator<Item = &[u8]>) -> ImportReport {
    let mut import = Import::new(database.clone(), MAX_LINE);
    for piece in pieces {
        import.feed(piece).await.unwrap();
    }
    import.finish().await.unwrap()
}

#[test]
fn an_import_takes_good_lines_and_names_bad_ones() {
    let place = Place::new();
    run(async {
        let database = open(&place).await;
        let good = serde_json::to_string(&log("m1", "discord")).unwrap();
        let other = serde_json::to_string(&log("m2", "discord")).unwrap();
        let mut file: Vec<u8> = format!("\u{feff}{good}\r\n\n{{\"kook\n").into_bytes();
        file.extend_from_slice(b"{\"content\": \"\xff\"}\n");
        file.extend_from_slice(format!("{{\"content\": \"{}\"}}\n", "x".repeat(MAX_LINE)).as_bytes());
        file.extend_from_slice(
            good.replace("\"latency_ms\":12", "\"latency_ms\":99999999999999999999").as_bytes(),
        );
        file.extend_from_slice(format!("\n{}\n", good.replace("\"content\"", "\"contents\"")).as_bytes());
        file.extend_from_slice(format!("{}\n", good.replace("discord\"", "\"")).as_bytes());
        // The last line has no end.
        file.extend_from_slice(format!("{good}\n{other}").as_bytes());
        for (size, expected) in [(usize::MAX, (2, 1)), (1, (0, 3)), (1000, (0, 3))] {
            let report = import(&database, file.chunks(size.min(file.len()))).await;
            assert_eq!((report.inserted, report.duplicates), expected, "in pieces of {size}");
            let rejected: Vec<(u64, &str)> =
                report.errors.iter().map(|error| (error.line, &*error.code)).collect();
            let named = [
                (3, "invalid_json"),
                (4, "invalid_utf8"),
                (5, "line_too_long"),
                (6, "invalid_json"),
                (7, "invalid_json"),
                (8, "invalid_message"),
            ];
            assert_eq!(rejected, named, "in pieces of {size}");
            assert_eq!(report.rejected, 6);
        }
    });
}

#[test]
fn an_import_never_fills_more_than_half_of_the_queue() {
    let place = Place::new();
    run(async {
        let database = place
            .open(|settings| {
                settings.relay.migrate = true;
                settings.queue.max_writes = 8.try_into().unwrap();
                settings.queue.overflow = Overflow::Reject;
                settings.writer.max_batch_writes = 4.try_into().unwrap();
            })
            .await;
        let lines: String = (0..500)
            .map(|n| serde_json::to_string(&log(&format!("m{n}"), "discord")).unwrap() + "\n")
            .collect();
        let importing = import(&database, lines.as_bytes().chunks(4096));
        let beside = async {
            for n in 0..100 {
                // Refused if the import took all the room.
                database.add_message_log(log(&format!("single{n}"), "discord")).await.unwrap();
            }
        };
        let (report, ()) = futures_util::future::join(importing, beside).await;
        assert_eq!((report.inserted, report.rejected), (500, 0), "{:?}", report.errors);
        assert_eq!(database.status().queue.refused, 0);
    });
}

#[test]
fn a_day_of_chat_is_imported_line_by_line_and_only_once() {
    let place = Place::new();
    let made_up = || {
        let mut random = Random::seeded(7);
        let lines = (0..24_000).map(|n| {
            let mut log = log(&format!("m{n}"), ["discord", "telegram", "feishu"][random.below(3)]);
            log.content = "word ".repeat(random.below(40));
            log.latency_ms = (random.below(8) > 0).then(|| i64::try_from(random.below(300)).unwrap());
            serde_json::to_string(&log).unwrap() + "\n"
        });
        lines.collect::<String>().into_bytes()
    };
    let chat = chat_file().map_or_else(made_up, |file| std::fs::read(file).unwrap());
    let expected: Vec<AddMessageLog> = chat
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    run(async {
        let database = open(&place).await;
        let first = import(&database, chat.chunks(64 * 1024)).await;
        let total = expected.len() as u64;
        assert_eq!((first.inserted, first.duplicates, first.rejected), (total, 0, 0));
        let again = import(&database, chat.chunks(64 * 1024)).await;
        assert_eq!((again.inserted, again.duplicates, again.rejected), (0, total, 0));

        let everything = GetMessageLogs { limit: Some(100_000), total: true, ..GetMessageLogs::default() };
        let stored = page(&database, everything).await;
        assert_eq!(stored.total, Some(total));
        for (stored, expected) in stored.message_logs.iter().rev().zip(&expected) {
            let stored = AddMessageLog {
                kook_message_id: stored.kook_message_id.clone(),
                kook_channel_id: stored.kook_channel_id.clone(),
                content: stored.content.clone(),
                message_type: stored.message_type.clone(),
                sender_name: stored.sender_name.clone(),
                target_platform: stored.target_platform.clone(),
                target_channel: stored.target_channel.clone(),
                status: stored.status.clone(),
                error_message: stored.error_message.clone(),
                latency_ms: stored.latency_ms,
                created_at: None,
            };
            assert_eq!(stored, *expected);
        }
        let status = database.status();
        println!("{} lines twice in {} commits", total, status.writer.commits);
        assert!(status.writer.commits < total / 4, "writes are committed in groups of eight at least");
    });
}
