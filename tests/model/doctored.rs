//! The checker's own tests: it accepts histories that are in order, and rejects each that was tampered with, for the
//! right reason.

use crate::checker::{Did, History, Item, List, Lists, Op, Step, Violation, check};
use crate::support::Random;

const CLIENTS: usize = 4;

/// A history that is in order: each transaction and read happens at once, at some time between its begin and its end.
fn in_order(random: &mut Random) -> History {
    let mut history = History::default();
    let (mut commit, mut free_from) = (1, [0; CLIENTS]);
    for (number, now) in (0..120).map(|number| (number, 100 + 10 * u64::try_from(number).unwrap())) {
        let client = random.below(CLIENTS);
        if free_from[client] >= now {
            continue;
        }
        let begun = (now - 1 - random.next() % 40).max(free_from[client] + 1);
        let ended = now + 1 + random.next() % 40;
        free_from[client] = ended;
        let item = |step: usize| Item::try_from(number * 10 + step).unwrap();
        let list = |random: &mut Random| List::try_from(random.below(3)).unwrap();
        let did = match random.below(8) {
            0..3 => Did::Read((0..=list(random)).map(|list| (list, seen(&history.last, list))).collect()),
            3 => Did::NotExecuted(vec![(list(random), item(0))]),
            4 => {
                let appended = vec![(0, item(0)), (1, item(1))];
                if random.coin() {
                    for (list, item) in &appended {
                        append(&mut history.last, *list, *item);
                    }
                }
                Did::Left(appended)
            }
            _ => {
                commit += random.next() % 2;
                let steps = (0..=random.below(3)).map(|step| {
                    let list = list(random);
                    let appended = (random.below(4) > 0).then(|| item(step));
                    if let Some(item) = appended {
                        append(&mut history.last, list, item);
                    }
                    Step { list, appended, saw: seen(&history.last, list) }
                });
                Did::Committed { commit, steps: steps.collect() }
            }
        };
        history.ops.push(Op { client, begun, ended, did });
    }
    history
}

fn seen(lists: &Lists, list: List) -> Vec<Item> {
    lists.get(&list).cloned().unwrap_or_default()
}

fn append(lists: &mut Lists, list: List, item: Item) {
    lists.entry(list).or_default().push(item);
}

/// Tampers with histories that are in order, as long as there is a place for it, and says how the checker takes it.
fn after(tamper: impl Fn(&mut History) -> Option<()>) -> Vec<Result<(), Violation>> {
    let verdicts: Vec<_> = (1..=40)
        .filter_map(|seed| {
            let mut history = in_order(&mut Random::from_seed(seed));
            check(&history).unwrap_or_else(|violation| panic!("seed {seed}: {violation:?} {history:#?}"));
            tamper(&mut history).map(|()| check(&history))
        })
        .collect();
    assert!(!verdicts.is_empty(), "there was no place to tamper with");
    verdicts
}

fn assert_all(verdicts: &[Result<(), Violation>], right: impl Fn(&Violation) -> bool) {
    for verdict in verdicts {
        assert!(verdict.as_ref().is_err_and(&right), "{verdict:?}");
    }
    println!("{} tampered with, all rejected", verdicts.len());
}

fn is_cycle(violation: &Violation) -> bool {
    matches!(violation, Violation::Cycle(ops) if ops.len() > 1)
}

/// The acknowledged appends, with their op.
fn acknowledged(history: &History) -> Vec<(usize, List, Item)> {
    let committed = history.ops.iter().enumerate().filter(|(_, op)| matches!(op.did, Did::Committed { .. }));
    committed
        .flat_map(|(op, Op { did, .. })| did.appended().into_iter().map(move |(list, item)| (op, list, item)))
        .collect()
}

fn op(client: usize, begun: u64, ended: u64, did: Did) -> Op {
    Op { client, begun, ended, did }
}

fn lists<const N: usize>(lists: [(List, &[Item]); N]) -> Lists {
    lists.into_iter().map(|(list, items)| (list, items.to_vec())).collect()
}

#[test]
fn a_lost_append_is_seen() {
    let verdicts = after(|history| {
        let (_, list, item) = acknowledged(history).pop()?;
        history.last.get_mut(&list)?.retain(|stored| *stored != item);
        Some(())
    });
    assert_all(&verdicts, |violation| matches!(violation, Violation::Lost { .. }));
}

#[test]
fn an_append_that_is_there_twice_is_seen() {
    let verdicts = after(|history| {
        let (_, list, item) = *acknowledged(history).first()?;
        history.last.get_mut(&list)?.push(item);
        Some(())
    });
    assert_all(&verdicts, |violation| matches!(violation, Violation::Twice { .. }));
}

#[test]
fn an_append_that_was_not_executed_and_is_there_is_seen() {
    let verdicts = after(|history| {
        let (op, ..) = *acknowledged(history).first()?;
        history.ops[op].did = Did::NotExecuted(history.ops[op].did.appended());
        Some(())
    });
    assert_all(&verdicts, |violation| matches!(violation, Violation::Invented { .. }));
}

#[test]
fn a_part_of_a_transaction_is_seen() {
    let verdicts = after(|history| {
        let both_there = |op: &&Op| {
            matches!(&op.did, Did::Left(appended) if appended.iter().all(
            |(list, item)| seen(&history.last, *list).contains(item)))
        };
        let (list, item) = history.ops.iter().find(both_there)?.did.appended()[1];
        history.last.get_mut(&list)?.retain(|stored| *stored != item);
        Some(())
    });
    assert_all(&verdicts, |violation| matches!(violation, Violation::Torn { .. }));
}

/// A read that saw last what was acknowledged before it began, and of which list.
fn fresh_read(history: &History) -> Option<(usize, List)> {
    let appends = acknowledged(history);
    history.ops.iter().enumerate().find_map(|(read, Op { begun, did, .. })| {
        let Did::Read(lists) = did else { return None };
        let is_fresh = |(list, saw): &(&List, &Vec<Item>)| {
            appends.iter().any(|(op, of, item)| {
                of == *list && saw.last() == Some(item) && history.ops[*op].ended < *begun
            })
        };
        lists.iter().find(is_fresh).map(|(list, _)| (read, *list))
    })
}

#[test]
fn a_read_that_misses_what_was_acknowledged_before_it_is_seen() {
    let verdicts = after(|history| {
        let (read, list) = fresh_read(history)?;
        let Did::Read(lists) = &mut history.ops[read].did else { return None };
        lists.get_mut(&list)?.pop().map(|_| ())
    });
    assert_all(&verdicts, is_cycle);
}

#[test]
fn two_appends_in_the_wrong_order_are_seen() {
    let verdicts = after(|history| {
        let (_, list, item) = acknowledged(history).into_iter().find(|(_, list, item)| {
            history.last.get(list).is_some_and(|items| items.first() != Some(item))
        })?;
        let items = history.last.get_mut(&list)?;
        let place = items.iter().position(|stored| *stored == item)?;
        items.swap(place - 1, place);
        Some(())
    });
    assert_all(&verdicts, |violation| matches!(violation, Violation::NotThePrefix { .. }));
}

#[test]
fn commit_numbers_in_another_order_than_the_appends_are_seen() {
    let verdicts = after(|history| {
        let appends = acknowledged(history);
        let (first, list, _) = *appends.first()?;
        let commit_of = |op: usize| match &history.ops[op].did {
            Did::Committed { commit, .. } => *commit,
            _ => 0,
        };
        let (second, ..) =
            *appends.iter().find(|(op, of, _)| *of == list && commit_of(*op) > commit_of(first))?;
        let numbers = [commit_of(second), commit_of(first)];
        for (op, number) in [first, second].into_iter().zip(numbers) {
            if let Did::Committed { commit, .. } = &mut history.ops[op].did {
                *commit = number;
            }
        }
        Some(())
    });
    assert_all(&verdicts, |violation| {
        is_cycle(violation) || matches!(violation, Violation::CommitWentBack { .. })
    });
}

#[test]
fn a_receipt_that_does_not_show_its_own_append_is_seen() {
    let verdicts = after(|history| {
        let (op, ..) = *acknowledged(history).first()?;
        let Did::Committed { steps, .. } = &mut history.ops[op].did else { return None };
        steps.iter_mut().find(|step| step.appended.is_some())?.saw.pop().map(|_| ())
    });
    assert_all(&verdicts, |violation| matches!(violation, Violation::NotThePrefix { .. }));
}

fn committed(commit: u64, steps: &[(List, Item, &[Item])]) -> Did {
    let steps = steps
        .iter()
        .map(|(list, item, saw)| Step { list: *list, appended: Some(*item), saw: saw.to_vec() })
        .collect();
    Did::Committed { commit, steps }
}

#[test]
fn a_commit_number_that_goes_back_is_seen() {
    let ops = vec![op(0, 1, 2, committed(2, &[(0, 1, &[1])])), op(0, 3, 4, committed(1, &[(1, 2, &[2])]))];
    let history = History { ops, last: lists([(0, &[1]), (1, &[2])]) };
    assert_eq!(check(&history), Err(Violation::CommitWentBack { op: 1 }));
}

#[test]
fn a_read_that_unsees_what_an_earlier_read_saw_is_seen() {
    let ops = vec![
        op(0, 1, 9, Did::Left(vec![(0, 1)])),
        op(1, 2, 3, Did::Read(lists([(0, &[1])]))),
        op(2, 4, 5, Did::Read(lists([(0, &[])]))),
    ];
    let history = History { ops, last: lists([(0, &[1])]) };
    assert!(check(&history).is_err_and(|violation| is_cycle(&violation)));
}

#[test]
fn a_read_of_what_is_appended_only_later_is_seen() {
    let ops = vec![op(0, 1, 2, Did::Read(lists([(0, &[1])]))), op(1, 3, 4, committed(1, &[(0, 1, &[1])]))];
    let history = History { ops, last: lists([(0, &[1])]) };
    assert!(check(&history).is_err_and(|violation| is_cycle(&violation)));
}

#[test]
fn a_read_of_half_a_transaction_is_seen() {
    let ops = vec![
        op(0, 1, 9, committed(1, &[(0, 1, &[1]), (1, 2, &[2])])),
        op(1, 2, 3, Did::Read(lists([(0, &[1]), (1, &[])]))),
    ];
    let history = History { ops, last: lists([(0, &[1]), (1, &[2])]) };
    assert_eq!(check(&history), Err(Violation::Cycle(vec![0, 1])));
}

#[test]
fn two_transactions_through_each_other_are_seen() {
    let ops = vec![
        op(0, 1, 9, committed(1, &[(0, 1, &[1]), (1, 2, &[4, 2])])),
        op(1, 1, 9, committed(1, &[(0, 3, &[1, 3]), (1, 4, &[4])])),
    ];
    let history = History { ops, last: lists([(0, &[1, 3]), (1, &[4, 2])]) };
    assert_eq!(check(&history), Err(Violation::Cycle(vec![0, 1])));
}
