//! Accounts: who the relay logs in as.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::time::NOW;
use super::{Added, added, check_length};
use crate::error::{ReadError, WriteError};
use crate::message::{Query, Read, Rows, Statement, Transaction, TransactionReceipt, Write};
use crate::params;

const MAX_EMAIL: usize = 320;
const MAX_STATUS: usize = 64;
const MAX_SECRET: usize = 65_536;

/// An account, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Account {
    /// Its id.
    pub id: i64,
    /// Its e-mail address; no two accounts have the same one.
    pub email: String,
    /// Such as `offline` or `online`.
    pub status: String,
    /// When its status last changed, RFC 3339 in UTC.
    pub last_active: Option<String>,
    /// When it was added, RFC 3339 in UTC.
    pub created_at: String,
    /// Only if they were asked for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<AccountSecrets>,
}

/// What logs an account in. Never logged; over HTTP only on request by an admin.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AccountSecrets {
    /// The password, encrypted by the caller.
    pub password_encrypted: Option<String>,
    /// The session cookie.
    pub cookie: Option<String>,
}

impl std::fmt::Debug for AccountSecrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("AccountSecrets([REDACTED])")
    }
}

/// Adds an account. An e-mail address that is there already changes nothing and says so in [`Added::inserted`].
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddAccount {
    /// 3 to 320 characters with an `@` in it.
    pub email: String,
    /// The password, encrypted by the caller; at most 65536 characters.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub password_encrypted: Option<SecretString>,
    /// The session cookie; at most 65536 characters.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub cookie: Option<SecretString>,
    /// 1 to 64 characters; `offline` if not given.
    #[serde(default = "offline")]
    #[cfg_attr(feature = "server", schema(default = "offline"))]
    pub status: String,
}

fn offline() -> String {
    "offline".to_owned()
}

impl AddAccount {
    /// An offline account without secrets.
    pub fn new(email: impl Into<String>) -> Self {
        Self { email: email.into(), password_encrypted: None, cookie: None, status: offline() }
    }

    fn check(&self) -> Result<(), String> {
        check_length("email", &self.email, MAX_EMAIL)?;
        let (name, domain) = self.email.split_once('@').unwrap_or_default();
        if name.is_empty() || domain.is_empty() {
            return Err("email is no e-mail address; it needs a name, an @ and a domain".into());
        }
        for (field, secret) in [("password_encrypted", &self.password_encrypted), ("cookie", &self.cookie)] {
            if let Some(secret) = secret {
                check_length(field, secret.expose_secret(), MAX_SECRET)?;
            }
        }
        check_length("status", &self.status, MAX_STATUS)
    }
}

impl Write for AddAccount {
    type Reply = Added;

    fn into_transaction(self) -> Result<Transaction, WriteError> {
        self.check().map_err(WriteError::InvalidMessage)?;
        let secret =
            |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        let values =
            params![&*self.email, secret(&self.password_encrypted), secret(&self.cookie), self.status];
        Ok(Transaction::new()
            .then((
                "INSERT INTO accounts (email, password_encrypted, cookie, status) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (email) DO NOTHING",
                values,
            ))
            .then(("SELECT id FROM accounts WHERE email = ?1", params![self.email])))
    }

    fn reply(committed: TransactionReceipt) -> Added {
        added(&committed)
    }
}

/// Changes an account's status and notes the time.
#[derive(Debug, Clone)]
pub struct UpdateAccountStatus {
    /// Which account.
    pub id: i64,
    /// 1 to 64 characters.
    pub status: String,
}

/// Whether there was a row to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Updated {
    /// `false` if there is no such row.
    pub updated: bool,
}

impl Write for UpdateAccountStatus {
    type Reply = Updated;

    fn into_transaction(self) -> Result<Transaction, WriteError> {
        check_length("status", &self.status, MAX_STATUS).map_err(WriteError::InvalidMessage)?;
        let sql = format!("UPDATE accounts SET status = ?1, last_active = {NOW} WHERE id = ?2");
        Ok(Transaction::new().then((sql, params![self.status, self.id])))
    }

    fn reply(committed: TransactionReceipt) -> Updated {
        Updated { updated: committed.results.first().is_some_and(|result| result.rows_affected > 0) }
    }
}

/// Deletes an account.
#[derive(Debug, Clone, Copy)]
pub struct DeleteAccount {
    /// Which account.
    pub id: i64,
}

/// Whether there was a row to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Deleted {
    /// `false` if there is no such row.
    pub deleted: bool,
}

impl Write for DeleteAccount {
    type Reply = Deleted;

    fn into_transaction(self) -> Result<Transaction, WriteError> {
        Ok(Transaction::new().then(("DELETE FROM accounts WHERE id = ?1", params![self.id])))
    }

    fn reply(committed: TransactionReceipt) -> Deleted {
        Deleted { deleted: committed.results.first().is_some_and(|result| result.rows_affected > 0) }
    }
}

/// Asks for one account.
#[derive(Debug, Clone, Copy)]
pub struct GetAccount {
    /// Which account.
    pub id: i64,
    /// With its secrets.
    pub secrets: bool,
}

/// Asks for accounts, in order of their ids.
#[derive(Debug, Clone, Default)]
pub struct GetAccounts {
    /// Only those with this status.
    pub status: Option<String>,
    /// With their secrets.
    pub secrets: bool,
}

fn select(secrets: bool) -> &'static str {
    if secrets {
        "SELECT id, email, status, last_active, created_at, password_encrypted, cookie FROM accounts"
    } else {
        "SELECT id, email, status, last_active, created_at FROM accounts"
    }
}

fn accounts(rows: &Rows) -> Result<Vec<Account>, ReadError> {
    let with_secrets = rows.columns.iter().any(|column| column == "cookie");
    let mut accounts: Vec<Account> = rows.deserialize()?;
    if !with_secrets {
        // Both fields are optional, so a flattened struct is found even where its columns are not.
        for account in &mut accounts {
            account.secrets = None;
        }
    }
    Ok(accounts)
}

impl Read for GetAccount {
    type Reply = Option<Account>;

    fn into_query(self) -> Result<Query, ReadError> {
        let sql = format!("{} WHERE id = ?1", select(self.secrets));
        Ok(Query::new((sql, params![self.id])))
    }

    fn reply(rows: Rows) -> Result<Option<Account>, ReadError> {
        accounts(&rows).map(|accounts| accounts.into_iter().next())
    }
}

impl Read for GetAccounts {
    type Reply = Vec<Account>;

    fn into_query(self) -> Result<Query, ReadError> {
        let select = select(self.secrets);
        Ok(match self.status {
            Some(status) => Query::new((format!("{select} WHERE status = ?1 ORDER BY id"), params![status])),
            None => Query::new(Statement::new(format!("{select} ORDER BY id"))),
        })
    }

    fn reply(rows: Rows) -> Result<Vec<Account>, ReadError> {
        accounts(&rows)
    }
}
