CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    password_encrypted TEXT,
    cookie TEXT,
    status TEXT NOT NULL DEFAULT 'offline',
    last_active TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

-- One message goes to many targets; to each of them once.
CREATE TABLE message_logs (
    id INTEGER PRIMARY KEY,
    kook_message_id TEXT NOT NULL,
    kook_channel_id TEXT NOT NULL,
    content TEXT NOT NULL,
    message_type TEXT NOT NULL DEFAULT 'text',
    sender_name TEXT NOT NULL DEFAULT '',
    target_platform TEXT NOT NULL,
    target_channel TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    error_message TEXT,
    latency_ms INTEGER,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    UNIQUE (kook_message_id, target_platform, target_channel)
) STRICT;

-- Each index ends with the rowid, so a page of one filter is read in order of the id.
CREATE INDEX message_logs_by_status ON message_logs (status);
CREATE INDEX message_logs_by_platform ON message_logs (target_platform);
CREATE INDEX message_logs_by_channel ON message_logs (kook_channel_id);
CREATE INDEX message_logs_by_target_channel ON message_logs (target_channel);
CREATE INDEX message_logs_by_time ON message_logs (created_at);
