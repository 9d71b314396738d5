//! The domain's messages as methods of the handle.

use super::Database;
use crate::error::{ReadError, WriteError};
use crate::relay::{
    Account, AddAccount, AddMessageLog, Added, DeleteAccount, Deleted, GetAccount, GetAccounts,
    GetMessageLog, GetMessageLogs, MessageLog, MessageLogPage, UpdateAccountStatus, Updated,
};

/// Each method sends the message of its name.
macro_rules! methods {
    ($door:ident, $error:ty, $($(#[$doc:meta])* $name:ident($message:ty) -> $reply:ty;)*) => {
        impl Database {$(
            $(#[$doc])*
            ///
            /// # Errors
            #[doc = concat!("[`", stringify!($error), "`] says why not.")]
            pub async fn $name(&self, message: $message) -> Result<$reply, $error> {
                self.$door(message).await
            }
        )*}
    };
}

methods! { send, WriteError,
    /// Adds an account, unless its e-mail address is there already.
    add_account(AddAccount) -> Added;
    /// Changes an account's status and notes the time.
    update_account_status(UpdateAccountStatus) -> Updated;
    /// Deletes an account.
    delete_account(DeleteAccount) -> Deleted;
    /// Logs a message, unless it was logged for the same target already.
    add_message_log(AddMessageLog) -> Added;
}

methods! { ask, ReadError,
    /// Finds an account.
    get_account(GetAccount) -> Option<Account>;
    /// Finds accounts, in order of their ids.
    get_accounts(GetAccounts) -> Vec<Account>;
    /// Finds a message log.
    get_message_log(GetMessageLog) -> Option<MessageLog>;
    /// Finds a page of message logs, the latest first.
    get_message_logs(GetMessageLogs) -> MessageLogPage;
}
