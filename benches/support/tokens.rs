//! What revocation adds to a stateless check: a token's signature verified, and its ids checked.

use std::{hint::black_box, sync::Arc, time::Duration};

use kickout::tokens::{Grant, IssuedToken};
use kickout::{
    clock::{Clock, Timestamp},
    ids::{Generation, KeyId, SessionId, Subject},
    revocation::{Checker, Presented, Verdict},
    tokens::{
        Claims, Issuer, KeyRing, Profile, Verifier,
        keys::{Algorithm, KeySettings},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    ids::Stream,
    rounds::{Arm, Timed, interleave},
    speed::{Bench, Ratio, wait},
    world::ACCESS_TTL,
};
use crate::Failure;

/// Slices per round.
const SLICES: usize = 16;

/// Tokens, and what becomes of the time they take.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tokens {
    /// Of which signature.
    pub(crate) algorithm: String,
    /// Live revocations meanwhile.
    pub(crate) entries: u64,
    pub(crate) timed: Vec<Timed>,
    pub(crate) ratios: Vec<Ratio>,
}

/// One deployment's issuer and verifier, and the tokens it has issued.
struct Desk {
    issuer: Issuer,
    verifier: Verifier,
    now: Timestamp,
    tokens: Vec<IssuedToken>,
}

impl Desk {
    fn open(bench: &Bench<'_>, tokens: u64) -> Result<Self, Failure> {
        let now = bench.world.ledger.clock().now();
        let keys = Arc::new(KeyRing::open(
            KeySettings::new(bench.world.folder().join("keys"), Algorithm::EdDSA, ACCESS_TTL, Duration::ZERO),
            now,
        )?);
        let profile = Arc::new(Profile {
            issuer: "https://id.example".to_owned(),
            audience: "https://api.example".to_owned(),
            client_id: "kickout".to_owned(),
            access_ttl: ACCESS_TTL,
            leeway: Duration::ZERO,
        });
        let issuer = Issuer::new(Arc::clone(&keys), Arc::clone(&profile));
        let mut desk = Self { issuer, verifier: Verifier::new(keys, profile), now, tokens: Vec::new() };
        desk.tokens = (0..tokens).map(|n| desk.issue(bench, n)).collect();
        Ok(desk)
    }

    fn issue(&self, bench: &Bench<'_>, n: u64) -> IssuedToken {
        let ids = bench.world.ids;
        let grant = Grant {
            subject: Subject::from(ids.uuid(Stream::Valid, 2 * n)),
            session: SessionId::from(ids.uuid(Stream::Valid, 2 * n + 1)),
            generation: Generation(0),
            epoch: bench.world.ledger.id(),
            roles: vec!["user".to_owned()],
        };
        self.issuer.issue(self.issuer.window(self.now), grant)
    }

    fn part(&self, slice: usize) -> &[IssuedToken] {
        let size = (self.tokens.len() / SLICES).max(1);
        &self.tokens[slice * size..(slice + 1) * size]
    }

    fn verify(&self, token: &IssuedToken) -> Result<Claims, Failure> {
        Ok(self.verifier.verify(&token.text, self.now, ACCESS_TTL)?)
    }

    /// The tokens of a slice, verified and nothing else.
    fn stateless(&self, slice: usize) -> Result<u64, Failure> {
        for token in self.part(slice) {
            black_box(self.verify(token)?);
        }
        Ok(self.part(slice).len() as u64)
    }

    /// The tokens of a slice, verified and checked.
    fn revocable(&self, slice: usize, bench: &Bench<'_>, checker: &Checker) -> Result<u64, Failure> {
        for token in self.part(slice) {
            accept(bench, checker, &self.verify(token)?)?;
        }
        Ok(self.part(slice).len() as u64)
    }

    /// The tokens of a slice, checked and nothing else.
    fn checked(&self, slice: usize, bench: &Bench<'_>, checker: &Checker) -> Result<u64, Failure> {
        for token in self.part(slice) {
            accept(bench, checker, &token.claims)?;
        }
        Ok(self.part(slice).len() as u64)
    }
}

fn accept(bench: &Bench<'_>, checker: &Checker, claims: &Claims) -> Result<(), Failure> {
    let presented = Presented {
        token: claims.jti,
        session: claims.sid,
        subject: claims.sub,
        generation: claims.generation,
        epoch: claims.epoch,
        key: KeyId::of([0; 32]),
    };
    let answer = wait(bench.runtime, checker, &presented);
    if answer.verdict == Verdict::Active {
        Ok(())
    } else {
        Err(format!("a valid token was refused: {answer:?}").into())
    }
}

/// Issue, verify, check, and both, in interleaved rounds over `count` tokens.
pub(crate) fn measure(bench: &Bench<'_>, rounds: usize, count: u64) -> Result<Tokens, Failure> {
    let desk = Desk::open(bench, count)?;
    let arms = vec![
        Arm::new("issue", |slice| {
            let few = desk.part(slice).len().div_ceil(4) as u64;
            for n in 0..few {
                black_box(desk.issue(bench, n));
            }
            Ok(few)
        }),
        Arm::new("verify", |slice| desk.stateless(slice)),
        Arm::new("verify + check, loaded", |slice| desk.revocable(slice, bench, &bench.loaded)),
        Arm::new("verify + check, two full", |slice| desk.revocable(slice, bench, &bench.aged)),
        Arm::new("check, loaded", |slice| desk.checked(slice, bench, &bench.loaded)),
        Arm::new("check, two full", |slice| desk.checked(slice, bench, &bench.aged)),
    ];
    let timed = interleave(&Clock::System, rounds, SLICES, arms)?;
    let ratios = timed[2..].iter().map(|of| Ratio::between(of, &timed[1])).collect();
    Ok(Tokens { algorithm: Algorithm::EdDSA.to_string(), entries: bench.world.entries, timed, ratios })
}
