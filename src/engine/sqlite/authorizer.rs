//! What SQL of callers may do (<https://sqlite.org/c3ref/set_authorizer.html>): anything with their own tables, nothing
//! with transactions, other files, the connection's settings or the engine's own tables.
//!
//! `sqlite3_stmt_readonly` would not do: BEGIN, ATTACH and some PRAGMAs pass it.

use std::cell::Cell;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// Prefix of the engine's own tables.
pub(super) const OWN_PREFIX: &str = "_actix_sqlite_";

thread_local! {
    /// Whether the engine's own SQL is being prepared on this thread. A connection lives on one thread, and SQLite
    /// calls the authorizer on the thread that prepares.
    static TRUSTED: Cell<bool> = const { Cell::new(false) };
    /// Whether what is being prepared runs in a transaction of the caller's own.
    static IN_TRANSACTION: Cell<bool> = const { Cell::new(false) };
    /// What was refused last, for the error message: SQLite itself only says "not authorized".
    static REFUSED: Cell<Option<String>> = const { Cell::new(None) };
    /// Whether what was prepared last makes or alters something in the schema.
    static DEFINES: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, the engine's own SQL may do what callers' may not.
pub(super) struct Trusted(());

impl Trusted {
    pub(super) fn begin() -> Self {
        TRUSTED.set(true);
        Self(())
    }
}

impl Drop for Trusted {
    fn drop(&mut self) {
        TRUSTED.set(false);
    }
}

/// While it lives, a caller's SQL may do what is only good inside of a transaction of its own. To be kept for as long as the
/// statement may be prepared again, and not for statements of the cache: they would be there for everybody.
pub(super) struct InTransaction(());

impl InTransaction {
    pub(super) fn begin() -> Self {
        IN_TRANSACTION.set(true);
        Self(())
    }
}

impl Drop for InTransaction {
    fn drop(&mut self) {
        IN_TRANSACTION.set(false);
    }
}

/// To be called before a caller's statement is prepared.
pub(super) fn forget() {
    REFUSED.take();
    DEFINES.set(false);
}

/// What was refused since [`forget`].
pub(super) fn take_refused() -> Option<String> {
    REFUSED.take()
}

/// Whether a statement that makes or alters something in the schema was prepared since [`forget`].
pub(super) fn defines() -> bool {
    DEFINES.get()
}

/// PRAGMAs that only tell, or that only help.
const READING_PRAGMAS: &[&str] = &[
    "application_id",
    "collation_list",
    "compile_options",
    "data_version",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "journal_mode",
    "module_list",
    "page_count",
    "page_size",
    "pragma_list",
    "quick_check",
    "read_uncommitted",
    "schema_version",
    "synchronous",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// Of these the argument names what is told about; with any other PRAGMA an argument sets something.
const PRAGMAS_WITH_ARGUMENT: &[&str] = &[
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// PRAGMAs that write something a caller may own.
const WRITING_PRAGMAS: &[&str] = &["application_id", "user_version", "optimize"];

pub(super) fn writer(context: AuthContext<'_>) -> Authorization {
    decide(context, WRITING_PRAGMAS)
}

pub(super) fn reader(context: AuthContext<'_>) -> Authorization {
    decide(context, &[])
}

fn decide(context: AuthContext<'_>, writing_pragmas: &[&str]) -> Authorization {
    if TRUSTED.get() {
        return Authorization::Allow;
    }
    if matches!(
        context.action,
        AuthAction::AlterTable { .. }
            | AuthAction::CreateIndex { .. }
            | AuthAction::CreateTable { .. }
            | AuthAction::CreateTrigger { .. }
            | AuthAction::CreateView { .. }
            | AuthAction::CreateVtable { .. }
    ) {
        DEFINES.set(true);
    }
    match refusal(&context, writing_pragmas) {
        None => Authorization::Allow,
        Some(reason) => {
            REFUSED.set(Some(reason));
            Authorization::Deny
        }
    }
}

fn refusal(context: &AuthContext<'_>, writing_pragmas: &[&str]) -> Option<String> {
    use AuthAction as A;
    let transactions = "transaction control is not for statements; send a transaction instead";
    let temporary = "temporary objects live on one connection, and no caller has one of its own; use a table";
    match context.action {
        A::Savepoint { savepoint_name, .. } if IN_TRANSACTION.get() => {
            is_own(savepoint_name).then(|| format!("names that begin with {OWN_PREFIX} belong to the engine"))
        }
        A::Pragma { pragma_name, .. }
            if IN_TRANSACTION.get() && pragma_name.eq_ignore_ascii_case("defer_foreign_keys") =>
        {
            None
        }
        A::Transaction { .. } | A::Savepoint { .. } => Some(transactions.into()),
        A::Attach { .. } | A::Detach { .. } => Some("ATTACH, DETACH and VACUUM INTO are not allowed".into()),
        A::CreateTempIndex { .. }
        | A::CreateTempTable { .. }
        | A::CreateTempTrigger { .. }
        | A::CreateTempView { .. } => Some(temporary.into()),
        // `CREATE TABLE temp.t` is no temporary table to the authorizer, only a table elsewhere.
        A::CreateTable { .. }
        | A::CreateIndex { .. }
        | A::CreateTrigger { .. }
        | A::CreateView { .. }
        | A::CreateVtable { .. }
            if context.database_name == Some("temp") =>
        {
            Some(temporary.into())
        }
        A::Pragma { pragma_name, pragma_value } => {
            let is_in = |list: &[&str]| list.iter().any(|name| name.eq_ignore_ascii_case(pragma_name));
            let allowed = is_in(writing_pragmas)
                || (is_in(READING_PRAGMAS) && (pragma_value.is_none() || is_in(PRAGMAS_WITH_ARGUMENT)));
            (!allowed).then(|| match pragma_value {
                Some(_) => format!("PRAGMA {pragma_name} with a value is not allowed; see the settings"),
                None => format!("PRAGMA {pragma_name} is not allowed"),
            })
        }
        A::Function { function_name } if function_name.eq_ignore_ascii_case("load_extension") => {
            Some("load_extension is not allowed".into())
        }
        A::Insert { table_name }
        | A::Update { table_name, .. }
        | A::Delete { table_name }
        | A::Read { table_name, .. }
        | A::CreateTable { table_name }
        | A::DropTable { table_name }
        | A::AlterTable { table_name, .. }
        | A::CreateTrigger { table_name, .. }
        | A::CreateIndex { table_name, .. }
        | A::DropIndex { table_name, .. }
        | A::CreateVtable { table_name, .. }
            if is_own(table_name) =>
        {
            Some(format!("{table_name} belongs to the engine"))
        }
        A::CreateView { view_name: name }
        | A::CreateTrigger { trigger_name: name, .. }
        | A::CreateIndex { index_name: name, .. }
            if is_own(name) =>
        {
            Some(format!("names that begin with {OWN_PREFIX} belong to the engine"))
        }
        A::Unknown { code, .. } => Some(format!("action {code} is not allowed")),
        _ => None,
    }
}

fn is_own(name: &str) -> bool {
    name.get(..OWN_PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(OWN_PREFIX))
}
