//! What the filter's crate costs: `bloomfilter` beside `fastbloom` and an exact set, without the product around them.

use std::hint::black_box;

use kickout::{
    clock::Clock,
    ids::LedgerId,
    revocation::filter::{IDS_PER_CHECK, Settings},
    secret,
};
use serde::{Deserialize, Serialize};

use bloomfilter::Bloom;

use super::{
    accuracy::wilson,
    exact::{self, Swapped},
    ids::{Ids, Stream, keys},
    memory,
    rounds::{Arm, Timed, float, interleave},
    sieves::{Generations, Secret, Sieve, WithFoldhash, WithSipHash},
    speed::Ratio,
    states::State,
};
use crate::Failure;

/// Slices per round.
const SLICES: usize = 16;

/// Revoked ids that the rounds ask for, at most: three times 16 bytes each, so that they are more than the L2 cache.
const HITS: u64 = 1 << 16;

/// Entries that each filter is asked for, one by one, before the rounds.
const ASKED: usize = 1_000_000;

/// The states that are compared: one generation, and two.
const STATES: [State; 2] = [State::Loaded, State::TwoFull];

/// How the tables call the set.
const EXACT: &str = "exact set";

/// How much is done at each size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) seed: u64,
    pub(crate) rounds: usize,
    /// Checks over which false positives are counted.
    pub(crate) checks: u64,
    /// Checks of valid tokens that the rounds ask for.
    pub(crate) pool: u64,
}

/// What was found with so many entries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FilterCrates {
    pub(crate) entries: u64,
    pub(crate) kept: Vec<Kept>,
    /// Nanoseconds per check.
    pub(crate) checks: Vec<Timed>,
    /// Nanoseconds per entry of a structure that is made, filled to its design load and freed.
    pub(crate) builds: Vec<Timed>,
    pub(crate) ratios: Vec<Ratio>,
}

/// What one candidate takes and how often it is wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) name: String,
    /// Per live entry.
    pub(crate) bytes: f64,
    /// What theory gives; nothing for the set.
    pub(crate) theory_bytes: Option<f64>,
    pub(crate) checks: u64,
    pub(crate) false_positives: u64,
    /// Bounds of the 95 % interval (Wilson), per check.
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) target: f64,
}

type Keys = [u128; IDS_PER_CHECK];

/// The same for every candidate.
struct Inputs {
    ids: Ids,
    entries: u64,
    settings: Settings,
    secret: Secret,
    /// The entries; with two generations, the older one's. The exact set holds these alone: as many as are live.
    revoked: Vec<u128>,
    /// The younger generation's.
    later: Vec<u128>,
    /// Three ids each, none of them revoked.
    misses: Vec<Keys>,
    /// The first is revoked; of two generations it is in the older one, which is the longer way.
    hits: Vec<Keys>,
}

/// One crate's filter in both states.
struct Candidate<S>([Generations<S>; STATES.len()]);

/// Every candidate at one size.
pub(crate) fn measure(effort: Effort, entries: u64) -> Result<FilterCrates, Failure> {
    let inputs = Inputs::new(effort, entries)?;
    let (builds, mut ratios) = builds(&inputs, effort.rounds)?;
    let bloomfilter = Candidate::<Bloom<u128>>::new(&inputs)?;
    let siphash = Candidate::<WithSipHash>::new(&inputs)?;
    let foldhash = Candidate::<WithFoldhash>::new(&inputs)?;
    let set = exact::filled(inputs.revoked.len(), inputs.revoked.iter().copied());
    let bytes = exact::bytes(&set) as u64;
    let set = Swapped::new(set);
    let mut kept = Vec::new();
    for (i, state) in STATES.into_iter().enumerate() {
        kept.push(bloomfilter.kept(i, state, &inputs, effort.checks)?);
        kept.push(siphash.kept(i, state, &inputs, effort.checks)?);
        kept.push(foldhash.kept(i, state, &inputs, effort.checks)?);
    }
    kept.push(inputs.kept_exactly(&set, bytes, effort.checks)?);
    let mut arms = Vec::new();
    for (i, state) in STATES.into_iter().enumerate() {
        arms.extend(bloomfilter.arms(i, state, &inputs));
        arms.extend(siphash.arms(i, state, &inputs));
        arms.extend(foldhash.arms(i, state, &inputs));
    }
    arms.push(Arm::new(format!("{EXACT}, miss"), |slice| match misses(&inputs, slice, |keys| set.names_any(keys)) {
        (asked, 0) => Ok(asked),
        _ => Err("the exact set names an id that is not in it".into()),
    }));
    arms.push(Arm::new(format!("{EXACT}, hit"), |slice| hits(&inputs, slice, |keys| set.names_any(keys))));
    let checks = interleave(&Clock::System, effort.rounds, SLICES, arms)?;
    ratios.splice(0..0, compare(&checks));
    Ok(FilterCrates { entries, kept, checks, builds, ratios })
}

impl Inputs {
    fn new(effort: Effort, entries: u64) -> Result<Self, Failure> {
        let ids = Ids::new(effort.seed);
        let epoch = LedgerId::random();
        let all = |stream| (0..entries).map(|n| ids.key(stream, n)).collect();
        let hits = ids.picks(HITS.min(effort.pool), entries);
        Ok(Self {
            ids,
            entries,
            settings: memory::settings(entries)?,
            secret: secret::random(),
            revoked: all(Stream::Revoked),
            later: all(Stream::Later),
            misses: (0..effort.pool).map(|n| keys(&ids.valid(Stream::Valid, n, epoch))).collect(),
            hits: hits.into_iter().map(|n| keys(&ids.revoked(n, epoch))).collect(),
        })
    }

    /// A filter at its design load.
    fn full<S: Sieve>(&self) -> S {
        S::filled(self.settings.capacity, self.settings.per_probe(), &self.secret, &self.revoked)
    }

    /// Asks for ids that nobody revoked and nobody has asked for yet, and counts the wrong answers.
    fn count(&self, name: String, bytes: u64, theory: Option<f64>, checks: u64, names: impl Fn(&Keys) -> bool) -> Kept {
        let epoch = LedgerId::random();
        let is_named = |&n: &u64| names(&keys(&self.ids.valid(Stream::Counted, n, epoch)));
        let found = (0..checks).filter(is_named).count() as u64;
        let (low, high) = wilson(found, checks);
        Kept {
            name,
            bytes: float(bytes) / float(self.entries),
            theory_bytes: theory,
            checks,
            false_positives: found,
            low,
            high,
            target: self.settings.false_positives,
        }
    }

    fn kept_exactly(&self, set: &Swapped, bytes: u64, checks: u64) -> Result<Kept, Failure> {
        let kept = self.count(EXACT.to_owned(), bytes, None, checks, |keys| set.names_any(keys));
        if kept.false_positives == 0 { Ok(kept) } else { Err("the exact set names an id that is not in it".into()) }
    }
}

impl<S: Sieve> Candidate<S> {
    fn new(inputs: &Inputs) -> Result<Self, Failure> {
        let Settings { capacity, .. } = inputs.settings;
        let per_probe = inputs.settings.per_probe();
        let filled = |capacity, keys| S::filled(capacity, per_probe, &inputs.secret, keys);
        let loaded = Generations::new(filled(State::Loaded.room(capacity), &inputs.revoked), None);
        let two_full = Generations::new(filled(capacity, &inputs.later), Some(filled(capacity, &inputs.revoked)));
        let candidate = Self([loaded, two_full]);
        for (generations, state) in candidate.0.iter().zip(STATES) {
            let entries: [&[u128]; 2] = [&inputs.revoked, &inputs.later];
            for entries in if state == State::TwoFull { &entries[..] } else { &entries[..1] } {
                // Three at a time, spread over all of them, with the first and the last.
                let step = (entries.len() / ASKED).max(1) * IDS_PER_CHECK;
                let last = entries.len() - 1;
                let asked = |n: usize| [0, 1, 2].map(|i| entries[(n + i).min(last)]);
                let missed = (0..=last).step_by(step).chain([last]).find(|&n| generations.probe(&asked(n)) != 0b111);
                if let Some(n) = missed {
                    return Err(format!("{} misses an entry near {n}", name::<S>(state)).into());
                }
            }
        }
        Ok(candidate)
    }

    /// What it takes, and how often it is wrong.
    fn kept(&self, i: usize, state: State, inputs: &Inputs, checks: u64) -> Result<Kept, Failure> {
        let generations = &self.0[i];
        let theory = Some(state.theory_bytes(inputs.settings));
        let bytes = generations.bytes() as u64;
        let kept = inputs.count(name::<S>(state), bytes, theory, checks, |keys| generations.probe(keys) != 0);
        // Not a figure of merit: three times the target means that something is broken.
        if kept.low > 3.0 * kept.target {
            return Err(format!("far too many false positives: {kept:?}").into());
        }
        Ok(kept)
    }

    fn arms<'a>(&'a self, i: usize, state: State, inputs: &'a Inputs) -> [Arm<'a>; 2] {
        let generations = &self.0[i];
        let name = name::<S>(state);
        [
            Arm::new(format!("{name}, miss"), |slice| {
                let (asked, maybe) = misses(inputs, slice, |keys| generations.probe(keys) != 0);
                // A "maybe" is allowed, but not often.
                if maybe > 5 + asked / 100 { Err("\"maybe\" too often".into()) } else { Ok(asked) }
            }),
            // The first id is the revoked one.
            Arm::new(format!("{name}, hit"), |slice| hits(inputs, slice, |keys| generations.probe(keys) & 1 == 1)),
        ]
    }
}

fn name<S: Sieve>(state: State) -> String {
    format!("{}, {}", S::NAME, state.name())
}

/// The part of a pool that belongs to a slice.
fn part(pool: &[Keys], slice: usize) -> &[Keys] {
    let size = (pool.len() / SLICES).max(1);
    &pool[slice * size..(slice + 1) * size]
}

/// Checks of valid tokens, and for how many of them the answer was "maybe".
fn misses(inputs: &Inputs, slice: usize, names: impl Fn(&Keys) -> bool) -> (u64, u64) {
    let asked = part(&inputs.misses, slice);
    (asked.len() as u64, asked.iter().filter(|keys| names(keys)).count() as u64)
}

/// Checks of revoked tokens: none may be missed.
fn hits(inputs: &Inputs, slice: usize, names: impl Fn(&Keys) -> bool) -> Result<u64, Failure> {
    let asked = part(&inputs.hits, slice);
    let found = asked.iter().filter(|keys| names(keys)).count();
    if found == asked.len() { Ok(asked.len() as u64) } else { Err("an entry was missed".into()) }
}

/// Every structure built again and again, in turn.
fn builds(inputs: &Inputs, rounds: usize) -> Result<(Vec<Timed>, Vec<Ratio>), Failure> {
    /// One build per slice; the last entry has to be in it.
    fn arm<S: Sieve>(inputs: &Inputs) -> Arm<'_> {
        Arm::new(format!("{}, build", S::NAME), |_| {
            let built: S = black_box(inputs.full());
            let last = inputs.revoked[inputs.revoked.len() - 1];
            if built.may_hold(built.asked(last)) { Ok(inputs.entries) } else { Err("an entry was missed".into()) }
        })
    }
    let exact = Arm::new(format!("{EXACT}, build"), |_| {
        let built = black_box(exact::filled(inputs.revoked.len(), inputs.revoked.iter().copied()));
        if built.len() == inputs.revoked.len() { Ok(inputs.entries) } else { Err("an entry was lost".into()) }
    });
    let arms = vec![arm::<Bloom<u128>>(inputs), arm::<WithSipHash>(inputs), arm::<WithFoldhash>(inputs), exact];
    // A small one is built so fast that one build would be noise; of a large one, one is a second.
    let slices = (ASKED / inputs.revoked.len()).clamp(1, SLICES);
    let timed = interleave(&Clock::System, rounds, slices, arms)?;
    let ratios = timed[1..].iter().map(|of| Ratio::between(of, &timed[0])).collect();
    Ok((timed, ratios))
}

/// Every candidate to what the product uses, in the same state and with the same answer.
fn compare(timed: &[Timed]) -> Vec<Ratio> {
    let named = |name: &str| timed.iter().find(|timed| timed.name == name);
    let mut ratios = Vec::new();
    for state in STATES {
        for answer in ["miss", "hit"] {
            let Some(to) = named(&format!("{}, {answer}", name::<Bloom<u128>>(state))) else { continue };
            let rivals = [name::<WithSipHash>(state), name::<WithFoldhash>(state), EXACT.to_owned()];
            let of = rivals.iter().filter_map(|rival| named(&format!("{rival}, {answer}")));
            ratios.extend(of.map(|of| Ratio::between(of, to)));
        }
    }
    ratios
}
