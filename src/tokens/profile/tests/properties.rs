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

    /// Base64 has other alphabets, padding, and spare bits; JSON has white space and escapes. None of it makes a second
    /// text out of an accepted one.
    #[test]
    fn no_other_spelling_of_a_token_is_accepted(position: Index, way in 0_usize..6) {
        let (forge, token) = shared();
        let position = position.index(token.len());
        let (before, after) = token.split_at(position);
        let other = match way {
            0 => format!("{before}={after}"),
            1 => format!("{before} {after}"),
            2 => format!("{before}\n{after}"),
            3 => token.replace('-', "+").replace('_', "/"),
            4 => format!("{before}%{:02X}{}", after.as_bytes()[0], &after[1..]),
            _ => token.split('.').map(|part| format!("{part}==")).collect::<Vec<_>>().join("."),
        };
        prop_assert!(other == *token || forge.verify(&other).is_err());
    }

    /// Another form of the same JSON under a signature of its own is another token, but not another id: what denies one
    /// denies the other.
    #[test]
    fn a_token_written_in_another_way_has_the_same_ids(spaces in 0_usize..20, order: bool) {
        let (forge, token) = shared();
        let claims = forge.verify(token).unwrap();
        let value = serde_json::to_value(&claims).unwrap();
        let mut members: Vec<String> = value.as_object().unwrap().iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        if order {
            members.reverse();
        }
        let other = forge.sign(forge.header().to_string(), format!("{{{}}}", members.join(&format!(",{}", " ".repeat(spaces)))));
        prop_assert_ne!(&other, token);
        prop_assert_eq!(forge.verify(&other), Ok(claims));
    }

    /// What goes in comes out, whoever it is for.
    #[test]
    fn what_is_issued_verifies_to_the_same_claims(
        ids: [u128; 3],
        generation: i64,
        roles in proptest::collection::vec("\\PC{0,20}", 0..8),
        after in 0_i64..900,
    ) {
        let (forge, _) = shared();
        let grant = Grant {
            subject: uuid::Uuid::from_u128(ids[0]).into(),
            session: uuid::Uuid::from_u128(ids[1]).into(),
            generation: Generation(generation),
            epoch: uuid::Uuid::from_u128(ids[2]).into(),
            roles: roles.clone(),
        };
        let token = forge.issuer.issue(forge.issuer.window(at(IAT)), grant.clone());
        let claims = forge.verify_at(&token.text, at(IAT + after));
        prop_assert_eq!(claims.as_ref(), Ok(&token.claims));
        let claims = claims.unwrap();
        prop_assert_eq!((claims.sub, claims.sid, claims.generation, claims.epoch), (grant.subject, grant.session, grant.generation, grant.epoch));
        prop_assert_eq!((claims.roles, claims.iat, claims.exp), (roles, IAT, IAT + 900));
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
