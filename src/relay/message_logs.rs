//! Message logs: what the relay forwarded where, and how that went.

use std::fmt::Write as _;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::time::{NOW, normalize};
use super::{Added, added, check_length};
use crate::error::{ReadError, WriteError};
use crate::message::{Query, Read, Rows, Statement, Transaction, TransactionReceipt, Value, Write};
use crate::params;

const MAX_NAME: usize = 255;
const MAX_TEXT: usize = 1_000_000;
/// The largest page.
pub(crate) const MAX_LIMIT: u32 = 100_000;
const DEFAULT_LIMIT: u32 = 100;

const COLUMNS: &str = "id, kook_message_id, kook_channel_id, content, message_type, sender_name, target_platform, \
                       target_channel, status, error_message, latency_ms, created_at";

/// One message that was forwarded to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct MessageLog {
    /// Its id; later logs have higher ones.
    pub id: i64,
    /// The message.
    pub kook_message_id: String,
    /// The channel it was written in.
    pub kook_channel_id: String,
    /// Its text.
    pub content: String,
    /// Such as `text`, `image` or `system`.
    pub message_type: String,
    /// Who wrote it.
    pub sender_name: String,
    /// Where it was forwarded to, such as `discord`.
    pub target_platform: String,
    /// The channel there.
    pub target_channel: String,
    /// How that went, such as `success`, `failed` or `pending`.
    pub status: String,
    /// What went wrong.
    pub error_message: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_ms: Option<i64>,
    /// When it was logged, RFC 3339 in UTC.
    pub created_at: String,
}

/// Logs a message. The same message to the same target (`kook_message_id`, `target_platform`, `target_channel`) is one
/// row, however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddMessageLog {
    /// The message; 1 to 255 characters.
    pub kook_message_id: String,
    /// The channel it was written in; 1 to 255 characters.
    pub kook_channel_id: String,
    /// Its text; at most 1000000 characters, none for a message that is only a picture.
    pub content: String,
    /// 1 to 255 characters; `text` if not given.
    #[serde(default = "text")]
    #[cfg_attr(feature = "server", schema(default = "text"))]
    pub message_type: String,
    /// Who wrote it; at most 255 characters.
    #[serde(default)]
    pub sender_name: String,
    /// Where it was forwarded to; 1 to 255 characters.
    pub target_platform: String,
    /// The channel there; 1 to 255 characters.
    pub target_channel: String,
    /// How that went; 1 to 255 characters, `pending` if not given.
    #[serde(default = "pending")]
    #[cfg_attr(feature = "server", schema(default = "pending"))]
    pub status: String,
    /// What went wrong; at most 1000000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// How long it took, in milliseconds; not negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<i64>,
    /// When it was forwarded, RFC 3339; now if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

fn text() -> String {
    "text".to_owned()
}

fn pending() -> String {
    "pending".to_owned()
}

impl AddMessageLog {
    fn check(&self) -> Result<(), String> {
        for (field, text) in [
            ("kook_message_id", &self.kook_message_id),
            ("kook_channel_id", &self.kook_channel_id),
            ("message_type", &self.message_type),
            ("target_platform", &self.target_platform),
            ("target_channel", &self.target_channel),
            ("status", &self.status),
        ] {
            check_length(field, text, MAX_NAME)?;
        }
        for (field, text, longest) in [
            ("content", Some(&self.content), MAX_TEXT),
            ("sender_name", Some(&self.sender_name), MAX_NAME),
            ("error_message", self.error_message.as_ref(), MAX_TEXT),
        ] {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                check_length(field, text, longest)?;
            }
        }
        match self.latency_ms {
            Some(latency) if latency < 0 => Err(format!("latency_ms is negative: {latency}")),
            _ => Ok(()),
        }
    }
}

/// The same insert, with the time that the message brings along or with the time when it is written.
struct Texts {
    given: String,
    now: String,
}

static INSERT: LazyLock<Texts> = LazyLock::new(|| {
    let text = |created_at| {
        format!(
            "INSERT INTO message_logs (kook_message_id, kook_channel_id, content, message_type, sender_name,
                 target_platform, target_channel, status, error_message, latency_ms, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, {created_at})
             ON CONFLICT (kook_message_id, target_platform, target_channel) DO NOTHING"
        )
    };
    Texts { given: text("?11"), now: text(NOW) }
});
const FIND: &str =
    "SELECT id FROM message_logs WHERE kook_message_id = ?1 AND target_platform = ?2 AND target_channel = ?3";

impl AddMessageLog {
    fn into_statement(self) -> Result<Statement, WriteError> {
        self.check().map_err(WriteError::InvalidMessage)?;
        let created_at = self.created_at.as_deref().map(|time| normalize("created_at", time)).transpose();
        let created_at = created_at.map_err(WriteError::InvalidMessage)?;
        let mut values: Vec<Value> = Vec::with_capacity(11);
        values.extend([
            self.kook_message_id.into(),
            self.kook_channel_id.into(),
            self.content.into(),
            self.message_type.into(),
            self.sender_name.into(),
            self.target_platform.into(),
            self.target_channel.into(),
            self.status.into(),
            self.error_message.into(),
            self.latency_ms.into(),
        ]);
        let text = if let Some(created_at) = created_at {
            values.push(created_at.into());
            &INSERT.given
        } else {
            &INSERT.now
        };
        Ok(Statement::new(text.as_str()).params(values))
    }

    /// As one of many: in the bulk lane, and answered with no more than whether it was inserted: nobody asks for the id
    /// of a line.
    pub(super) fn into_import(self) -> Result<Transaction, WriteError> {
        Ok(Transaction::new().then(self.into_statement()?).bulk())
    }

    pub(super) fn was_inserted(committed: &TransactionReceipt) -> bool {
        committed.results.first().is_some_and(|result| result.rows_affected > 0)
    }
}

impl Write for AddMessageLog {
    type Reply = Added;

    fn into_transaction(self) -> Result<Transaction, WriteError> {
        let find = params![&*self.kook_message_id, &*self.target_platform, &*self.target_channel];
        Ok(Transaction::new().then(self.into_statement()?).then((FIND, find)))
    }

    fn reply(committed: TransactionReceipt) -> Added {
        added(&committed)
    }
}

/// Asks for one log.
#[derive(Debug, Clone, Copy)]
pub struct GetMessageLog {
    /// Which one.
    pub id: i64,
}

impl Read for GetMessageLog {
    type Reply = Option<MessageLog>;

    fn into_query(self) -> Result<Query, ReadError> {
        let sql = format!("SELECT {COLUMNS} FROM message_logs WHERE id = ?1");
        Ok(Query::new((sql, params![self.id])))
    }

    fn reply(rows: Rows) -> Result<Option<MessageLog>, ReadError> {
        rows.first().map(|row| row.deserialize()).transpose()
    }
}

/// Asks for a page of logs, the latest first.
///
/// Pages by `offset` shift when logs are added; pages by `before_id` (keyset paging, the last id of the page before) do
/// not, and cost the same however far back they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "server", into_params(parameter_in = Query))]
#[serde(default, deny_unknown_fields)]
pub struct GetMessageLogs {
    /// How many at most, 1 to 100000; 100 if not given.
    pub limit: Option<u32>,
    /// How many to skip.
    pub offset: Option<u64>,
    /// Only logs with a lower id.
    pub before_id: Option<i64>,
    /// Only logs with this status.
    pub status: Option<String>,
    /// Only logs forwarded to this platform.
    pub platform: Option<String>,
    /// Only logs from or to this channel.
    pub channel: Option<String>,
    /// Only logs made at this time or later: RFC 3339, or a date.
    pub since: Option<String>,
    /// Only logs made before this time: RFC 3339, or a date.
    pub until: Option<String>,
    /// With the number of all logs that pass the filters, whatever the page.
    #[serde(deserialize_with = "yes_or_no")]
    pub total: bool,
}

/// As query strings say it: `total=true`, `total=1`, or `total` alone.
fn yes_or_no<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct YesOrNo;
    impl serde::de::Visitor<'_> for YesOrNo {
        type Value = bool;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("true or false")
        }

        fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<bool, E> {
            match value {
                "true" | "1" | "" => Ok(true),
                "false" | "0" => Ok(false),
                other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
            }
        }
    }
    deserializer.deserialize_any(YesOrNo)
}

/// A page of logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct MessageLogPage {
    /// The logs, the latest first.
    pub message_logs: Vec<MessageLog>,
    /// `before_id` of the next page; none if this page is empty.
    pub next_before_id: Option<i64>,
    /// How many logs pass the filters, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl Read for GetMessageLogs {
    type Reply = MessageLogPage;

    fn into_query(self) -> Result<Query, ReadError> {
        let time = |field, text: Option<String>| {
            text.map(|text| normalize(field, &text)).transpose().map_err(ReadError::InvalidMessage)
        };
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            let message =
                format!("limit is {limit}; it must be 1 to {MAX_LIMIT}, use before_id for the next page");
            return Err(ReadError::InvalidMessage(message));
        }
        let mut filter = "TRUE".to_owned();
        let mut values: Vec<Value> = Vec::new();
        let filters = [
            ("status = ?", self.status),
            ("target_platform = ?", self.platform),
            ("created_at >= ?", time("since", self.since)?),
            ("created_at < ?", time("until", self.until)?),
        ];
        for (condition, value) in filters {
            if let Some(value) = value {
                values.push(value.into());
                // Writing to a String cannot fail.
                let _ = write!(filter, " AND {condition}{}", values.len());
            }
        }
        if let Some(channel) = self.channel {
            values.push(channel.into());
            let _ = write!(filter, " AND (kook_channel_id = ?{0} OR target_channel = ?{0})", values.len());
        }
        let all = if self.total {
            format!("SELECT count(*) FROM message_logs WHERE {filter}")
        } else {
            "NULL".into()
        };
        if let Some(before) = self.before_id {
            values.push(before.into());
            let _ = write!(filter, " AND id < ?{}", values.len());
        }
        values.push(limit.into());
        values.push(i64::try_from(self.offset.unwrap_or(0)).unwrap_or(i64::MAX).into());
        let (limit, offset) = (values.len() - 1, values.len());
        // One statement, so that page and total are of the same moment; the join keeps the total of an empty page.
        let sql = format!(
            "SELECT total, page.* FROM (SELECT ({all}) AS total) LEFT JOIN (
                 SELECT {COLUMNS} FROM message_logs WHERE {filter} ORDER BY id DESC LIMIT ?{limit} OFFSET ?{offset}
             ) AS page ORDER BY id DESC"
        );
        Ok(Query::new((sql, values)))
    }

    fn reply(rows: Rows) -> Result<MessageLogPage, ReadError> {
        let total = rows.first().and_then(|row| row.get("total")?.as_i64());
        let is_log = |row: &crate::RowRef<'_>| row.get("id").is_some_and(|id| *id != Value::Null);
        let message_logs: Vec<MessageLog> =
            rows.iter().filter(is_log).map(|row| row.deserialize()).collect::<Result<_, _>>()?;
        Ok(MessageLogPage {
            next_before_id: message_logs.last().map(|log| log.id),
            total: total.and_then(|total| u64::try_from(total).ok()),
            message_logs,
        })
    }
}
