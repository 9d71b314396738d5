//! The Rust client `libsql` against a running daemon: `ACTIX_SQLITE_URL=http://127.0.0.1:4280 cargo run`.
//! It speaks Hrana 3 over HTTP: pipelines for what writes, cursors for what is read.
//! One TAP line a check; ends with 1 when one failed.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use libsql::{Builder, Connection, Database, TransactionBehavior, Value, params};

type Outcome = Result<(), Box<dyn Error>>;

/// A check that takes longer than this has failed.
const WITHIN: Duration = Duration::from_secs(40);

/// Ends the check with a reason unless the condition holds.
macro_rules! must {
    ($holds:expr, $($reason:tt)+) => {
        if !$holds {
            return Err(format!($($reason)+).into());
        }
    };
}

/// Ends the check unless both are equal.
macro_rules! equal {
    ($left:expr, $right:expr) => {
        match (&$left, &$right) {
            (left, right) => must!(left == right, "line {}: {left:?} is not {right:?}", line!()),
        }
    };
}

async fn open() -> Result<Database, libsql::Error> {
    let url = std::env::var("ACTIX_SQLITE_URL").unwrap_or_else(|_| "http://127.0.0.1:4280".into());
    Builder::new_remote(url, String::new()).connector(hyper::client::HttpConnector::new()).build().await
}

/// A connection and the name of a new, empty table `(a INTEGER PRIMARY KEY, b)`.
async fn with_table(number: usize) -> Result<(Connection, String), libsql::Error> {
    let conn = open().await?.connect()?;
    let table = format!("rust_{}_{number}", std::process::id());
    conn.execute(&format!("CREATE TABLE {table} (a INTEGER PRIMARY KEY, b)"), ()).await?;
    Ok((conn, table))
}

/// All values of all rows.
async fn rows(
    conn: &Connection,
    sql: &str,
    params: impl libsql::params::IntoParams,
) -> Result<Vec<Vec<Value>>, libsql::Error> {
    let mut found = conn.query(sql, params).await?;
    let mut all = Vec::new();
    while let Some(row) = found.next().await? {
        all.push((0..found.column_count()).map(|i| row.get_value(i)).collect::<Result<_, _>>()?);
    }
    Ok(all)
}

async fn count(conn: &Connection, table: &str) -> Result<i64, Box<dyn Error>> {
    match rows(conn, &format!("SELECT count(*) FROM {table}"), ()).await?.concat().as_slice() {
        [Value::Integer(n)] => Ok(*n),
        other => Err(format!("not a count: {other:?}").into()),
    }
}

async fn values(conn: Connection, t: String) -> Outcome {
    let kinds = [
        (Value::Null, "null"),
        (Value::Integer(0), "integer"),
        (Value::Integer((1 << 53) + 1), "integer"),
        (Value::Integer(i64::MAX), "integer"),
        (Value::Integer(i64::MIN), "integer"),
        (Value::Real(0.1), "real"),
        (Value::Real(f64::MAX), "real"),
        (Value::Real(5e-324), "real"),
        (Value::Real(3.0), "real"),
        (Value::Text(String::new()), "text"),
        (Value::Text("a\0b\0".into()), "text"),
        (Value::Text("\"'\\\n\u{1F600}é\u{1}".into()), "text"),
        (Value::Blob(vec![]), "blob"),
        (Value::Blob((0..=255).collect()), "blob"),
        (Value::Blob(vec![7; 100_001]), "blob"),
    ];
    for (value, kind) in kinds {
        conn.execute(&format!("INSERT INTO {t} (b) VALUES (?)"), [value.clone()]).await?;
        let id = conn.last_insert_rowid();
        let found =
            rows(&conn, &format!("SELECT b, typeof(b), ? FROM {t} WHERE a = ?"), params![value.clone(), id])
                .await?;
        equal!(found, vec![vec![value.clone(), Value::Text(kind.into()), value.clone()]]);
    }
    Ok(())
}

async fn arguments(conn: Connection, _: String) -> Outcome {
    let text = |text: &str| Value::Text(text.into());
    let found = rows(&conn, "SELECT ?, ?3, ?2", params!["a", "b", "c"]).await?;
    equal!(found, vec![vec![text("a"), text("c"), text("b")]]);
    for sign in [":", "@", "$"] {
        let args = vec![(format!("{sign}x"), text("a")), (format!("{sign}y"), text("b"))];
        let found = rows(&conn, &format!("SELECT {sign}x, {sign}y, {sign}x"), args).await?;
        equal!(found, vec![vec![text("a"), text("b"), text("a")]]);
    }
    Ok(())
}

async fn returning(conn: Connection, t: String) -> Outcome {
    let found =
        rows(&conn, &format!("INSERT INTO {t} VALUES (1, 'x'), (2, 'y') RETURNING a, upper(b)"), ()).await?;
    equal!(
        found,
        vec![
            vec![Value::Integer(1), Value::Text("X".into())],
            vec![Value::Integer(2), Value::Text("Y".into())]
        ]
    );
    let changed = conn.execute(&format!("UPDATE {t} SET b = 'z'"), ()).await?;
    equal!(changed, 2);
    Ok(())
}

async fn errors(conn: Connection, t: String) -> Outcome {
    conn.execute(&format!("INSERT INTO {t} VALUES (1, 'x')"), ()).await?;
    let wrong = [
        (format!("INSERT INTO {t} VALUES (1, 'y')"), "UNIQUE constraint failed"),
        ("SELECT * FROM nowhere_at_all".into(), "no such table"),
        ("SELEKT 1".into(), "syntax error"),
    ];
    for (sql, says) in wrong {
        let error =
            conn.execute(&sql, ()).await.err().ok_or(format!("{sql} should have failed"))?.to_string();
        must!(error.contains(says), "{error} does not say {says}");
        equal!(count(&conn, &t).await?, 1);
    }
    Ok(())
}

async fn batch(conn: Connection, t: String) -> Outcome {
    conn.execute_batch(&format!(
        "INSERT INTO {t} VALUES (1, 'a;b'); -- and\nBEGIN; INSERT INTO {t} VALUES (2, 'y'); COMMIT"
    ))
    .await?;
    equal!(count(&conn, &t).await?, 2);
    let failed = conn
        .execute_transactional_batch(&format!(
            "INSERT INTO {t} VALUES (3, 'x'); INSERT INTO {t} VALUES (3, 'y')"
        ))
        .await;
    must!(failed.is_err(), "the same key twice was accepted");
    equal!(count(&conn, &t).await?, 2);
    conn.execute_transactional_batch(&format!(
        "INSERT INTO {t} VALUES (3, 'x'); INSERT INTO {t} VALUES (4, 'y')"
    ))
    .await?;
    equal!(count(&conn, &t).await?, 4);
    Ok(())
}

async fn commit(conn: Connection, t: String) -> Outcome {
    let other = open().await?.connect()?;
    for behavior in [TransactionBehavior::Immediate, TransactionBehavior::Deferred] {
        let before = count(&other, &t).await?;
        let tx = conn.transaction_with_behavior(behavior).await?;
        tx.execute(&format!("INSERT INTO {t} (b) VALUES (?)"), ["x"]).await?;
        tx.execute(&format!("INSERT INTO {t} (b) VALUES (?)"), ["y"]).await?;
        equal!(count(&tx, &t).await?, before + 2);
        equal!(count(&other, &t).await?, before);
        tx.commit().await?;
        equal!(count(&other, &t).await?, before + 2);
    }
    Ok(())
}

async fn rollback(conn: Connection, t: String) -> Outcome {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).await?;
    tx.execute(&format!("INSERT INTO {t} VALUES (1, 'x')"), ()).await?;
    must!(
        tx.execute(&format!("INSERT INTO {t} VALUES (1, 'y')"), ()).await.is_err(),
        "the same key twice was accepted"
    );
    tx.execute(&format!("INSERT INTO {t} VALUES (2, 'y')"), ()).await?;
    tx.rollback().await?;
    equal!(count(&conn, &t).await?, 0);
    Ok(())
}

async fn dropped(conn: Connection, t: String) -> Outcome {
    let careless = open().await?.connect()?;
    let tx = careless.transaction_with_behavior(TransactionBehavior::Immediate).await?;
    tx.execute(&format!("INSERT INTO {t} VALUES (1, 'x')"), ()).await?;
    drop(tx);
    drop(careless);
    conn.execute(&format!("INSERT INTO {t} VALUES (2, 'y')"), ()).await?;
    equal!(rows(&conn, &format!("SELECT a FROM {t}"), ()).await?, vec![vec![Value::Integer(2)]]);
    Ok(())
}

async fn left_open(conn: Connection, t: String) -> Outcome {
    let careless = open().await?.connect()?;
    let tx = careless.transaction_with_behavior(TransactionBehavior::Immediate).await?;
    tx.execute(&format!("INSERT INTO {t} VALUES (1, 'x')"), ()).await?;
    conn.execute(&format!("INSERT INTO {t} VALUES (2, 'y')"), ()).await?;
    must!(tx.commit().await.is_err(), "a transaction was committed after another one had written");
    equal!(rows(&conn, &format!("SELECT a FROM {t}"), ()).await?, vec![vec![Value::Integer(2)]]);
    Ok(())
}

async fn read_only(conn: Connection, t: String) -> Outcome {
    let tx = conn.transaction_with_behavior(TransactionBehavior::ReadOnly).await?;
    equal!(count(&tx, &t).await?, 0);
    must!(
        tx.execute(&format!("INSERT INTO {t} VALUES (1, 'x')"), ()).await.is_err(),
        "a read-only transaction wrote"
    );
    drop(tx);
    Ok(())
}

async fn together(conn: Connection, t: String) -> Outcome {
    let insert = |i: i64| {
        let sql = format!("INSERT INTO {t} VALUES (?, ?)");
        async move { open().await?.connect()?.execute(&sql, params![i, format!("row {i}")]).await }
    };
    let all: Vec<_> = (0..64).map(|i| tokio::task::spawn_local(insert(i))).collect();
    for one in all {
        equal!(one.await??, 1);
    }
    equal!(count(&conn, &t).await?, 64);
    Ok(())
}

async fn statement(conn: Connection, t: String) -> Outcome {
    let insert = conn.prepare(&format!("INSERT INTO {t} VALUES (?, ?)")).await?;
    for i in 0..20 {
        insert.execute(params![i, "x"]).await?;
        insert.reset();
        equal!(count(&conn, &t).await?, i + 1);
    }
    let mut select = conn.prepare(&format!("SELECT a, b AS other FROM {t} WHERE a = ?")).await?;
    equal!(select.columns().iter().map(libsql::Column::name).collect::<Vec<_>>(), vec!["a", "other"]);
    equal!(select.query_row([3]).await?.get::<i64>(0)?, 3);
    Ok(())
}

async fn many_rows(conn: Connection, _: String) -> Outcome {
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i, 'row ' || i FROM n";
    let found = rows(&conn, sql, ()).await?;
    equal!(found.len(), 20_000);
    equal!(found[19_999], vec![Value::Integer(20_000), Value::Text("row 20000".into())]);
    Ok(())
}

/// Runs one check, says how it went, and gives whether it went well.
async fn check<F: Future<Output = Outcome>>(
    number: usize,
    name: &str,
    body: impl FnOnce(Connection, String) -> F,
) -> bool {
    let run = async {
        let (conn, table) = with_table(number).await?;
        body(conn, table).await
    };
    let failed = match tokio::time::timeout(WITHIN, run).await {
        Ok(Ok(())) => None,
        Ok(Err(reason)) => Some(reason.to_string()),
        Err(_) => Some("took too long".into()),
    };
    let word = if failed.is_some() { "not ok" } else { "ok" };
    println!("{word} {number} - rust http: {name}");
    if let Some(reason) = &failed {
        println!("# {}", reason.replace('\n', "\n# "));
    }
    failed.is_none()
}

async fn all() -> bool {
    let went = [
        check(1, "values of every kind come back as they were stored", values).await,
        check(2, "arguments by position and by name with each prefix", arguments).await,
        check(3, "RETURNING gives rows; others say what they changed", returning).await,
        check(4, "errors say what is wrong, and the connection goes on", errors).await,
        check(5, "several statements in one text, also as one transaction", batch).await,
        check(6, "a transaction is committed whole, and unseen before", commit).await,
        check(7, "a transaction is rolled back whole; an error inside does not end it", rollback).await,
        check(8, "a dropped transaction is rolled back, and others go on", dropped).await,
        check(9, "a transaction left open is rolled back in time, and others go on", left_open).await,
        check(10, "a read-only transaction refuses writes", read_only).await,
        check(11, "64 single inserts at once are all there", together).await,
        check(
            12,
            "a prepared statement runs again and again; each write is seen by the next read",
            statement,
        )
        .await,
        check(13, "20 000 rows through a cursor", many_rows).await,
    ];
    println!("1..{}", went.len());
    went.iter().all(|well| *well)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let well = tokio::task::LocalSet::new().run_until(all()).await;
    std::process::exit(i32::from(!well));
}
