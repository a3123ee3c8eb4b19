//! Access tokens: any header and claims, under a good signature.

use std::{collections::BTreeMap, fmt};

use kickout::{clock::SKEW, tokens::profile::MAX_TOKEN_BYTES};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use super::world::{AUDIENCE, CEILING, IAT, ISSUER, LEEWAY, World, claims, header};

/// Claims that must be there.
const REQUIRED: [&str; 10] = ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "gen", "epoch", "client_id"];

/// The verifier, with a header and claims (a line each; without a second line they are claims under a good header). It
/// takes them exactly if another reader does, and says what they say.
///
/// # Panics
/// If that does not hold.
pub fn check(data: &[u8]) -> bool {
    let good = header().to_string();
    let (header, claims) = match data.iter().position(|&byte| byte == b'\n') {
        Some(line) => (&data[..line], &data[line + 1..]),
        None => (good.as_bytes(), data),
    };
    let token = World::shared().sign(header, claims);
    let verdict = World::shared().verify(&token);
    let shown = || format!("{} {}", String::from_utf8_lossy(header), String::from_utf8_lossy(claims));
    let expected = if token.len() > MAX_TOKEN_BYTES || !is_header(header) { None } else { read(claims) };
    assert_eq!(verdict.is_ok(), expected.is_some(), "{verdict:?} {}", shown());
    let (Ok(verdict), Some(expected)) = (verdict, expected) else { return false };
    let said = serde_json::to_value(&verdict).expect("claims are written as JSON");
    for (name, value) in said.as_object().expect("an object") {
        assert_eq!(Some(value), expected.get(name), "{name} {}", shown());
    }
    true
}

/// Whether a text is a header that our issuer could have written, up to white space and order.
fn is_header(json: &[u8]) -> bool {
    let Some(members) = Members::read(json) else { return false };
    let Value::Object(good) = header() else { return false };
    // What the issuer writes has no escapes and no white space before it.
    json.first() == Some(&b'{')
        && !json.contains(&b'\\')
        && members.len() == good.len()
        && members.iter().all(|(name, value)| value.as_ref().is_some_and(|value| good.get(name) == Some(value)))
}

/// The claims that a token says, if they are all there, once, in range, and now.
fn read(json: &[u8]) -> Option<BTreeMap<String, Value>> {
    let members = Members::read(json)?;
    let known = members.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    let claims: BTreeMap<String, Value> = known.collect();
    let names: std::collections::BTreeSet<&String> = members.iter().map(|(name, _)| name).collect();
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let number = |name: &str| claims.get(name).and_then(Value::as_i64);
    let (iat, exp) = (number("iat")?, number("exp")?);
    let ahead = i64::try_from((LEEWAY + SKEW).as_secs()).ok()?;
    let late = i64::try_from(LEEWAY.as_secs()).ok()?;
    let roles = claims.get("roles").map_or(Some(&[][..]), |roles| roles.as_array().map(Vec::as_slice))?;
    // To the year 9999.
    let is_date = |second: i64| (0..=253_402_300_799).contains(&second);
    let holds = names.len() == members.len()
        && REQUIRED.iter().all(|name| claims.contains_key(*name))
        && text("iss") == Some(ISSUER)
        && text("aud") == Some(AUDIENCE)
        && ["sub", "sid", "jti", "epoch"].iter().all(|name| text(name).is_some_and(is_id))
        && number("gen").is_some()
        && (1..=255).contains(&text("client_id")?.chars().count())
        && roles.iter().all(Value::is_string)
        && is_date(iat)
        && is_date(exp)
        && (1..=CEILING).contains(&(exp - iat))
        && iat <= IAT + ahead
        && IAT < exp + late;
    holds.then_some(claims)
}

/// Whether a text is an id: 36 characters, lower case, with hyphens.
fn is_id(text: &str) -> bool {
    let is_right = |(place, byte): (usize, u8)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

/// The members of an object, repeated ones too; the values of those that are not ours are not looked at.
struct Members(Vec<(String, Option<Value>)>);

impl Members {
    fn read(json: &[u8]) -> Option<Vec<(String, Option<Value>)>> {
        serde_json::from_slice::<Self>(json).ok().map(|members| members.0)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let (claims, header) = (claims(&[]), header());
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let is_ours = claims.get(&name).or(header.get(&name)).is_some();
                    let value =
                        if is_ours { Some(map.next_value()?) } else { map.next_value::<IgnoredAny>().map(|_| None)? };
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
