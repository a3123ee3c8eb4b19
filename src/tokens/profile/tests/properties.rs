//! What holds for every token, tried with random ones.

use std::sync::OnceLock;

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::tokens::claims::MAX_DATE;

fn shared() -> &'static (Forge, String) {
    &all()[0]
}

fn all() -> &'static [(Forge, String)] {
    static FORGES: OnceLock<Vec<(Forge, String)>> = OnceLock::new();
    FORGES.get_or_init(|| {
        let with_token = |forge: Forge| {
            let token = forge.good();
            (forge, token)
        };
        Forge::each().map(with_token).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    /// Not even one that says the same in another spelling: a token has one form.
    #[test]
    fn no_token_with_one_byte_changed_is_accepted(of in 0_usize..4, position: Index, byte in 0_u8..128) {
        let (forge, token) = &all()[of];
        let mut bytes = token.clone().into_bytes();
        let position = position.index(bytes.len());
        prop_assume!(bytes[position] != byte);
        bytes[position] = byte;
        prop_assert!(forge.verify(&String::from_utf8(bytes).unwrap()).is_err());
    }

    #[test]
    fn no_text_makes_the_verifier_panic(text: String, header: String, claims: Vec<u8>) {
        let (forge, _) = shared();
        prop_assert!(forge.verify(&text).is_err());
        let dotted = format!("{header}.{text}.{header}");
        prop_assert!(forge.verify(&dotted).is_err());
        prop_assert!(forge.with_header(&header).is_some());
        prop_assert!(forge.with_claims(&claims).is_some());
    }

    /// In whole milliseconds, written out again without the types of the verifier.
    #[test]
    fn a_token_is_accepted_exactly_in_its_time(iat in 0..=MAX_DATE, life in -2_i64..=1000, after_ms in -9000_i64..=1_000_000) {
        let (forge, _) = shared();
        let exp = (iat + life).clamp(0, MAX_DATE);
        let claims = changed(&forge.claims(), "iat", Some(json!(iat)));
        let claims = changed(&serde_json::from_str(&claims).unwrap(), "exp", Some(json!(exp)));
        let token = forge.sign(forge.header().to_string(), claims);
        let now_ms = iat * 1000 + after_ms;
        // Leeway 3 s and skew 2 s.
        let is_in_time = (1..=900).contains(&(exp - iat)) && after_ms >= -5000 && now_ms < exp * 1000 + 3000;
        prop_assert_eq!(forge.verify_at(&token, Timestamp::from_millis(now_ms)).is_ok(), is_in_time);
    }

    #[test]
    fn no_time_makes_the_verifier_panic(now: i64) {
        let (forge, token) = shared();
        let _ = forge.verify_at(token, Timestamp::from_millis(now));
    }
}
