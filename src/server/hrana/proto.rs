//! What clients send, in the words of the protocol. Unknown fields are ignored, as it demands; which versions know what is
//! checked later, by `prepare.rs`.

use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer};

use super::value::Incoming;

/// The versions of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server) enum Version {
    One = 1,
    Two = 2,
    Three = 3,
}

/// Of `/v2/pipeline` and `/v3/pipeline`.
#[derive(Deserialize)]
pub(super) struct PipelineBody {
    #[serde(default)]
    pub(super) baton: Option<String>,
    pub(super) requests: Vec<StreamRequest>,
}

/// Of `/v3/cursor`.
#[derive(Deserialize)]
pub(super) struct CursorBody {
    #[serde(default)]
    pub(super) baton: Option<String>,
    pub(super) batch: Batch,
}

/// Of `/v1/execute`.
#[derive(Deserialize)]
pub(super) struct StmtBody {
    pub(super) stmt: Stmt,
}

/// Of `/v1/batch`.
#[derive(Deserialize)]
pub(super) struct BatchBody {
    pub(super) batch: Batch,
}

/// A statement; exactly one of `sql` and `sql_id`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Stmt {
    #[serde(default)]
    pub(super) sql: Option<String>,
    #[serde(default)]
    pub(super) sql_id: Option<i32>,
    #[serde(default)]
    pub(super) args: Vec<Incoming>,
    #[serde(default)]
    pub(super) named_args: Vec<NamedArg>,
    #[serde(default)]
    pub(super) want_rows: Option<bool>,
}

/// SQL, or the number of a stored one.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) sql: Option<String>,
    pub(super) sql_id: Option<i32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NamedArg {
    pub(super) name: String,
    pub(super) value: Incoming,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Batch {
    pub(super) steps: Vec<BatchStep>,
}

#[derive(Debug, Deserialize)]
pub(super) struct BatchStep {
    #[serde(default)]
    pub(super) condition: Option<Cond>,
    pub(super) stmt: Stmt,
}

/// A condition of a step.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Cond {
    Ok { step: u32 },
    Error { step: u32 },
    Not { cond: Box<Cond> },
    And { conds: Vec<Cond> },
    Or { conds: Vec<Cond> },
    IsAutocommit,
}

/// What is done on a stream, over either transport.
#[derive(Debug)]
pub(super) enum Work {
    Execute(Stmt),
    Batch(Batch),
    Sequence(Text),
    Describe(Text),
    GetAutocommit,
}

/// A request of a pipeline.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Fields")]
pub(super) enum StreamRequest {
    Work(Work),
    StoreSql { sql_id: i32, sql: String },
    CloseSql { sql_id: i32 },
    Close,
}

/// A request over a WebSocket.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Fields")]
pub(super) enum Request {
    OpenStream { stream_id: i32 },
    CloseStream { stream_id: i32 },
    Work { stream_id: i32, work: Work },
    StoreSql { sql_id: i32, sql: String },
    CloseSql { sql_id: i32 },
    OpenCursor { stream_id: i32, cursor_id: i32, batch: Batch },
    FetchCursor { cursor_id: i32, max_count: u32 },
    CloseCursor { cursor_id: i32 },
}

/// A message over a WebSocket.
#[derive(Debug, Deserialize)]
#[serde(try_from = "MessageFields")]
pub(super) enum ClientMessage {
    Hello { jwt: Option<String> },
    Request { request_id: i32, request: Request },
}

/// The fields of any request, in whatever order they come: nothing need be read twice for its type to be known.
#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "type", deserialize_with = "named")]
    kind: Kind,
    #[serde(default)]
    stmt: Option<Stmt>,
    #[serde(default)]
    batch: Option<Batch>,
    #[serde(default)]
    sql: Option<String>,
    #[serde(default)]
    sql_id: Option<i32>,
    #[serde(default)]
    stream_id: Option<i32>,
    #[serde(default)]
    cursor_id: Option<i32>,
    #[serde(default)]
    max_count: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Execute,
    Batch,
    Sequence,
    Describe,
    StoreSql,
    CloseSql,
    GetAutocommit,
    Close,
    OpenStream,
    CloseStream,
    OpenCursor,
    FetchCursor,
    CloseCursor,
}

/// One of a list of names. Where something else stands than a name, that is said.
fn named<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(deserializer)?.into_deserializer())
}

fn needed<T>(field: Option<T>, name: &str) -> Result<T, String> {
    field.ok_or_else(|| format!("the request lacks `{name}`"))
}

/// What has no meaning over this transport.
fn elsewhere<T>(kind: Kind) -> Result<T, String> {
    Err(format!("there is no request of the type {kind:?} over this transport"))
}

impl Fields {
    /// None if it is not of this sort.
    fn work(&mut self) -> Result<Option<Work>, String> {
        let text = |fields: &mut Self| Text { sql: fields.sql.take(), sql_id: fields.sql_id };
        Ok(Some(match self.kind {
            Kind::Execute => Work::Execute(needed(self.stmt.take(), "stmt")?),
            Kind::Batch => Work::Batch(needed(self.batch.take(), "batch")?),
            Kind::Sequence => Work::Sequence(text(self)),
            Kind::Describe => Work::Describe(text(self)),
            Kind::GetAutocommit => Work::GetAutocommit,
            _ => return Ok(None),
        }))
    }

    fn stored(&mut self) -> Result<(i32, String), String> {
        Ok((needed(self.sql_id, "sql_id")?, needed(self.sql.take(), "sql")?))
    }
}

impl TryFrom<Fields> for StreamRequest {
    type Error = String;

    fn try_from(mut fields: Fields) -> Result<Self, String> {
        if let Some(work) = fields.work()? {
            return Ok(Self::Work(work));
        }
        match fields.kind {
            Kind::StoreSql => fields.stored().map(|(sql_id, sql)| Self::StoreSql { sql_id, sql }),
            Kind::CloseSql => Ok(Self::CloseSql { sql_id: needed(fields.sql_id, "sql_id")? }),
            Kind::Close => Ok(Self::Close),
            other => elsewhere(other),
        }
    }
}

impl TryFrom<Fields> for Request {
    type Error = String;

    fn try_from(mut fields: Fields) -> Result<Self, String> {
        let (stream_id, cursor_id) = (fields.stream_id, fields.cursor_id);
        let stream = || needed(stream_id, "stream_id");
        let cursor = || needed(cursor_id, "cursor_id");
        if let Some(work) = fields.work()? {
            return Ok(Self::Work { stream_id: stream()?, work });
        }
        Ok(match fields.kind {
            Kind::OpenStream => Self::OpenStream { stream_id: stream()? },
            Kind::CloseStream => Self::CloseStream { stream_id: stream()? },
            Kind::StoreSql => {
                let (sql_id, sql) = fields.stored()?;
                Self::StoreSql { sql_id, sql }
            }
            Kind::CloseSql => Self::CloseSql { sql_id: needed(fields.sql_id, "sql_id")? },
            Kind::OpenCursor => Self::OpenCursor {
                stream_id: stream()?,
                cursor_id: cursor()?,
                batch: needed(fields.batch, "batch")?,
            },
            Kind::FetchCursor => {
                Self::FetchCursor { cursor_id: cursor()?, max_count: needed(fields.max_count, "max_count")? }
            }
            Kind::CloseCursor => Self::CloseCursor { cursor_id: cursor()? },
            other => return elsewhere(other),
        })
    }
}

#[derive(Deserialize)]
struct MessageFields {
    #[serde(rename = "type", deserialize_with = "named")]
    kind: MessageKind,
    #[serde(default)]
    jwt: Option<String>,
    #[serde(default)]
    request_id: Option<i32>,
    #[serde(default)]
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum MessageKind {
    Hello,
    Request,
}

impl TryFrom<MessageFields> for ClientMessage {
    type Error = String;

    fn try_from(fields: MessageFields) -> Result<Self, String> {
        Ok(match fields.kind {
            MessageKind::Hello => Self::Hello { jwt: fields.jwt },
            MessageKind::Request => Self::Request {
                request_id: needed(fields.request_id, "request_id")?,
                request: needed(fields.request, "request")?,
            },
        })
    }
}
