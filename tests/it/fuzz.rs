//! Any bytes that a stranger sends: the targets of `tests/fuzz`, each with some thousands of changed seeds.
//!
//! The seeds are the files below `tests/fuzz/seeds`; those whose names begin with `good` are accepted, the others are
//! not. The changes come from a generator with a fixed seed, so every run tries the same.

use std::{fs, path::Path};

use proptest::{
    prelude::Rng as _,
    test_runner::{RngAlgorithm, TestRng},
};

#[path = "../fuzz/targets/lib.rs"]
mod targets;

/// Changed seeds per target: all targets together take a few seconds.
const INPUTS: usize = 4000;

/// The longest input. A token is refused for its length beyond 4096.
const LONGEST: usize = 5000;

/// Pieces that mean something to one target or another.
const PIECES: [&str; 44] = [
    ".",
    "=",
    ";",
    "; ",
    ",",
    ", ",
    ":",
    "\n",
    "\"",
    "\\",
    "\\u0061",
    "{",
    "}",
    "[",
    "]",
    "null",
    "true",
    "-0",
    "1e3",
    "9223372036854775807",
    "-1",
    "é",
    "\u{feff}",
    "\u{fdfa}",
    "\u{ff21}",
    "\0",
    " ",
    "\t",
    "a=",
    "a=1; a=1",
    "__Host-kickout-access=",
    "__Secure-kickout-refresh=",
    "Bearer ",
    "kr1_",
    "none",
    "HS256",
    "same-origin",
    "https://app.example",
    "origin: https://evil.example\n",
    "x-forwarded-for: 198.51.100.7\n",
    "10.0.0.1",
    "::ffff:10.0.0.1",
    "\"v\":1,",
    "\"rows\":[],",
];

/// Inputs that are other each time, and the same in each run.
struct Generator {
    random: TestRng,
    seeds: Vec<Vec<u8>>,
}

impl Generator {
    fn below(&mut self, limit: usize) -> usize {
        let limit = u32::try_from(limit.max(1)).expect("a small number");
        usize::try_from(self.random.next_u32() % limit).expect("a small number")
    }

    fn seed(&mut self) -> Vec<u8> {
        let index = self.below(self.seeds.len());
        self.seeds[index].clone()
    }

    /// A seed with one to four changes; now and then only noise.
    fn input(&mut self) -> Vec<u8> {
        let mut input = self.seed();
        if self.below(50) == 0 {
            input.truncate(100);
            self.random.fill_bytes(&mut input);
        }
        for _ in 0..=self.below(4) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let from = self.below(input.len() + 1);
        let to = from + self.below((input.len() - from).min(64) + 1);
        let at = self.below(input.len());
        match self.below(8) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = self.random.next_u32().to_le_bytes()[0],
            2 => drop(input.drain(from..to)),
            3 => {
                let copy = input[from..to].to_vec();
                input.splice(at..at, copy);
            }
            4 => {
                let other = self.seed();
                let cut = self.below(other.len() + 1);
                input.truncate(from);
                input.extend_from_slice(&other[cut..]);
            }
            5 => {
                let piece = PIECES[self.below(PIECES.len())];
                input.splice(from..to, piece.bytes());
            }
            6 => input[from..to].reverse(),
            _ => {
                let piece = PIECES[self.below(PIECES.len())];
                input.splice(from..from, piece.bytes());
            }
        }
    }
}

/// Tries a target with its seeds, and with changed ones.
fn run(name: &str, check: fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(name);
    let entries = fs::read_dir(&folder).expect("a folder of seeds");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a seed").path()).collect();
    paths.sort();
    let mut seeds = Vec::new();
    for path in &paths {
        let seed = fs::read(path).expect("a seed");
        let is_good = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("good"));
        assert_eq!(check(&seed), is_good, "{}", path.display());
        seeds.push(seed);
    }
    let mut generator = Generator { random: TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]), seeds };
    let mut accepted = 0;
    for _ in 0..INPUTS {
        accepted += usize::from(check(&generator.input()));
    }
    // Else the seeds, or the changes, reach too little to say anything.
    assert!(accepted > 0 && accepted < INPUTS, "{accepted} of {INPUTS}");
}

#[test]
fn a_token_that_verifies_was_signed_byte_by_byte() {
    run("token", targets::token::check);
}

#[test]
fn signed_claims_are_taken_exactly_if_another_reader_takes_them() {
    run("claims", targets::claims::check);
}

#[test]
fn a_refresh_token_that_verifies_is_the_one_that_was_issued() {
    run("refresh", targets::refresh::check);
}

#[test]
fn a_csrf_token_has_one_spelling_and_one_session() {
    run("csrf", targets::csrf::check);
}

#[test]
fn a_credential_that_is_found_is_there_once() {
    run("cookies", targets::cookies::check);
}

#[test]
fn no_client_chooses_its_address_and_no_foreign_page_is_trusted() {
    run("forwarded", targets::forwarded::check);
}

#[test]
fn what_nodes_understand_of_each_other_they_can_say_again() {
    run("feed", targets::feed::check);
}

#[test]
fn bodies_names_and_preferences_are_read_one_way() {
    run("inputs", targets::inputs::check);
}
