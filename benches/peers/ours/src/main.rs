//! actix-sqlite, embedded, with its settings at their defaults but for the file and `synchronous`.
//!
//! `--way execute` (if none is given) sends the INSERT by `Database::execute`; `--way add-message-log` sends the typed
//! message `AddMessageLog`, which logs a message once however often it is sent. The callers run on the System's one
//! thread, as handlers and actors of an application do.

use actix_sqlite::relay::AddMessageLog;
use actix_sqlite::settings::Synchronous;
use actix_sqlite::{Database, Params, Settings, params};
use harness::{CREATED_AT, Failure, INSERT, Options, Row, measure};

#[actix_rt::main]
async fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    let file = options.dir.join("peer.db");
    let mut settings = Settings::for_file(&file);
    settings.database.synchronous =
        if options.synchronous == "full" { Synchronous::Full } else { Synchronous::Normal };
    let database = Database::open(settings).await?;
    let before = database.status().writer;

    let door = database.clone();
    let mut report = match options.way.as_deref() {
        None | Some("execute") => {
            let write = move |row| {
                let door = door.clone();
                async move { door.execute((INSERT, values(&row))).await.map(drop) }
            };
            measure(&options, write).await?
        }
        Some("add-message-log") => {
            let write = move |row| {
                let door = door.clone();
                async move { door.add_message_log(message(row)).await.map(drop) }
            };
            measure(&options, write).await?
        }
        Some(other) => return Err(format!("no way: {other}").into()),
    };

    let after = database.status().writer;
    #[allow(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]
    let batch = (after.committed - before.committed) as f64 / (after.commits - before.commits) as f64;
    report.batch = Some(batch);
    database.shutdown().await;
    report.print(&options, &file);
    Ok(())
}

fn values(row: &Row) -> Params {
    let Row { id, line } = row;
    params![
        &**id,
        &*line.kook_channel_id,
        &*line.content,
        &*line.message_type,
        &*line.sender_name,
        &*line.target_platform,
        &*line.target_channel,
        &*line.status,
        line.error_message.as_deref(),
        line.latency_ms,
        CREATED_AT,
    ]
}

fn message(row: Row) -> AddMessageLog {
    let Row { id, line } = row;
    AddMessageLog {
        kook_message_id: id,
        kook_channel_id: line.kook_channel_id.clone(),
        content: line.content.clone(),
        message_type: line.message_type.clone(),
        sender_name: line.sender_name.clone(),
        target_platform: line.target_platform.clone(),
        target_channel: line.target_channel.clone(),
        status: line.status.clone(),
        error_message: line.error_message.clone(),
        latency_ms: line.latency_ms,
        created_at: Some(CREATED_AT.into()),
    }
}
