//! The disk after a power loss, rebuilt from the log of the VFS.

use std::path::{Path, PathBuf};

use crate::support::Random;
use crate::vfs::Op;

const SECTOR: usize = 512;

/// What is left of the operations after the last sync of their file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loss {
    KeepAll,
    DropAll,
    TornLastWrite,
    AnySectors,
    SectorsWithNoise,
}

pub(crate) const LOSSES: [Loss; 5] =
    [Loss::KeepAll, Loss::DropAll, Loss::TornLastWrite, Loss::AnySectors, Loss::SectorsWithNoise];

/// What was written, from the making of the files on.
pub(crate) struct Recorded {
    pub(crate) ops: Vec<Op>,
    /// The ends of the names of the files: none, `-wal`, `-journal`.
    suffixes: Vec<String>,
}

impl Recorded {
    pub(crate) fn new((ops, names): (Vec<Op>, Vec<String>)) -> Self {
        let suffix = |name: &String| name.rsplit_once("test.db").map_or("", |(_, suffix)| suffix).to_owned();
        Self { ops, suffixes: names.iter().map(suffix).collect() }
    }

    /// Puts the files into `place` as they are after a power loss right after the first `count` operations.
    pub(crate) fn restore(&self, count: usize, loss: Loss, random: &mut Random, place: &Path) -> PathBuf {
        for (file, suffix) in disk(self, count, loss, random).iter().zip(&self.suffixes) {
            std::fs::write(place.join(format!("test.db{suffix}")), file).unwrap();
        }
        // The index of the log is in memory only, and gone.
        let _ = std::fs::remove_file(place.join("test.db-shm"));
        place.join("test.db")
    }
}

/// The files after a power loss right after the first `count` operations.
fn disk(recorded: &Recorded, count: usize, loss: Loss, random: &mut Random) -> Vec<Vec<u8>> {
    let ops = &recorded.ops[..count];
    let mut files = vec![Vec::new(); recorded.suffixes.len()];
    for (number, file) in files.iter_mut().enumerate() {
        let of_file = |op: &Op| match op {
            Op::Write { file, .. } | Op::Truncate { file, .. } | Op::Sync { file } => *file == number,
        };
        let mine: Vec<&Op> = ops.iter().filter(|op| of_file(op)).collect();
        let synced = mine.iter().rposition(|op| matches!(op, Op::Sync { .. })).map_or(0, |last| last + 1);
        let last_write = mine.iter().rposition(|op| matches!(op, Op::Write { .. }));
        for (place, op) in mine.iter().enumerate() {
            let certain = place < synced;
            match op {
                Op::Sync { .. } => {}
                Op::Truncate { size, .. } => {
                    if certain
                        || matches!(loss, Loss::KeepAll)
                        || (!matches!(loss, Loss::DropAll) && random.coin())
                    {
                        file.resize(*size, 0);
                    }
                }
                Op::Write { offset, data, .. } if certain || matches!(loss, Loss::KeepAll) => {
                    put(file, *offset, data);
                }
                Op::Write { .. } if matches!(loss, Loss::DropAll) => {}
                Op::Write { offset, data, .. } if matches!(loss, Loss::TornLastWrite) => {
                    let whole = Some(place) != last_write;
                    let kept = if whole { data.len() } else { random.below(data.len()) };
                    put(file, *offset, &data[..kept]);
                }
                Op::Write { offset, data, .. } => {
                    for (sector, bytes) in data.chunks(SECTOR).enumerate() {
                        let at = offset + sector * SECTOR;
                        if random.coin() {
                            put(file, at, bytes);
                        } else if matches!(loss, Loss::SectorsWithNoise) && random.coin() {
                            let noise: Vec<u8> =
                                bytes.iter().map(|_| random.next().to_le_bytes()[0]).collect();
                            put(file, at, &noise);
                        }
                    }
                }
            }
        }
    }
    files
}

fn put(file: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    if file.len() < offset + data.len() {
        file.resize(offset + data.len(), 0);
    }
    file[offset..offset + data.len()].copy_from_slice(data);
}
