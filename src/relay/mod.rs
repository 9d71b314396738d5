//! The built-in domain: a chat relay's accounts and its log of forwarded messages.
//!
//! Every message here is an ordinary [`Write`](crate::Write) or [`Read`](crate::Read): a struct that says its SQL. They are
//! sent with [`Database::send`](crate::Database::send) and [`Database::ask`](crate::Database::ask), by the methods of
//! their names, as actor messages, or over HTTP.

mod accounts;
mod import;
mod message_logs;
mod time;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

pub use accounts::{
    Account, AccountSecrets, AddAccount, DeleteAccount, Deleted, GetAccount, GetAccounts,
    UpdateAccountStatus, Updated,
};
pub use import::{Import, ImportReport, RejectedLine};
pub use message_logs::{AddMessageLog, GetMessageLog, GetMessageLogs, MessageLog, MessageLogPage};

#[cfg(feature = "server")]
pub(crate) use time::from_seconds;

use crate::MigrationError;
use crate::message::TransactionReceipt;

/// A row that is in the database now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Added {
    /// Its id.
    pub id: i64,
    /// Whether this message inserted it; `false` if it was there before.
    pub inserted: bool,
}

mod embedded {
    refinery::embed_migrations!("src/relay/migrations");
}

/// The version of the domain's tables that this program knows.
pub fn schema_version() -> i32 {
    embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(refinery::Migration::version)
        .max()
        .unwrap_or(0)
}

/// Brings the domain's tables up to date.
pub(crate) fn migrate(conn: &mut Connection) -> Result<(), MigrationError> {
    let mut runner = embedded::migrations::runner().set_abort_missing(true).set_grouped(true);
    // The prefix closes the table to callers' SQL.
    runner.set_migration_table_name("_actix_sqlite_relay_migrations");
    runner.run(conn).map(|_| ()).map_err(|error| match error.kind() {
        refinery::error::Kind::MissingVersion(migration) => MigrationError::Newer(format!(
            "it has migration {} of accounts and message logs, this program knows {}",
            migration.version(),
            schema_version()
        )),
        _ => MigrationError::Failed(error.to_string()),
    })
}

/// The first statement inserts unless the row is there, the second one looks its id up.
fn added(receipt: &TransactionReceipt) -> Added {
    let inserted = receipt.results.first().is_some_and(|result| result.rows_affected > 0);
    let id = receipt.results.get(1).and_then(|result| result.first_row()?.values().first()?.as_i64());
    Added { id: id.unwrap_or_default(), inserted }
}

/// Checks the length of a text field, in characters.
fn check_length(field: &str, text: &str, longest: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("{field} is empty; give it a value"));
    }
    // It has no more characters than bytes, and is seldom too long.
    let length = if text.len() <= longest { 0 } else { text.chars().count() };
    if length > longest {
        return Err(format!("{field} has {length} characters, {longest} are allowed"));
    }
    Ok(())
}
