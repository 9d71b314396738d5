//! Whether one order explains what concurrent clients were told: each transaction and each read at one point of it,
//! between its begin and its end, each seeing exactly what came before (strict serializability), in the order of the
//! commit numbers.
//!
//! Every append is of an item of its own to the end of a list, so a list's final text tells the order of its appends,
//! and whatever anybody saw of it has to be a beginning of that text. What must come before what is an edge of a graph;
//! an order exists if the graph has no cycle. (The idea is Elle's: <https://github.com/jepsen-io/elle>.)

use std::collections::BTreeMap;

pub(crate) type List = u8;
pub(crate) type Item = i64;
pub(crate) type Lists = BTreeMap<List, Vec<Item>>;

/// All that happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) ops: Vec<Op>,
    /// What the lists held when all was over.
    pub(crate) last: Lists,
}

/// One transaction or read of one client. The times are those of one clock for all.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) client: usize,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) did: Did,
}

#[derive(Debug, Clone)]
pub(crate) enum Did {
    Committed {
        commit: u64,
        steps: Vec<Step>,
    },
    /// The client was told that it is not executed.
    NotExecuted(Vec<(List, Item)>),
    /// The client did not wait for the answer: all of it or nothing, at any time from its begin on.
    Left(Vec<(List, Item)>),
    /// Some lists, in one query.
    Read(Lists),
}

/// One statement of a transaction: what it appended, if it did, and the list it saw, with that item.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) list: List,
    pub(crate) appended: Option<Item>,
    pub(crate) saw: Vec<Item>,
}

/// Why no order explains the history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Violation {
    /// An acknowledged append is not there.
    Lost { list: List, item: Item },
    /// It is there more than once.
    Twice { list: List, item: Item },
    /// Nobody appended it there, or it was said not to be executed.
    Invented { list: List, item: Item },
    /// Of a transaction that nobody waited for, a part is there.
    Torn { op: usize },
    /// What was seen is no beginning of the list, or does not end where it has to.
    NotThePrefix { op: usize, list: List },
    /// A client's commit number is lower than its last one.
    CommitWentBack { op: usize },
    /// Each of these has to come before the next, and the last before the first.
    Cycle(Vec<usize>),
}

/// Checks everything.
pub(crate) fn check(history: &History) -> Result<(), Violation> {
    let appenders = appenders(history)?;
    all_or_nothing(history, &appenders)?;
    commits_never_decrease(history)?;
    let mut graph = Graph::new(history);
    for (list, items) in &history.last {
        for pair in items.windows(2) {
            graph.edge(appenders[&(*list, pair[0])], appenders[&(*list, pair[1])]);
        }
    }
    for (op, Op { did, .. }) in history.ops.iter().enumerate() {
        match did {
            Did::Committed { steps, .. } => {
                let mut own = Vec::new();
                for Step { list, appended, saw } in steps {
                    own.extend(appended.map(|item| (*list, item)));
                    // Its own appends up to here and no other, the one of this statement last.
                    let own_there = own.iter().filter(|(of, _)| of == list).map(|(_, item)| *item);
                    let own_seen =
                        saw.iter().copied().filter(|item| appenders.get(&(*list, *item)) == Some(&op));
                    let ends_right = appended.is_none() || saw.last() == appended.as_ref();
                    if !ends_right || !own_there.eq(own_seen) {
                        return Err(Violation::NotThePrefix { op, list: *list });
                    }
                    graph.saw(op, *list, saw, &appenders)?;
                }
            }
            Did::Read(lists) => {
                for (list, saw) in lists {
                    graph.saw(op, *list, saw, &appenders)?;
                }
            }
            Did::NotExecuted(_) | Did::Left(_) => {}
        }
    }
    graph.acyclic()
}

/// Who appended each item that is in a list.
type Appenders = BTreeMap<(List, Item), usize>;

fn appenders(history: &History) -> Result<Appenders, Violation> {
    let mut may = BTreeMap::new();
    for (op, Op { did, .. }) in history.ops.iter().enumerate() {
        for appended in did.appended() {
            assert!(may.insert(appended, op).is_none(), "{appended:?} was sent twice: the test is wrong");
        }
    }
    let mut found = BTreeMap::new();
    for (list, items) in &history.last {
        for item in items {
            let (list, item) = (*list, *item);
            let Some(op) = may.get(&(list, item)) else { return Err(Violation::Invented { list, item }) };
            if matches!(history.ops[*op].did, Did::NotExecuted(_)) {
                return Err(Violation::Invented { list, item });
            }
            if found.insert((list, item), *op).is_some() {
                return Err(Violation::Twice { list, item });
            }
        }
    }
    Ok(found)
}

fn all_or_nothing(history: &History, appenders: &Appenders) -> Result<(), Violation> {
    for (op, Op { did, .. }) in history.ops.iter().enumerate() {
        let appended = did.appended();
        let lost = appended.iter().find(|appended| !appenders.contains_key(appended));
        match (did, lost) {
            (Did::Committed { .. }, Some((list, item))) => {
                return Err(Violation::Lost { list: *list, item: *item });
            }
            (Did::Left(_), Some(_)) if appended.iter().any(|appended| appenders.contains_key(appended)) => {
                return Err(Violation::Torn { op });
            }
            _ => {}
        }
    }
    Ok(())
}

fn commits_never_decrease(history: &History) -> Result<(), Violation> {
    let mut last = BTreeMap::new();
    let mut ops: Vec<usize> = (0..history.ops.len()).collect();
    ops.sort_by_key(|op| history.ops[*op].begun);
    for op in ops {
        let Op { client, did, .. } = &history.ops[op];
        if let Did::Committed { commit, .. } = did
            && last.insert(client, commit).is_some_and(|last| last > commit)
        {
            return Err(Violation::CommitWentBack { op });
        }
    }
    Ok(())
}

impl Did {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Committed { .. } => "committed",
            Self::NotExecuted(_) => "not executed",
            Self::Left(_) => "left",
            Self::Read(_) => "read",
        }
    }

    fn commit_is_before(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Committed { commit: first, .. }, Self::Committed { commit: second, .. }) => first < second,
            _ => false,
        }
    }

    pub(crate) fn appended(&self) -> Vec<(List, Item)> {
        match self {
            Self::Committed { steps, .. } => {
                steps.iter().filter_map(|step| Some((step.list, step.appended?))).collect()
            }
            Self::NotExecuted(appended) | Self::Left(appended) => appended.clone(),
            Self::Read(_) => Vec::new(),
        }
    }
}

/// What comes before what.
struct Graph<'a> {
    history: &'a History,
    after: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    /// With what the clock and the numbers of the commits say.
    fn new(history: &'a History) -> Self {
        let mut graph = Self { history, after: vec![Vec::new(); history.ops.len()] };
        for (before, first) in history.ops.iter().enumerate() {
            for (after, second) in history.ops.iter().enumerate() {
                // Whoever left does not know when it ended.
                let left = matches!(first.did, Did::Left(_));
                if (!left && first.ended < second.begun) || first.did.commit_is_before(&second.did) {
                    graph.edge(before, after);
                }
            }
        }
        graph
    }

    fn edge(&mut self, before: usize, after: usize) {
        if before != after {
            self.after[before].push(after);
        }
    }

    /// This one saw the list so: after who appended the last item it saw, before who appended the next one.
    fn saw(&mut self, op: usize, list: List, saw: &[Item], appenders: &Appenders) -> Result<(), Violation> {
        let last = self.history.last.get(&list).map_or(&[][..], Vec::as_slice);
        if !last.starts_with(saw) {
            return Err(Violation::NotThePrefix { op, list });
        }
        if let Some(item) = saw.last() {
            self.edge(appenders[&(list, *item)], op);
        }
        if let Some(item) = last.get(saw.len()) {
            self.edge(op, appenders[&(list, *item)]);
        }
        Ok(())
    }

    /// Takes away what nothing has to come before, until nothing is left.
    fn acyclic(&self) -> Result<(), Violation> {
        let mut waits_for = vec![0_usize; self.after.len()];
        self.after.iter().flatten().for_each(|after| waits_for[*after] += 1);
        let mut free: Vec<usize> = (0..self.after.len()).filter(|op| waits_for[*op] == 0).collect();
        while let Some(op) = free.pop() {
            for after in &self.after[op] {
                waits_for[*after] -= 1;
                if waits_for[*after] == 0 {
                    free.push(*after);
                }
            }
        }
        match waits_for.iter().position(|waits| *waits > 0) {
            None => Ok(()),
            Some(_) => Err(Violation::Cycle(self.cycle(&waits_for))),
        }
    }

    /// A shortest cycle among those that wait for each other, for people to read.
    fn cycle(&self, waits_for: &[usize]) -> Vec<usize> {
        let left = |op: &usize| waits_for[*op] > 0;
        let from = |start: usize| {
            let mut came_from = BTreeMap::new();
            let mut reached = std::collections::VecDeque::from([start]);
            while let Some(op) = reached.pop_front() {
                for after in self.after[op].iter().copied().filter(left) {
                    if after == start {
                        let back = std::iter::successors(Some(op), |op| came_from.get(op).copied());
                        let mut cycle: Vec<usize> = back.collect();
                        cycle.reverse();
                        return Some(cycle);
                    }
                    if let std::collections::btree_map::Entry::Vacant(new) = came_from.entry(after) {
                        new.insert(op);
                        reached.push_back(after);
                    }
                }
            }
            None
        };
        (0..self.after.len()).filter(left).filter_map(from).min_by_key(Vec::len).unwrap_or_default()
    }
}
