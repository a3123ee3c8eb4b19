//! What must hold for any bytes that a stranger sends.
//!
//! Each module has one `check`, which takes anything, panics if a property does not hold, and says whether the input
//! was accepted by what it tries. libFuzzer calls it with what it finds, and the ordinary tests with some thousands of
//! changed seeds: a property that fails in one can be run in the other.
//!
//! | target | what is tried | what must hold |
//! |---|---|---|
//! | [`token`] | the verifier, with any text | what verifies was signed by the key, byte by byte |
//! | [`claims`] | the verifier, with any header and claims under a good signature | it takes what another reader takes |
//! | [`refresh`] | refresh tokens | what verifies is what is issued for the same numbers |
//! | [`csrf`] | CSRF tokens | what verifies is the one spelling of a MAC over its nonce and this session |
//! | [`cookies`] | `Cookie` and `Authorization` headers | what is found is there once |
//! | [`forwarded`] | a proxy's headers, and the origin of a request | no client chooses its address; no foreign page is trusted |
//! | [`feed`] | what nodes say through Redis | what is understood can be said again |
//! | [`inputs`] | bodies, names, passwords, preferences | no answer depends on a value that it must not repeat |

pub mod claims;
pub mod cookies;
pub mod csrf;
pub mod feed;
pub mod forwarded;
pub mod inputs;
pub mod refresh;
pub mod token;
mod world;

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// The outcome of a future that has nothing to wait for.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits for anything"),
    }
}

/// Whether a text is base64url without padding, not empty and in its one spelling: no bit is set that no byte takes up.
fn is_base64url(text: &str) -> bool {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let values: Option<Vec<usize>> = text.chars().map(|char| ALPHABET.find(char)).collect();
    match (values, text.len() % 4) {
        (Some(values), 0) => !values.is_empty(),
        (Some(values), 2) => values.last().is_some_and(|last| last % 16 == 0),
        (Some(values), 3) => values.last().is_some_and(|last| last % 4 == 0),
        _ => false,
    }
}
