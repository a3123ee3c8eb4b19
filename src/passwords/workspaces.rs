//! The memory of computations, used again and again.
//!
//! A computation takes 19 MiB by default, on whichever thread is free. Given back each time, it stays with that thread's
//! part of the allocator: with many threads for blocking work that is a multiple of what the workers need at once, for
//! good. So it is kept here. A computation holds a worker's permit, so there are never more than there are workers.

use std::sync::{Mutex, PoisonError};

use argon2::Block;
use zeroize::Zeroize;

use super::stored::OutOfMemory;

/// Memory that no computation has now. All of it is wiped.
#[derive(Debug)]
pub(super) struct Workspaces {
    /// The only size that is kept: that of the configured cost. A hash of another cost, from before a change of the
    /// configuration, brings its own.
    blocks: usize,
    free: Mutex<Vec<Vec<Block>>>,
}

impl Workspaces {
    /// None yet, and later some of so many blocks.
    pub(super) const fn of(blocks: usize) -> Self {
        Self { blocks, free: Mutex::new(Vec::new()) }
    }

    /// Lends so many blocks to some work, and wipes them.
    pub(super) fn lend<T>(&self, blocks: usize, work: impl FnOnce(&mut [Block]) -> T) -> Result<T, OutOfMemory> {
        let kept = if blocks == self.blocks { self.free().pop() } else { None };
        let mut memory = match kept {
            Some(memory) => memory,
            None => new(blocks)?,
        };
        let result = work(&mut memory);
        // What is left in it lets a guess be tested without the work.
        memory.iter_mut().zeroize();
        if blocks == self.blocks {
            self.free().push(memory);
        }
        Ok(result)
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Vec<Block>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.free().len()
    }
}

fn new(blocks: usize) -> Result<Vec<Block>, OutOfMemory> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(blocks).map_err(|_| OutOfMemory)?;
    memory.resize(blocks, Block::new());
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_memory_is_lent_again_and_wiped_and_another_size_is_not_kept() {
        let workspaces = Workspaces::of(4);
        let mut places = Vec::new();
        for _ in 0..3 {
            let place = workspaces.lend(4, |memory| {
                assert!(memory.iter().all(|block| block.as_ref().iter().all(|word| *word == 0)), "it was wiped");
                memory[3].as_mut().fill(7);
                memory.as_ptr().addr()
            });
            places.push(place.unwrap());
        }
        assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
        workspaces.lend(8, |memory| assert_eq!(memory.len(), 8)).unwrap();
        assert_eq!(workspaces.kept(), 1);
        // Two at once.
        workspaces.lend(4, |_| workspaces.lend(4, |_| ()).unwrap()).unwrap();
        assert_eq!(workspaces.kept(), 2);
    }
}
