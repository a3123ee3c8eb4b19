//! The ids of a bulk revocation: one per line, all of them good or none of them used.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use uuid::Uuid;

use crate::{ids::TokenId, revocation::bulk::MOST};

/// Why there are no ids.
#[derive(Debug, thiserror::Error)]
pub enum IdsError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {error}. Nothing was done")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// A line is not an id.
    #[error("line {line} is {problem}. Nothing was done")]
    Line {
        /// Which, from 1 on.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// There are too many lines.
    #[error("there are more than {MOST} ids. Nothing was done: split them")]
    TooMany,
}

/// Reads the ids of a file, or of standard input if it is `-`. Empty lines do not count.
pub(super) fn read(file: &Path) -> Result<Vec<Uuid>, IdsError> {
    let shown = file.display().to_string();
    let io = |error| IdsError::Io { path: shown.clone(), error };
    if file == Path::new("-") {
        return parse(io::stdin().lock(), io);
    }
    parse(BufReader::new(File::open(file).map_err(io)?), io)
}

fn parse(input: impl BufRead, io: impl Fn(io::Error) -> IdsError) -> Result<Vec<Uuid>, IdsError> {
    let mut ids = Vec::new();
    for (index, line) in input.lines().enumerate() {
        let line = line.map_err(&io)?;
        if line.trim().is_empty() {
            continue;
        }
        // All ids are spelled alike, whatever they name.
        let id: TokenId = line.trim().parse().map_err(|error: crate::ids::ParseIdError| IdsError::Line {
            line: index + 1,
            problem: error.to_string(),
        })?;
        if ids.len() == MOST {
            return Err(IdsError::TooMany);
        }
        ids.push(id.uuid());
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_line_is_named_and_nothing_is_taken() {
        let io = |error| IdsError::Io { path: "-".to_owned(), error };
        let good = "3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88";
        assert_eq!(parse(format!("{good}\n\n {good}\r\n").as_bytes(), io).unwrap().len(), 2);
        let error = parse(format!("{good}\nx\n").as_bytes(), io).unwrap_err().to_string();
        assert!(error.starts_with("line 2 is not an id") && error.ends_with("Nothing was done"), "{error}");
        let many = format!("{good}\n").repeat(MOST + 1);
        assert!(matches!(parse(many.as_bytes(), io), Err(IdsError::TooMany)));
    }
}
