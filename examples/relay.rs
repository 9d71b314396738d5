//! A chat relay made of actors: messages come in from one platform, go out to three, and every delivery is logged.
//!
//! ```text
//! Source ──ChatMessage──> Forwarder ──Delivery──> LogActor ──AddMessageLog──> DatabaseActor
//! ```
//!
//! Nobody waits for the disk: the log actor sends a typed message and counts the replies, which come after the COMMIT
//! that holds the row. A ticker on the same event loop shows how long the loop was ever kept from its work.
//!
//! `cargo run --example relay --features relay -- [FILE [MESSAGES [PER_SECOND]]]`: without a file it uses a temporary
//! one; 500 messages at 100 a second if not told otherwise.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, Recipient,
    SystemService, WrapFuture,
};
use actix_sqlite::relay::{AddMessageLog, Added, GetMessageLogs};
use actix_sqlite::{Database, DatabaseActor, GetStatus, Settings, WriteError};
use tokio::sync::oneshot;

const PLATFORMS: [&str; 3] = ["discord", "telegram", "feishu"];
const SENDERS: [&str; 5] = ["ada", "grace", "edsger", "barbara", "niklaus"];
const CHANNELS: [&str; 3] = ["general", "random", "support"];

/// Somebody wrote something in a channel.
struct ChatMessage {
    id: String,
    channel: &'static str,
    sender: &'static str,
    content: String,
}

impl Message for ChatMessage {
    type Result = ();
}

/// A message was delivered to one platform, or was not.
struct Delivery {
    message: Arc<ChatMessage>,
    platform: &'static str,
    latency: Duration,
    failure: Option<String>,
}

impl Message for Delivery {
    type Result = ();
}

/// Stands for the platform the messages come from: emits so many at a steady rate.
struct Source {
    forwarder: Recipient<ChatMessage>,
    messages: usize,
    per_second: f64,
    emitted: usize,
}

impl Source {
    fn message(&self) -> ChatMessage {
        let n = self.emitted;
        ChatMessage {
            id: format!("kook-{n:06}"),
            channel: CHANNELS[n % CHANNELS.len()],
            sender: SENDERS[n * 7 % SENDERS.len()],
            content: format!("message {n}: {}", "the quick brown fox ".repeat(n % 4 + 1).trim_end()),
        }
    }
}

impl Actor for Source {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let begun = Instant::now();
        // Timers come a little late; what is due is reckoned from the clock, so that the rate holds all the same.
        ctx.run_interval(Duration::from_secs_f64(1.0 / self.per_second), move |source, ctx| {
            while source.emitted < source.messages
                && begun.elapsed().as_secs_f64() * source.per_second > to_f64(source.emitted)
            {
                source.forwarder.do_send(source.message());
                source.emitted += 1;
            }
            if source.emitted == source.messages {
                ctx.stop();
            }
        });
    }
}

/// Delivers each message to every platform, all at the same time.
struct Forwarder {
    log: Recipient<Delivery>,
}

impl Actor for Forwarder {
    type Context = Context<Self>;
}

impl Handler<ChatMessage> for Forwarder {
    type Result = ();

    fn handle(&mut self, message: ChatMessage, ctx: &mut Self::Context) {
        let message = Arc::new(message);
        for (place, platform) in PLATFORMS.into_iter().enumerate() {
            let (latency, failure) = simulated(&message.id, place);
            let message = Arc::clone(&message);
            // An HTTP request to the platform would stand here.
            ctx.run_later(latency, move |forwarder, _| {
                forwarder.log.do_send(Delivery { message, platform, latency, failure });
            });
        }
    }
}

/// What a platform might answer: a latency from 20 to 319 ms, and one failure in forty.
fn simulated(id: &str, place: usize) -> (Duration, Option<String>) {
    let mixed =
        id.bytes().fold(place as u64 + 7, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let failure = mixed.is_multiple_of(40).then(|| "503 service unavailable".to_owned());
    (Duration::from_millis(20 + mixed % 300), failure)
}

/// Logs every delivery in the database, and tells when the last one is committed.
struct LogActor {
    database: Recipient<AddMessageLog>,
    expected: usize,
    counts: Counts,
    done: Option<oneshot::Sender<Counts>>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    logged: usize,
    duplicates: usize,
    lost: usize,
}

impl LogActor {
    fn on_reply(&mut self, reply: Result<Added, WriteError>) {
        match reply {
            Ok(Added { inserted: true, .. }) => self.counts.logged += 1,
            Ok(Added { inserted: false, .. }) => self.counts.duplicates += 1,
            Err(error) => {
                // The error says what became of the write; a relay would send it again if `is_retryable`.
                eprintln!("not logged: {} ({error})", error.code());
                self.counts.lost += 1;
            }
        }
        let Counts { logged, duplicates, lost } = self.counts;
        if logged + duplicates + lost == self.expected
            && let Some(done) = self.done.take()
        {
            // Nobody listens any more only if `main` is gone.
            let _ = done.send(self.counts);
        }
    }
}

impl Actor for LogActor {
    type Context = Context<Self>;
}

impl Handler<Delivery> for LogActor {
    type Result = ();

    fn handle(&mut self, delivery: Delivery, ctx: &mut Self::Context) {
        let Delivery { message, platform, latency, failure } = delivery;
        let log = AddMessageLog {
            kook_message_id: message.id.clone(),
            kook_channel_id: message.channel.to_owned(),
            content: message.content.clone(),
            message_type: "text".to_owned(),
            sender_name: message.sender.to_owned(),
            target_platform: platform.to_owned(),
            target_channel: format!("{platform}-{}", message.channel),
            status: if failure.is_some() { "failed" } else { "success" }.to_owned(),
            error_message: failure,
            latency_ms: i64::try_from(latency.as_millis()).ok(),
            created_at: None,
        };
        // Spawned, not waited for: the next delivery is handled meanwhile, and both go into one COMMIT.
        let reply = self.database.send(log).into_actor(self).map(|reply, log_actor, ctx| match reply {
            Ok(reply) => log_actor.on_reply(reply),
            Err(_) => ctx.stop(), // The database's actor is gone, and with it the system.
        });
        ctx.spawn(reply);
    }
}

/// Ticks every millisecond, and remembers by how much a tick was ever late.
struct Ticker {
    last: Instant,
    largest_delay: Duration,
}

const TICK: Duration = Duration::from_millis(1);

impl Actor for Ticker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.last = Instant::now();
        ctx.run_interval(TICK, |ticker, _| {
            let now = Instant::now();
            ticker.largest_delay = ticker.largest_delay.max((now - ticker.last).saturating_sub(TICK));
            ticker.last = now;
        });
    }
}

/// Asks the ticker for the largest delay so far.
struct GetLargestDelay;

impl Message for GetLargestDelay {
    type Result = Result<Duration, ()>;
}

impl Handler<GetLargestDelay> for Ticker {
    type Result = Result<Duration, ()>;

    fn handle(&mut self, _: GetLargestDelay, _: &mut Self::Context) -> Self::Result {
        Ok(self.largest_delay)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let scratch = tempfile::tempdir()?;
    let file = arguments.next().map_or_else(|| scratch.path().join("relay.db"), PathBuf::from);
    let messages = arguments.next().map_or(Ok(500), |text| text.parse())?;
    let per_second = arguments.next().map_or(Ok(100.0), |text| text.parse())?;
    actix_rt::System::new().block_on(relay(file, messages, per_second))
}

async fn relay(file: PathBuf, messages: usize, per_second: f64) -> Result<(), Box<dyn Error>> {
    let database = Database::open(Settings::for_file(file)).await?;
    // From here on any actor of this system finds it with `DatabaseActor::from_registry()`.
    DatabaseActor::register(database.clone());
    let address = DatabaseActor::from_registry();

    let begun = Instant::now();
    let ticker = Ticker { last: begun, largest_delay: Duration::ZERO }.start();
    let expected = messages * PLATFORMS.len();
    let (done, all_logged) = oneshot::channel();
    let log = LogActor {
        database: address.clone().recipient(),
        expected,
        counts: Counts::default(),
        done: (expected > 0).then_some(done),
    }
    .start();
    let forwarder = Forwarder { log: log.recipient() }.start();
    Source { forwarder: forwarder.recipient(), messages, per_second, emitted: 0 }.start();

    let counts = all_logged.await.unwrap_or_default();
    let seconds = begun.elapsed().as_secs_f64();
    let largest_delay = ticker.send(GetLargestDelay).await?.unwrap_or_default();
    println!("{messages} messages to {} platforms in {seconds:.1} s", PLATFORMS.len());
    println!("logged {}, logged before {}, lost {}", counts.logged, counts.duplicates, counts.lost);
    println!("largest delay of the event loop: {:.1} ms", largest_delay.as_secs_f64() * 1000.0);
    print_counts(&address).await?;
    if let Some(status) = address.send(GetStatus).await? {
        let writer = status.writer;
        println!("{} writes in {} batches, {} commits", writer.committed, writer.batches, writer.commits);
    }
    println!("{}", database.shutdown().await);
    if counts.logged + counts.duplicates == expected { Ok(()) } else { Err("deliveries are missing".into()) }
}

/// Reads back, through messages too, what is in the file.
async fn print_counts(database: &Addr<DatabaseActor>) -> Result<(), Box<dyn Error>> {
    println!("{:<10} {:>8} {:>8}", "in the file", "success", "failed");
    for platform in PLATFORMS {
        let mut totals = Vec::new();
        for status in ["success", "failed"] {
            let logs = GetMessageLogs {
                limit: Some(1),
                platform: Some(platform.to_owned()),
                status: Some(status.to_owned()),
                total: true,
                ..GetMessageLogs::default()
            };
            totals.push(database.send(logs).await??.total.unwrap_or_default());
        }
        println!("{platform:<11} {:>8} {:>8}", totals[0], totals[1]);
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52 messages")]
fn to_f64(count: usize) -> f64 {
    count as f64
}
