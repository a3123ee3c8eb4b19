//! The node's note of its row, by which the next process in the same folder knows that the row's owner is dead.

use std::{fs, io, path::PathBuf};

use crate::ids::NodeId;

/// A note in a folder that one process at a time has: the next one knows by it that this row's owner is dead, and
/// removes the row at once.
#[derive(Debug, Clone)]
pub struct Memo {
    /// The file.
    pub path: PathBuf,
    /// What tells this folder on this machine, since it was started, from any copy: a lock proves something there only.
    pub owner: String,
}

impl Memo {
    /// The row that an earlier process has noted under this very lock. A copy of the folder, or one that another machine
    /// had, proves nothing.
    pub(super) fn read(&self) -> Option<NodeId> {
        let noted = fs::read_to_string(&self.path).ok()?;
        let (id, owner) = noted.split_once(' ')?;
        id.parse().ok().filter(|_| owner == self.owner)
    }

    pub(super) fn write(&self, id: NodeId) -> io::Result<()> {
        fs::write(&self.path, format!("{id} {}", self.owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_counts_only_under_the_lock_that_it_was_written_under() {
        let folder = tempfile::tempdir().unwrap();
        let memo = |owner: &str| Memo { path: folder.path().join("node"), owner: owner.to_owned() };
        assert_eq!(memo("boot 8:1").read(), None);
        let id = NodeId::random();
        memo("boot 8:1").write(id).unwrap();
        assert_eq!(memo("boot 8:1").read(), Some(id));
        for other in ["boot 8:2", "another 8:1", ""] {
            assert_eq!(memo(other).read(), None, "{other}");
        }
        fs::write(folder.path().join("node"), "not-an-id boot 8:1").unwrap();
        assert_eq!(memo("boot 8:1").read(), None);
    }
}
