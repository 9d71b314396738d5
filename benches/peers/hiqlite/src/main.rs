//! hiqlite: SQLite as the state machine of a Raft log, here a cluster of one node in this process
//! (<https://docs.rs/hiqlite>). What is acknowledged is in its log, and SQLite itself runs with `synchronous=OFF`: for `full`
//! the log is synced before the answer (`LogSync::Immediate`), for `normal` every 200 ms, its default. All else is at its
//! defaults, but for the allocator, which is the one of its own benchmark.

use std::net::TcpListener;

use harness::{CREATED_AT, Failure, INSERT, Options, Row, SCHEMA, measure};
use hiqlite::{LogSync, Node, NodeConfig, Param};

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    options.runtime()?.block_on(run(&options))
}

async fn run(options: &Options) -> Result<(), Failure> {
    let data = options.dir.to_string_lossy().into_owned();
    let (raft, api) = free_ports()?;
    let node = Node { id: 1, addr_raft: format!("127.0.0.1:{raft}"), addr_api: format!("127.0.0.1:{api}") };
    let config = NodeConfig {
        node_id: 1,
        nodes: vec![node],
        listen_addr_api: "127.0.0.1".into(),
        listen_addr_raft: "127.0.0.1".into(),
        data_dir: data.into(),
        wal_sync: if options.synchronous == "full" {
            LogSync::Immediate
        } else {
            LogSync::IntervalMillis(200)
        },
        secret_raft: "only for this benchmark".into(),
        secret_api: "only for this benchmark".into(),
        ..NodeConfig::default()
    };
    let file = options.dir.join("state_machine/db/hiqlite.db");
    let client = hiqlite::start_node(config).await?;
    client.wait_until_healthy_db().await;
    for made in client.batch(SCHEMA).await? {
        made?;
    }

    let door = client.clone();
    let write = move |row| {
        let door = door.clone();
        async move { door.execute(INSERT, values(row)).await.map(drop) }
    };
    let report = measure(options, write).await?;
    client.shutdown().await?;
    report.print(options, &file);
    Ok(())
}

fn values(row: Row) -> Vec<Param> {
    let Row { id, line } = row;
    vec![
        id.into(),
        line.kook_channel_id.as_str().into(),
        line.content.as_str().into(),
        line.message_type.as_str().into(),
        line.sender_name.as_str().into(),
        line.target_platform.as_str().into(),
        line.target_channel.as_str().into(),
        line.status.as_str().into(),
        line.error_message.as_deref().into(),
        line.latency_ms.into(),
        CREATED_AT.into(),
    ]
}

/// Two ports that were free a moment ago, as it takes no port 0.
fn free_ports() -> std::io::Result<(u16, u16)> {
    let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}
