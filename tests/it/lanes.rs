//! Two lanes of writes: interactive ones go before a bulk load, and neither starves the other. Most tests hold the writer
//! while they fill the queue, so that the order in the file is the order of the turns.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::rc::Rc;

use actix::Actor;
use actix_sqlite::{
    CommitSeq, Database, DatabaseActor, Execute, Keyed, Outcome, Overflow, Query, Settings, State,
    Transaction,
};
use futures_util::FutureExt;
use futures_util::future::{join, join_all};

use crate::harness::{Gate, Place, all, integers, key, run, run_all, soon, texts, until, unwrap_all};
use crate::support::Random;

const TABLE: &str = "CREATE TABLE t (seq INTEGER PRIMARY KEY, lane TEXT, n INTEGER)";

fn nonzero(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn insert(lane: &'static str, n: i64) -> Execute {
    Execute::new("INSERT INTO t (lane, n) VALUES (?1, ?2)").params(actix_sqlite::params![lane, n])
}

fn single(n: i64) -> Execute {
    insert("interactive", n)
}

fn bulk(n: i64) -> Execute {
    insert("bulk", n).bulk()
}

/// A queue for `max_writes`, committed `max_batch` at a time.
fn of_size(max_writes: usize, max_batch: usize) -> impl FnOnce(&mut Settings) {
    move |settings| {
        settings.queue.max_writes = nonzero(max_writes);
        settings.writer.max_batch_writes = nonzero(max_batch);
    }
}

/// Polls each once, so that it is queued.
fn queued<F: Future>(writes: impl IntoIterator<Item = F>) -> Vec<std::pin::Pin<Box<F>>> {
    let mut writes: Vec<_> = writes.into_iter().map(Box::pin).collect();
    assert!(writes.iter_mut().all(|write| write.now_or_never().is_none()), "the writer is held");
    writes
}

/// Each lane has all of its numbers, in order.
async fn assert_in_order(database: &Database, singles: i64, bulks: i64) {
    for (lane, count) in [("interactive", singles), ("bulk", bulks)] {
        let query = Query::new("SELECT n FROM t WHERE lane = ?1 ORDER BY seq").params([lane]);
        assert_eq!(integers(database, query).await, (0..count).collect::<Vec<_>>(), "{lane}");
    }
}

/// How many of the other lane there are between two of this one.
async fn gaps_between(database: &Database, lane: &str) -> Vec<usize> {
    let lanes = texts(database, "SELECT lane FROM t ORDER BY seq").await;
    let places: Vec<_> = (0..lanes.len()).filter(|place| lanes[*place] == lane).collect();
    places.windows(2).map(|pair| pair[1] - pair[0] - 1).collect()
}

#[test]
fn an_interactive_write_is_in_the_next_batch_however_many_bulk_ones_wait() {
    run(async {
        let place = Place::new();
        let database = place.open(of_size(40, 5)).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, single(0)).await;
        let load = queued((0..100).map(|n| database.execute(bulk(n))));
        let late = queued([database.execute(single(1))]);
        let status = database.status().queue;
        assert_eq!(
            (status.length, status.waiting, status.bulk_length, status.bulk_waiting),
            (21, 80, 20, 80)
        );
        drop(gate);
        let (load, late) = soon("the answers", join(join_all(load), join_all(late))).await;
        let held = in_hand.await.unwrap().unwrap().commit;
        assert_eq!(unwrap_all(late)[0].commit, CommitSeq(held.0 + 1));
        let last = unwrap_all(load).last().unwrap().commit;
        assert!(last.0 >= held.0 + 20, "the load takes 20 batches more");
        assert_in_order(&database, 2, 100).await;
        let status = database.status().queue;
        assert_eq!((status.length, status.bytes, status.bulk_length, status.bulk_waiting), (0, 0, 0, 0));
    });
}

#[test]
fn while_both_wait_so_many_interactive_writes_are_taken_for_each_bulk_one() {
    for weight in [1, 3, 8] {
        run(async {
            let place = Place::new();
            let database = place
                .open(|settings| {
                    of_size(1_000, 7)(settings);
                    settings.queue.interactive_weight = nonzero(weight);
                })
                .await;
            run_all(&database, &[TABLE]).await;
            let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, "SELECT 1").await;
            let load = queued((0..100).map(|n| database.execute(bulk(n))));
            let singles = queued((0..100).map(|n| database.execute(single(n))));
            drop(gate);
            let (load, singles) = soon("the answers", join(join_all(load), join_all(singles))).await;
            drop((unwrap_all(load), unwrap_all(singles), in_hand.await.unwrap()));
            assert_in_order(&database, 100, 100).await;
            let lanes = texts(&database, "SELECT lane FROM t ORDER BY seq").await;
            let mut turn = vec!["interactive"; weight];
            turn.push("bulk");
            let both_wait = 100 / weight * turn.len();
            assert_eq!(lanes[..both_wait], turn.repeat(100 / weight));
        });
    }
}

#[test]
fn a_steady_interactive_load_leaves_bulk_its_share_though_it_fills_the_queue() {
    run(async {
        let place = Place::new();
        // The callers alone are twice as many as the queue takes.
        let database = place.open(of_size(30, 10)).await;
        run_all(&database, &[TABLE]).await;
        let stop = Rc::new(Cell::new(false));
        let callers: Vec<_> = (0..60)
            .map(|n| {
                let (database, stop) = (database.clone(), Rc::clone(&stop));
                actix_rt::spawn(async move {
                    while !stop.get() {
                        database.execute(single(n)).await.unwrap();
                    }
                })
            })
            .collect();
        until("the queue is full", || database.status().queue.waiting > 0).await;
        unwrap_all(soon("the bulk load", all(&database, (0..100).map(bulk))).await);
        stop.set(true);
        unwrap_all(join_all(callers).await);
        let gaps = gaps_between(&database, "bulk").await;
        assert_eq!(gaps.len(), 99);
        assert!(gaps.iter().all(|gap| *gap <= 8), "{gaps:?}");
        assert!(gaps.iter().sum::<usize>() > 400, "there was an interactive load all the time: {gaps:?}");
    });
}

#[test]
fn a_steady_bulk_load_does_not_make_an_interactive_write_wait_for_more_than_the_batch_in_hand() {
    run(async {
        let place = Place::new();
        let database = place.open(of_size(200, 10)).await;
        run_all(&database, &[TABLE]).await;
        let stop = Rc::new(Cell::new(false));
        let callers: Vec<_> = (0..300)
            .map(|n| {
                let (database, stop) = (database.clone(), Rc::clone(&stop));
                actix_rt::spawn(async move {
                    while !stop.get() {
                        database.execute(bulk(n)).await.unwrap();
                    }
                })
            })
            .collect();
        until("bulk waits outside", || database.status().queue.bulk_waiting > 0).await;
        let mut waits = Vec::new();
        for n in 0..100 {
            let mut write = Box::pin(database.execute(single(n)));
            assert!((&mut write).now_or_never().is_none());
            let (last, queue) = (database.last_commit(), database.status().queue);
            assert_eq!(queue.waiting, queue.bulk_waiting, "it is inside");
            waits.push(soon("an interactive write", write).await.unwrap().commit.0 - last.0);
        }
        stop.set(true);
        unwrap_all(join_all(callers).await);
        // One batch may be in hand; it is in the one after that.
        assert!(waits.iter().all(|commits| *commits <= 2), "{waits:?}");
        let gaps = gaps_between(&database, "interactive").await;
        assert!(gaps.iter().sum::<usize>() > 500, "there was a bulk load all the time: {gaps:?}");
    });
}

#[test]
fn ten_times_what_fits_in_bulk_keeps_no_interactive_write_out() {
    for overflow in [Overflow::Wait, Overflow::Reject] {
        run(async {
            let place = Place::new();
            let database = place
                .open(|settings| {
                    of_size(40, 10)(settings);
                    settings.queue.overflow = overflow;
                })
                .await;
            run_all(&database, &[TABLE]).await;
            let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, "SELECT 1").await;
            let load = queued([all(&database, (0..400).map(bulk))]).pop().unwrap();
            let refused = if overflow == Overflow::Reject { 380 } else { 0 };
            assert_eq!(database.status().queue.refused, refused);
            let singles = queued((0..20).map(|n| database.execute(single(n))));
            let status = database.status().queue;
            assert_eq!((status.length, status.bulk_length), (40, 20));
            assert_eq!(status.waiting, status.bulk_waiting, "each interactive write is inside");
            drop(gate);
            let (load, singles) = soon("the answers", join(load, join_all(singles))).await;
            drop(in_hand.await.unwrap());
            let (load, errors): (Vec<_>, Vec<_>) = load.into_iter().partition(Result::is_ok);
            assert_eq!(errors.len() as u64, refused);
            for error in errors.into_iter().map(Result::unwrap_err) {
                assert_eq!((error.code(), error.outcome()), ("queue_full", Outcome::NotExecuted));
            }
            let bulks = i64::try_from(load.len()).unwrap();
            assert_eq!(unwrap_all(singles).len(), 20);
            assert_in_order(&database, 20, bulks).await;
        });
    }
}

#[test]
fn a_flush_waits_for_all_that_was_queued_before_it_in_either_lane() {
    for (singles, bulks) in [(0, 0), (30, 0), (0, 60), (30, 60), (1, 60)] {
        run(async {
            let place = Place::new();
            // Half of the bulk writes wait outside.
            let database = place.open(of_size(60, 4)).await;
            run_all(&database, &[TABLE]).await;
            let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert("first", 0)).await;
            let load = queued((0..bulks).map(|n| database.execute(bulk(n))));
            let interactive = queued((0..singles).map(|n| database.execute(single(n))));
            let flush = queued([database.flush()]).pop().unwrap();
            let later = queued([database.execute(insert("later", 0).bulk())]).pop().unwrap();
            drop(gate);
            // Alone: the writes are queued, so nobody has to wait for their answers.
            let flushed = soon("the flush", flush).await.unwrap();
            let count = integers(&database, "SELECT count(*) FROM t WHERE lane <> 'later'").await;
            assert_eq!(count, [singles + bulks + 1], "of {singles} and {bulks}");
            let (load, interactive) = soon("the answers", join(join_all(load), join_all(interactive))).await;
            for receipt in unwrap_all(load).into_iter().chain(unwrap_all(interactive)) {
                assert!(receipt.commit <= flushed);
            }
            assert!(in_hand.await.unwrap().unwrap().commit <= flushed);
            later.await.unwrap();
        });
    }
}

#[test]
fn a_flush_of_nothing_is_one_look_of_the_writer_and_no_commit() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let before = database.status().writer;
        let flushed = soon("a flush", database.flush()).await.unwrap();
        let after = database.status().writer;
        assert_eq!(flushed.0, before.last_commit);
        assert_eq!((after.batches - before.batches, after.last_commit), (1, before.last_commit));
    });
}

#[test]
fn a_shutdown_commits_what_is_queued_in_both_lanes() {
    run(async {
        let place = Place::new();
        let database = place.open(of_size(40, 3)).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, "SELECT 1").await;
        let load = queued((0..50).map(|n| database.execute(bulk(n))));
        let singles = queued((0..10).map(|n| database.execute(single(n))));
        let ending = async {
            until("the shutdown has begun", || database.status().state == State::ShuttingDown).await;
            drop(gate);
        };
        let (report, ()) = soon("the shutdown", join(database.shutdown(), ending)).await;
        assert_eq!((report.refused, report.closed), (0, true), "{report}");
        unwrap_all(join_all(load).await);
        unwrap_all(join_all(singles).await);
        drop(in_hand.await.unwrap());
        assert_in_order(&place.open(|_| ()).await, 10, 50).await;
    });
}

/// Writes of all kinds, at random in either lane, through a queue so short that most wait outside.
#[test]
fn each_callers_writes_keep_their_order_in_each_lane() {
    const CALLERS: usize = 8;
    const EACH: usize = 150;
    run(async {
        let place = Place::new();
        let database = place.open(of_size(20, 7)).await;
        run_all(
            &database,
            &["CREATE TABLE t (seq INTEGER PRIMARY KEY, caller INTEGER, bulk INTEGER, n INTEGER)"],
        )
        .await;
        let mut random = Random::seeded(5);
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let kinds: Vec<(usize, bool)> = (0..EACH).map(|_| (random.below(3), random.coin())).collect();
                let database = database.clone();
                actix_rt::spawn(async move {
                    let writes = kinds.into_iter().enumerate().map(|(n, (kind, is_bulk))| {
                        let [caller, bulk, n] =
                            [caller, usize::from(is_bulk), n].map(|n| i64::try_from(n).unwrap());
                        let insert = "INSERT INTO t (caller, bulk, n) VALUES (?1, ?2, ?3)";
                        let write = Transaction::new().then((insert, [caller, bulk, n]));
                        let write = if is_bulk { write.bulk() } else { write };
                        let (database, name) = (&database, format!("{caller}-{n}"));
                        async move {
                            let commit = match kind {
                                0 => database.transaction(write).await.unwrap().commit,
                                1 => database.send(Keyed { write, key: key(&name) }).await.unwrap().commit,
                                _ => {
                                    let mut alone = Execute::new((insert, [caller, bulk, n]));
                                    alone.lane = write.lane;
                                    database.execute(alone).await.unwrap().commit
                                }
                            };
                            (is_bulk, commit)
                        }
                    });
                    let commits = join_all(writes).await;
                    for lane in [true, false] {
                        let of_lane = commits.iter().filter(|(is_bulk, _)| *is_bulk == lane);
                        assert!(of_lane.map(|(_, commit)| commit).is_sorted(), "{caller}: {commits:?}");
                    }
                })
            })
            .collect();
        unwrap_all(soon("the answers", join_all(callers)).await);
        assert_eq!(
            integers(&database, "SELECT count(*) FROM t").await,
            [i64::try_from(CALLERS * EACH).unwrap()]
        );
        let overtaken = "SELECT count(*) FROM t AS a JOIN t AS b ON a.caller = b.caller AND a.bulk = b.bulk
                         WHERE a.seq < b.seq AND a.n > b.n";
        assert_eq!(integers(&database, overtaken).await, [0]);
    });
}

#[test]
fn bulk_that_waits_holds_up_its_own_actor_and_no_other() {
    run(async {
        let place = Place::new();
        let database = place.open(of_size(8, 4)).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, "SELECT 1").await;
        let [load, desk] = [(); 2].map(|()| DatabaseActor::new(database.clone()).start());
        (0..20).for_each(|n| load.do_send(bulk(n)));
        until("the load waits", || database.status().queue.bulk_waiting == 1).await;
        let single = actix_rt::spawn(desk.send(single(0)));
        until("the other actor's write is inside", || {
            let queue = database.status().queue;
            (queue.length - queue.bulk_length, queue.bulk_length, queue.waiting) == (1, 4, 1)
        })
        .await;
        drop(gate);
        let receipt = soon("the single write", single).await.unwrap().unwrap().unwrap();
        let held = in_hand.await.unwrap().unwrap().commit;
        assert_eq!(receipt.commit, CommitSeq(held.0 + 1));
        load.send(actix_sqlite::Flush).await.unwrap().unwrap();
        assert_in_order(&database, 1, 20).await;
    });
}
