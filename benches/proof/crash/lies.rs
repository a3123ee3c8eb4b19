//! The verdict tried on what is not true: whatever [`verify`] claims to see it must see.
//!
//! A folder is made as any other, and then the book is told one thing that the program was never told, or the folder is
//! given what no start leaves in it. Each must be found.

use std::fs;

use rand::RngExt as _;

use super::{
    book::Scope,
    life::Life,
    service::{Line, Place},
    verify::{Depth, verify},
};
use crate::Failure;

/// What is told that is not so.
const LIES: [Lie; 8] = [
    Lie::TokenEnded,
    Lie::TokenLives,
    Lie::SessionEnded,
    Lie::Password,
    Lie::Banned,
    Lie::Roles,
    Lie::KeyRetired,
    Lie::LostAccount,
];

#[derive(Debug, Clone, Copy)]
enum Lie {
    TokenEnded,
    TokenLives,
    SessionEnded,
    Password,
    Banned,
    Roles,
    KeyRetired,
    LostAccount,
}

/// Tells all of them, each to a process that is in order.
pub(super) async fn are_found(seed: u64) -> Result<(), Failure> {
    let mut home = Life::new(Place::new()?, seed, u64::MAX);
    let (program, line) = home.start(Depth::Some).await?;
    let crowd = home.crowd(&line, 3);
    while !has_enough(&home) {
        super::life::pause(std::time::Duration::from_millis(5)).await;
    }
    crowd.end(&program).await?;
    home.world().book().died();
    let mut honest = home.client(&line);
    Box::pin(verify(&mut honest, home.place.data(), Depth::All)).await?;
    for lie in LIES {
        let truth = home.world().book().clone();
        tell(&mut home, lie)?;
        let depth = if matches!(lie, Lie::Password) { Depth::All } else { Depth::Brief };
        let found = look(&mut home, &line, depth).await;
        *home.world().book() = truth;
        if found.is_ok() {
            return Err(format!("a lie is believed: {lie:?}").into());
        }
    }
    for name in ["probe", "keys/x.json.new"] {
        let file = home.place.data().join(name);
        fs::write(&file, b"")?;
        let found = look(&mut home, &line, Depth::Brief).await;
        fs::remove_file(file)?;
        if found.is_ok() {
            return Err(format!("{name} is not noticed").into());
        }
    }
    Box::pin(verify(&mut honest, home.place.data(), Depth::Brief)).await?;
    home.stop(program).await
}

/// Something of each kind to lie about.
fn has_enough(home: &Life) -> bool {
    let book = home.world().book();
    let tokens = book.tokens.iter();
    let dead = tokens.clone().filter(|token| token.is_dead).count();
    let good = tokens.filter(|token| !token.is_dead && token.doom.is_empty()).count();
    let alive = book.sessions_where(|session| !session.is_dead && session.doom.is_empty() && !session.is_busy).len();
    dead > 2 && good > 2 && alive > 1
}

async fn look(home: &mut Life, line: &Line, depth: Depth) -> Result<(), Failure> {
    let mut client = home.client(line);
    Box::pin(verify(&mut client, home.place.data(), depth)).await
}

fn tell(home: &mut Life, lie: Lie) -> Result<(), Failure> {
    let now = home.world().now();
    let number = home.draw().random_range(0..u32::MAX);
    let mut book = home.world().book();
    let good = (0..book.tokens.len()).find(|&at| book.must_be_good(at, now)).ok_or("no good token")?;
    let user = book.tokens[good].user;
    match lie {
        Lie::TokenEnded => {
            let act = book.begin("a lie", Scope::Token(good));
            book.acknowledged(act)?;
        }
        Lie::TokenLives => {
            let dead = book.tokens.iter().position(|token| token.is_dead).ok_or("no dead token")?;
            let token = &mut book.tokens[dead];
            (token.is_dead, token.doom) = (false, Vec::new());
        }
        Lie::SessionEnded => {
            let alive = book.sessions_where(|session| !session.is_dead);
            let at = *alive.last().ok_or("no session")?;
            book.sessions[at].is_dead = true;
        }
        Lie::Password => {
            for user in &mut book.users {
                user.password.is = format!("another-{number}");
            }
        }
        Lie::Banned => book.users[user].is_banned.is ^= true,
        Lie::Roles => book.users[user].roles.is = vec![format!("another-{number}")],
        Lie::KeyRetired => {
            let kid = book.tokens[good].key.clone();
            book.keys.insert(kid, true);
        }
        Lie::LostAccount => book.users[user].name = format!("nobody-{number}"),
    }
    Ok(())
}
