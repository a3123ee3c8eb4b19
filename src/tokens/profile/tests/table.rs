//! One table: what becomes of each token, and why. Every reason is in it.

use std::collections::HashSet;

use super::*;

/// A token, in words; the token; and why it is refused.
type Row = (String, String, Option<Refusal>);

/// Every refusal. A new one does not compile until it is here, and the table must reach it.
pub(super) fn all() -> Vec<Refusal> {
    use Refusal::{
        Algorithm, Audience, Claims, ClientId, DuplicateClaim, Expired, Form, Header, IssuedInFuture, Issuer, Key,
        KeyAlgorithm, Lifetime, RevokedKey, Signature, TooLong, Type,
    };
    let all = vec![
        TooLong,
        Form,
        Header,
        Algorithm,
        Type,
        Key,
        RevokedKey,
        KeyAlgorithm,
        Signature,
        Claims,
        DuplicateClaim,
        Issuer,
        Audience,
        ClientId,
        Lifetime,
        IssuedInFuture,
        Expired,
    ];
    for refusal in &all {
        match refusal {
            TooLong | Form | Header | Algorithm | Type | Key | RevokedKey | KeyAlgorithm | Signature | Claims
            | DuplicateClaim | Issuer | Audience | ClientId | Lifetime | IssuedInFuture | Expired => {}
        }
    }
    all
}

/// What is not one compact JWS, or too long to be looked at.
fn forms(forge: &Forge) -> Vec<Row> {
    let good = forge.good();
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let unsigned = changed(&forge.header(), "alg", Some(json!("none")));
    // Nothing but zero bytes, and so no spare bit that is set: 4096 characters with the dots.
    let longest = format!("{}.{}.{}", "A".repeat(1364), "A".repeat(1364), "A".repeat(1366));
    let row = |what: &str, token: String, refusal| (what.to_owned(), token, Some(refusal));
    vec![
        row("nothing", String::new(), Refusal::Form),
        row("two parts", format!("{header}.{claims}"), Refusal::Form),
        row("four parts", format!("{good}.{signature}"), Refusal::Form),
        row("five parts, as a JWE has", format!("{good}.{claims}.{signature}"), Refusal::Form),
        row("no header", format!(".{claims}.{signature}"), Refusal::Form),
        row("no claims", format!("{header}..{signature}"), Refusal::Form),
        row("no signature", format!("{header}.{claims}."), Refusal::Form),
        row("unsigned", format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(&unsigned)), Refusal::Form),
        row("unsigned with some signature", forge.sign(&unsigned, forge.claims().to_string()), Refusal::Algorithm),
        row("padding", format!("{good}=="), Refusal::Form),
        row("padding as a URL escapes it", format!("{good}%3D%3D"), Refusal::Form),
        row("a plus sign", format!("{header}.{claims}.+{}", &signature[1..]), Refusal::Form),
        row("a line break", format!("{header}.\r\n{claims}.{signature}"), Refusal::Form),
        row("three characters more, and one that no byte fills", format!("{good}AAA"), Refusal::Form),
        row("three bytes more", format!("{good}AAAA"), Refusal::Signature),
        row("JSON serialization", json!({ "payload": claims, "signature": signature }).to_string(), Refusal::Form),
        row("the longest that is read", longest.clone(), Refusal::Header),
        row("one character longer", format!("{longest}A"), Refusal::TooLong),
    ]
}

/// Headers over good claims.
fn headers(forge: &Forge) -> Vec<Row> {
    let header = forge.header();
    let text = header.to_string();
    let stranger = Forge::stranger(Algorithm::EdDSA).header()["kid"].clone();
    let mut rows: Vec<(String, String, Option<Refusal>)> = Vec::new();
    let mut add = |what: &str, header: String, refusal| rows.push((what.to_owned(), header, Some(refusal)));
    for member in ["crit", "b64", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "cty", "zip", "enc", "p2c", "iss"] {
        for value in [json!(null), json!(["exp"]), json!(false), json!("https://evil.example/"), json!({})] {
            add(member, prefixed(&header, &format!("\"{member}\":{value}")), Refusal::Header);
        }
    }
    for (name, escaped) in [("alg", "\\u0061lg"), ("typ", "t\\u0079p"), ("kid", "ki\\u0064")] {
        add("twice", prefixed(&header, &format!("\"{name}\":{}", header[name])), Refusal::Header);
        add("twice, once escaped", prefixed(&header, &format!("\"{escaped}\":{}", header[name])), Refusal::Header);
    }
    add("an escaped value", text.replacen("\"EdDSA\"", "\"E\\u0064DSA\"", 1), Refusal::Header);
    for alg in ["none", "nOnE", "eddsa", "EdDSA ", "Ed448", "HS384", "PS256", "ES256K", "RSA-OAEP", "dir"] {
        add(alg, changed(&header, "alg", Some(json!(alg))), Refusal::Algorithm);
    }
    for typ in ["JWT", "at+JWT", "AT+JWT", "application/at+jwt", "at+jwt;v=1", "refresh+jwt", ""] {
        add(typ, changed(&header, "typ", Some(json!(typ))), Refusal::Type);
    }
    for kid in [json!(""), json!("x".repeat(43)), json!("A".repeat(44)), json!("A".repeat(1000)), stranger] {
        add("another key's id", changed(&header, "kid", Some(kid)), Refusal::Key);
    }
    let sign = |(what, header, refusal)| (what, forge.sign(header, forge.claims().to_string()), refusal);
    rows.into_iter().map(sign).collect()
}

/// Claims under a good header.
fn bodies(forge: &Forge) -> Vec<Row> {
    let claims = forge.claims();
    let mut rows: Vec<(String, String, Option<Refusal>)> = Vec::new();
    let mut add = |what: &str, claims: String, refusal| rows.push((what.to_owned(), claims, refusal));
    let with = |name: &str, value: Value| changed(&claims, name, Some(value));
    let raw =
        |name: &str, value: &str| changed(&claims, name, None).replacen('{', &format!("{{\"{name}\":{value},"), 1);

    for (name, value) in claims.as_object().unwrap() {
        let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
        add(name, prefixed(&claims, &format!("\"{escaped}\":{value}")), Some(Refusal::DuplicateClaim));
        let other = changed(&claims, name, None).replacen('{', &format!("{{\"{escaped}\":{value},"), 1);
        add(name, other, None);
        let missing = (name != "roles").then_some(Refusal::Claims);
        add(name, changed(&claims, name, None), missing);
        add(name, prefixed(&serde_json::from_str(&changed(&claims, name, None)).unwrap(), "\"x\":{}"), missing);
        add(name, raw(name, "null"), Some(Refusal::Claims));
    }
    for number in
        ["1700000900.0", "1.7000009e9", "-0", "\"1700000900\"", "1e999", "9223372036854775808", "[1700000900]"]
    {
        for name in ["iat", "exp", "gen"] {
            add(number, raw(name, number), Some(Refusal::Claims));
        }
    }
    for (name, value, refusal) in [
        ("exp", "-1", Some(Refusal::Claims)),
        ("iat", "-1", Some(Refusal::Claims)),
        ("gen", "-1", None),
        ("gen", "9223372036854775807", None),
        ("exp", "253402300800", Some(Refusal::Claims)),
        ("exp", "253402300799", Some(Refusal::Lifetime)),
        ("aud", r#"["https://api.example"]"#, Some(Refusal::Claims)),
        ("aud", r#""https://api.example""#, None),
        ("aud", r#""https:\/\/api.example""#, None),
        ("iss", r#""https://id.example\u0000""#, Some(Refusal::Issuer)),
        ("roles", r#""admin""#, Some(Refusal::Claims)),
        ("roles", r#"{"0":"admin"}"#, Some(Refusal::Claims)),
        ("roles", r#"["admin",null]"#, Some(Refusal::Claims)),
        ("sub", r#""\ud800""#, Some(Refusal::Claims)),
        ("later", "1e999", None),
        ("nbf", "99999999999", None),
    ] {
        add(value, raw(name, value), refusal);
    }
    // What is not ours is passed over, without a step into it.
    add("nested", raw("later", &format!("{}{}", "[".repeat(200), "]".repeat(200))), None);
    add("another issuer", with("iss", json!("https://evil.example")), Some(Refusal::Issuer));
    add("another audience", with("aud", json!("https://evil.example")), Some(Refusal::Audience));
    add("no client", with("client_id", json!("")), Some(Refusal::ClientId));
    add("a long client", with("client_id", json!("c".repeat(256))), Some(Refusal::ClientId));

    let lives = |iat: i64, exp: i64| {
        let claims = serde_json::from_str(&changed(&claims, "iat", Some(json!(iat)))).unwrap();
        changed(&claims, "exp", Some(json!(exp)))
    };
    // Leeway is 3 s, and clocks of nodes may differ by `SKEW`.
    let ahead = i64::try_from((LEEWAY + SKEW).as_secs()).unwrap();
    for (iat, exp, refusal) in [
        (IAT, IAT + 900, None),
        (IAT, IAT + 901, Some(Refusal::Lifetime)),
        (IAT, IAT, Some(Refusal::Lifetime)),
        (IAT, IAT - 1, Some(Refusal::Lifetime)),
        (0, 253_402_300_799, Some(Refusal::Lifetime)),
        (IAT + ahead, IAT + 900, None),
        (IAT + ahead + 1, IAT + 900, Some(Refusal::IssuedInFuture)),
        (IAT - 900, IAT - 2, None),
        (IAT - 900, IAT - 3, Some(Refusal::Expired)),
        (0, 900, Some(Refusal::Expired)),
    ] {
        add(&format!("from {iat} to {exp}"), lives(iat, exp), refusal);
    }
    let sign = |(what, claims, refusal)| (what, forge.sign(forge.header().to_string(), claims), refusal);
    rows.into_iter().map(sign).collect()
}

/// Signatures over a good header and good claims.
fn signatures(forge: &Forge) -> Vec<Row> {
    let good = forge.good();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let stranger = Forge::stranger(Algorithm::EdDSA).sign(forge.header().to_string(), forge.claims().to_string());
    let admin = forge.sign(forge.header().to_string(), changed(&forge.claims(), "roles", Some(json!(["root"]))));
    let row = |what: &str, token: String| (what.to_owned(), token, Some(Refusal::Signature));
    vec![
        ("a good one".to_owned(), good.clone(), None),
        row("a stranger's", stranger),
        row("another token's", format!("{}.{signature}", admin.rsplit_once('.').unwrap().0)),
        row("nothing but zeros", format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64]))),
        row("cut short", format!("{message}.{}", URL_SAFE_NO_PAD.encode([7; 32]))),
    ]
}

#[test]
fn each_token_is_taken_or_refused_for_its_own_reason() {
    let forge = Forge::new(LEEWAY);
    let mut reached = HashSet::new();
    for (what, token, expected) in [forms, headers, bodies, signatures].iter().flat_map(|rows| rows(&forge)) {
        let verdict = forge.verify(&token).err();
        assert_eq!(verdict, expected, "{what}: {token}");
        reached.extend(verdict);
    }
    // Of these a ring of one good key has none.
    let mixed = Forge::of(&Algorithm::ALL, LEEWAY);
    let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": mixed.key(Algorithm::EdDSA).kid() });
    let revoked = Forge::of(&[Algorithm::EdDSA], LEEWAY);
    let token = revoked.good();
    revoked.keys.revoked().insert([revoked.key(Algorithm::EdDSA).kid()]);
    for (verdict, expected) in [
        (mixed.verify(&mixed.sign(header.to_string(), mixed.claims().to_string())), Refusal::KeyAlgorithm),
        (revoked.verify(&token), Refusal::RevokedKey),
    ] {
        assert_eq!(verdict, Err(expected));
        reached.insert(expected);
    }
    let unreached: Vec<_> = all().into_iter().filter(|refusal| !reached.contains(refusal)).collect();
    assert_eq!(unreached, []);
}
