//! What an access token says, with the types that each claim must have.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use crate::ids::{Generation, LedgerId, SessionId, Subject, TokenId};

/// The last second that `iat` and `exp` may name: 9999-12-31T23:59:59Z, the end of what RFC 3339 can write.
pub const MAX_DATE: i64 = 253_402_300_799;

/// The claims of an access token (RFC 7519 §4.1, RFC 9068 §2.2), and the three that make it revocable.
///
/// All are required but `roles`. A claim that this version does not know is ignored, so that during a rolling upgrade
/// an old node takes the tokens of a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued the token.
    pub iss: String,
    /// Whom it is for. One string: a list, which RFC 7519 §4.1.3 also allows, would make a token good elsewhere too.
    pub aud: String,
    /// The user.
    pub sub: Subject,
    /// The session it belongs to.
    pub sid: SessionId,
    /// The token itself.
    pub jti: TokenId,
    /// When it was issued, in seconds since 1970; 0 to [`MAX_DATE`].
    #[serde(deserialize_with = "numeric_date")]
    pub iat: i64,
    /// The first second in which it is no longer accepted, since 1970; 0 to [`MAX_DATE`].
    #[serde(deserialize_with = "numeric_date")]
    pub exp: i64,
    /// `gen`: the session's generation when the token was issued.
    #[serde(rename = "gen")]
    pub generation: Generation,
    /// The ledger that can revoke it.
    pub epoch: LedgerId,
    /// The OAuth client it was issued to.
    pub client_id: String,
    /// What the user may do (RFC 9068 §2.2.3.1). Left out of the token when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// The text is not a set of claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// It is not a JSON object, a required claim is missing, or a claim has the wrong type or range.
    #[error("not a JSON object with every required claim in its type")]
    Malformed,
    /// A member occurs twice.
    #[error("a member occurs twice")]
    Duplicate,
}

impl Claims {
    /// Reads claims from JSON.
    ///
    /// A member that occurs twice is refused, also if it is not one of ours: RFC 7519 §4 leaves a parser the choice
    /// between refusing and taking the last one, and two readers of one token must not come to different answers.
    ///
    /// # Errors
    /// [`ClaimsError`].
    pub fn parse(json: &[u8]) -> Result<Self, ClaimsError> {
        // Names first, values second: the derived reader sees duplicates only among the members it knows.
        match serde_json::from_slice(json) {
            Ok(Names::Unique) => {}
            Ok(Names::Repeated) => return Err(ClaimsError::Duplicate),
            Err(_) => return Err(ClaimsError::Malformed),
        }
        serde_json::from_slice(json).map_err(|_| ClaimsError::Malformed)
    }
}

/// A `NumericDate` (RFC 7519 §2) that is a whole number, which is stricter than the RFC and the only form issued here.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let seconds = i64::deserialize(deserializer)?;
    (0..=MAX_DATE).contains(&seconds).then_some(seconds).ok_or_else(|| D::Error::custom("the date is out of range"))
}

/// Whether the member names of a JSON object, after unescaping, all differ. Anything but an object is an error.
enum Names {
    Unique,
    Repeated,
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Borrows a name that has no escapes in it.
        #[derive(PartialEq, Eq, Hash, Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut seen = HashSet::new();
                let mut names = Names::Unique;
                while let Some((name, IgnoredAny)) = map.next_entry::<Name<'de>, IgnoredAny>()? {
                    if !seen.insert(name) {
                        names = Names::Repeated;
                    }
                }
                Ok(names)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            iss: "https://id.example".to_owned(),
            aud: "https://api.example".to_owned(),
            sub: Subject::random(),
            sid: SessionId::random(),
            jti: TokenId::random(),
            iat: 1_700_000_000,
            exp: 1_700_000_900,
            generation: Generation(3),
            epoch: LedgerId::random(),
            client_id: "web".to_owned(),
            roles: vec!["admin".to_owned()],
        }
    }

    #[test]
    fn claims_are_read_back_as_they_were_written() {
        for roles in [vec![], vec!["admin".to_owned(), "audit".to_owned()]] {
            let claims = Claims { roles, ..claims() };
            let json = serde_json::to_string(&claims).unwrap();
            assert!(json.contains(r#""gen":3"#), "{json}");
            assert_eq!(json.contains("roles"), !claims.roles.is_empty(), "{json}");
            assert_eq!(Claims::parse(json.as_bytes()), Ok(claims));
        }
    }

    #[test]
    fn an_unknown_member_is_ignored_and_a_repeated_one_refused() {
        let json = serde_json::to_string(&claims()).unwrap();
        let with = |member: &str| Claims::parse(json.replacen('{', &format!("{{{member},"), 1).as_bytes());
        assert!(with(r#""later":{"a":[1.5,null]}"#).is_ok());
        assert!(with(r#""a":1,"A":1"#).is_ok(), "names differ by case");
        for repeated in [
            r#""iss":"https://id.example""#,
            r#""gen":4"#,
            r#""roles":[]"#,
            r#""later":1,"later":1"#,
            r#""later":1,"l\u0061ter":1"#,
            r#""\u0069ss":"https://id.example""#,
        ] {
            assert_eq!(with(repeated), Err(ClaimsError::Duplicate), "{repeated}");
        }
    }

    #[test]
    fn dates_have_a_range() {
        let read = |exp: &str| {
            let json = serde_json::to_string(&claims()).unwrap().replace("1700000900", exp);
            Claims::parse(json.as_bytes()).map(|claims| claims.exp)
        };
        assert_eq!(read("0"), Ok(0));
        assert_eq!(read("253402300799"), Ok(MAX_DATE));
        for wrong in ["-1", "253402300800", "9223372036854775808", "1e9", "1700000900.0", "-0", "\"1\"", "null", "true"]
        {
            assert_eq!(read(wrong), Err(ClaimsError::Malformed), "{wrong}");
        }
    }

    #[test]
    fn anything_but_one_object_is_refused() {
        let json = serde_json::to_string(&claims()).unwrap();
        let list = serde_json::to_string(&serde_json::json!([claims()])).unwrap();
        for wrong in
            ["", "{}", "[]", "null", "\"\"", &list, &format!("{json}{json}"), &json[1..], &json[..json.len() - 1]]
        {
            assert_eq!(Claims::parse(wrong.as_bytes()), Err(ClaimsError::Malformed), "{wrong}");
        }
        // The derived reader alone would take a list of values in the order of the fields.
        let values = format!(
            r#"["i","a","{}","{}","{}",1,2,3,"{}","c",[]]"#,
            Subject::random(),
            SessionId::random(),
            TokenId::random(),
            LedgerId::random()
        );
        assert!(serde_json::from_str::<Claims>(&values).is_ok());
        assert_eq!(Claims::parse(values.as_bytes()), Err(ClaimsError::Malformed));
    }
}
