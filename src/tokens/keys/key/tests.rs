use super::*;

/// RFC 7515 appendix A.2: its RSA key, in PKCS#8.
const A2: &str = "\
    MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCh-BYK4uPJtGXOjS1lYmM2K5J9vinh8CR3_BYlzJChNuOL2TSX\
    xbbqY913EeZ8dCn5VrD7io8ImtxLaYk8wTM_U-3QGbh3hCUv7JFP5IV3aVlL6kKA0ywPVb9ilE8TA5a8bpvfbr3SvaNnjuygxmj3\
    AbONv_s4yDQs4v5tJ_reSlpIdJed1LnPmt7Ex1sFhSwsD174pcF1A5L5ROjtZMEQxrZHYJqkeDrrnGya11UxMFBji4NmXG9veoKj\
    lnAqH2QbgtPr8jkiGUkftoaHLFcW9Qr4NY2ai50Xw0Byj3-H2JoY2PyrZ62EWQwuz3WTOTY8BwNNb2BvniHgVFbK5emhAgMBAAEC\
    ggEAEq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe\
    46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanr\
    C4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneuf\
    uBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQKBgQDgHMQQ60imZV1URk0KpLttoLhyt3SmqdEf_kgHePDdtzEafpAu\
    -cS191R2JiuoF2yzWXnwFDcqGigp5BNr0AHQfD8_Lk8l1Mk09jxxCfui5nYooNyac8YFjm3vItzVCVDnEd3BbVWG8qf6deqElMGA\
    g-C2V0L4oNXnP7LZcPAZRwKBgQC5A8R-CZW2MvRTLLHzwZkUXV866cff7tx6kqa0finGG0KgeqlaZPxgCZnFp7AeAcCMtiynVlJ7\
    vMVgePsLq6XtON4tB5kP9jAPrq3rbAOal78eUH5OcED6eNuCV8ixEu1eWcPNCS_l1OW1EnXUEoEHKl54Xrrz2uNwkgMTP1FZ1wKB\
    gAcCn1dwJKufzBWQxWQp1vsM5fggqPN1qGb5y0MAk3g7_Ls5bkUp5u9SN0Ai3Ya6hNnvWJMb7sXQX6U_zyO2M_hTip7tUeh7CXgw\
    o59dkpN75gJLVds29-DAncu3KXU4f2Fa-7bLNrur53k8KwPOq2bbuTG69QtV7Jr5MR0AHWKNAoGBAIf_evpitUf-4JYbLpvNXWcY\
    052Mpz22aR84mY3nh3F2LF2mjMJDpTg7FmuyPcVw6EcGyoAe9fa65iNqCq-jdw6PVNGo2hxfjSiZ8IIzHdsPXI89__pMjZcQK9r-\
    CCoRjaZjOYiIDktVWZzmevJuv6WywUqd57LE3Zar3dLSIkx1AoGAIYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9s\
    QLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A56\
    03k2-ZQwVK0JKSHuLFkuQ3U";

/// RFC 7515 appendix A.3: its key on P-256, in PKCS#8.
const A3: &str = "\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LKhRANCAAR_\
    zc4ncPbEXUGDy-5v20t7WAczNXvp7xO6z248e9FURcfxRM0bvZt-hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt";

/// An RSA key of 1024 bits.
const RSA_1024: &str = "\
    MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBAJotkGNwTD4IBI_mnS0YZTKiVbMFdFNM-LZB7AN-H4fFNK3suvSy\
    n3U2zKJr0yPIQ9jw0ozgC2gR9SnLdbpbWZyaGSNP0fjUnbdT2qKQgYNSPa2gNtyTCDlny2ziski8288U9-gSlU_Hj8hP3rHcPXii\
    1ka6BpS28SNXKq8qbIa5AgMBAAECgYBAwX5xpYsAStHPtuaxOBvZBoHELThMfHnB4zJDzUdk-RlFK7bia9u5mYidd3g5ATYt-ggV\
    D0z7Kv-zzDboTNH344ToVpGJEZjUw70wGXaSLIb557MhWw6OW4xFhQY1PDgONdjJaTV90InBPYyIhmXyqrHgZOi5JvNk8INDzFbb\
    YQJBAMgc6uuqoDNWFGDBvOx7JKPXt_spvACGuhSoK6JPdPVjtTRqUoLJWfcT5z8Wkdyw5BGuhBy1aiv0miKCIimHE-UCQQDFPIYc\
    AM8keIP5bAGJGoSF8yvXMFjRmZJtNbvkTAoDuRsuG7fhPYajay2KAQFC6oWksxGMUwaSiIGnm7HkZOJFAkEAgITh81zv6kh8ae_D\
    T_V-gKOIi4wwK_5a_-1JqMJzES5qMDGgsFJ0rxRfTctG_n-02g5E1tNETtqXK1Z8bkNMaQJBAIwOG0j9Rhomvcg6aqi5vMsFTudC\
    PH-xpmmIU4Ccgiv8oJFQO3Vk5Btc-vxZFFU5BWdbhKV5O1yINFEZXOvKu2UCQHwq-xUG5sXl_4nVXs--L6JU78gbgb5w1XFbhNBy\
    kMI9Us0CgeVxdJP5-3ddSgoeqRL1myJmpr-Weyq14e3WgBM";

/// A key on P-384.
const P384: &str = "\
    MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDBBBIFNB8hFvSVW0mf4HdABkmJx7nJLsm8jASqlASmyyDhllIk2y7aQ\
    ZdDtGuVA6AWhZANiAAS5y3qRxqOwfXwCqqEzxuJUA4-DWwAEfMrb30JNlS8yhDQkst_IRC9VcCed1zWf0DfBbr-HxByvGftKFtPi\
    AHs8_t2l3QHuwXsx84QyXHRB-7jltMh942ks9Zk_4T6h8Ig";

/// A key on secp256k1, which has as many bits as P-256.
const K256: &str = "\
    MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgs8XzY5V5mcLDcvqcux4rOi0f2wnznibYr464LSvpuPOhRANCAASHZgom\
    -8Ilt0QqBDOP1o4QYAFAe1WgMK7pheqakgUeskVqwdYczaSAzszFabN17Kjp4RUP2vydK5DZ7s8Hi-rx";

/// RFC 7515 appendix A.1: its secret.
const A1: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";

/// RFC 8037 appendix A.2: the public key of its example.
const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// The second part of the tokens of RFC 7515 appendix A.
const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn key(algorithm: Algorithm, private: &str) -> SigningKey {
    SigningKey::from_private(algorithm, &bytes(private)).unwrap()
}

fn rfc_8037() -> VerifyingKey {
    VerifyingKey::ed25519(&bytes(X)).unwrap()
}

/// The PKCS#8 frame of an Ed25519 seed (RFC 8410 §7), and the seed of RFC 8037 appendix A.1.
fn rfc_8037_private() -> Vec<u8> {
    let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pkcs8.extend(bytes("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"));
    pkcs8
}

/// The same ECDSA signature, in the form that certificates have it in: `SEQUENCE { INTEGER r, INTEGER s }`.
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let number = [&[0], number].concat();
        let skip = number.windows(2).take_while(|pair| pair[0] == 0 && pair[1] < 0x80).count();
        [&[2, u8::try_from(number.len() - skip).unwrap()], &number[skip..]].concat()
    };
    let body = [integer(&signature[..32]), integer(&signature[32..])].concat();
    [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
}

/// n − s, where n is the order of P-256 (FIPS 186-5): with it a signature is as good as with s.
fn twin(signature: &[u8]) -> Vec<u8> {
    let n: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut twin = signature.to_vec();
    let mut borrow = 0;
    for i in (0..32).rev() {
        let difference = i32::from(n[i]) - i32::from(signature[32 + i]) - borrow;
        borrow = i32::from(difference < 0);
        twin[32 + i] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    twin
}

#[test]
fn rfc_8037_a3_gives_the_thumbprint() {
    assert_eq!(rfc_8037().kid().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn rfc_7638_gives_the_thumbprint_of_an_rsa_key() {
    let n = bytes(
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3ok\
         njhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6q\
         MQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awap\
         JzKnqDKgw",
    );
    let key = VerifyingKey::rsa(&n, &[1, 0, 1]).unwrap();
    assert_eq!(key.kid().to_string(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn rfc_8037_a4_is_signed_and_a5_is_verified() {
    const MESSAGE: &[u8] = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = bytes("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
    let key = rfc_8037();
    assert!(key.verify(MESSAGE, &signature));
    assert!(!key.verify(&MESSAGE[1..], &signature));
    assert!(!key.verify(MESSAGE, &signature[..63]));

    let private = rfc_8037_private();
    let signing = SigningKey::from_private(Algorithm::EdDSA, &private).unwrap();
    assert_eq!(signing.verifying().kid(), key.kid());
    assert_eq!(signing.sign(MESSAGE), signature);
    assert!(SigningKey::from_private(Algorithm::EdDSA, &private[1..]).is_err());
}

#[test]
fn rfc_7515_a1_is_signed_and_verified() {
    let message = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{CLAIMS}");
    let signature = bytes("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    let key = key(Algorithm::HS256, A1);
    assert_eq!(key.sign(message.as_bytes()), signature);
    assert!(key.verifying().verify(message.as_bytes(), &signature));
    assert!(!key.verifying().verify(&message.as_bytes()[1..], &signature));
    for other in [&signature[..31], &[], &[signature.clone(), vec![0]].concat()] {
        assert!(!key.verifying().verify(message.as_bytes(), other));
    }
}

#[test]
fn rfc_7515_a2_is_signed_and_verified() {
    let message = format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}");
    let signature = bytes(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr\
         7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi1\
         2jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlU\
         PQGe77Rw",
    );
    let key = key(Algorithm::RS256, A2);
    // PKCS #1 v1.5 has one signature for each message.
    assert_eq!(key.sign(message.as_bytes()), signature);
    assert!(key.verifying().verify(message.as_bytes(), &signature));
    assert!(!key.verifying().verify(&message.as_bytes()[1..], &signature));
    for other in
        [[vec![0], signature.clone()].concat(), [signature.clone(), vec![0]].concat(), signature[..255].to_vec()]
    {
        assert!(!key.verifying().verify(message.as_bytes(), &other), "a signature is as long as the modulus");
    }
}

#[test]
fn rfc_7515_a3_is_verified_and_what_is_signed_has_its_form() {
    let message = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}");
    let message = message.as_bytes();
    let given = bytes("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
    let key = key(Algorithm::ES256, A3);
    // ECDSA signs the same text differently each time; the form is always r and s in 32 bytes each.
    for signature in [given, key.sign(message), key.sign(message), key.sign(message)] {
        assert_eq!(signature.len(), 64);
        assert!(key.verifying().verify(message, &signature));
        assert!(!key.verifying().verify(&message[1..], &signature));
        for other in [der(&signature), [vec![0], signature.clone()].concat(), signature[..63].to_vec(), vec![0; 64]] {
            assert!(!key.verifying().verify(message, &other), "{other:?}");
        }
        // Known, and harmless: nothing is denied by its signature.
        let twin = twin(&signature);
        assert!(twin != signature && key.verifying().verify(message, &twin));
    }
}

#[test]
fn a_key_that_is_weak_or_of_another_kind_is_refused_with_what_it_must_be() {
    let ed = URL_SAFE_NO_PAD.encode(rfc_8037_private());
    let short = URL_SAFE_NO_PAD.encode([7; 31]);
    for (algorithm, private, words) in [
        (Algorithm::RS256, RSA_1024, "2048"),
        (Algorithm::RS256, A3, "RSA key"),
        (Algorithm::RS256, &ed, "RSA key"),
        (Algorithm::ES256, P384, "P-256"),
        (Algorithm::ES256, K256, "P-256"),
        (Algorithm::ES256, A2, "P-256"),
        (Algorithm::EdDSA, A3, "Ed25519"),
        (Algorithm::EdDSA, A2, "Ed25519"),
        (Algorithm::HS256, &short, "256 bits"),
        (Algorithm::HS256, "", "256 bits"),
    ] {
        let refused = SigningKey::from_private(algorithm, &bytes(private)).unwrap_err();
        assert!(refused.contains(words), "{algorithm}: {refused}");
    }
    assert!(SigningKey::from_private(Algorithm::HS256, &[7; 32]).is_ok());
}

#[test]
fn a_jwk_holds_the_public_members_only_and_a_secret_has_none() {
    let kid = rfc_8037().kid();
    let expected = serde_json::json!({
        "kty": "OKP", "crv": "Ed25519", "x": X, "kid": kid, "alg": "EdDSA", "use": "sig"
    });
    assert_eq!(rfc_8037().jwk(), Some(expected));
    let members = |algorithm, private| {
        let jwk = key(algorithm, private).verifying().jwk().unwrap();
        jwk.as_object().unwrap().iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect()
    };
    let a3: Vec<String> = members(Algorithm::ES256, A3);
    assert!(a3.contains(&"x=f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU".to_owned()), "{a3:?}");
    assert!(a3.contains(&"y=x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0".to_owned()), "{a3:?}");
    assert!(a3.contains(&"crv=P-256".to_owned()) && a3.len() == 7, "{a3:?}");
    let a2: Vec<String> = members(Algorithm::RS256, A2);
    assert!(a2.contains(&"e=AQAB".to_owned()) && a2.contains(&"kty=RSA".to_owned()) && a2.len() == 6, "{a2:?}");
    assert_eq!(key(Algorithm::HS256, A1).verifying().jwk(), None);
}

#[test]
fn debug_shows_no_private_bytes() {
    for algorithm in Algorithm::ALL {
        let private = algorithm.generate().unwrap();
        let key = SigningKey::from_private(algorithm, &private).unwrap();
        let shown = format!("{key:?} {:?}", key.verifying());
        let secret = &private[private.len() - 32..];
        assert!(!shown.contains(&format!("{secret:?}")) && !shown.contains(&URL_SAFE_NO_PAD.encode(secret)), "{shown}");
        assert!(shown.contains("redacted"), "{shown}");
    }
}

#[test]
fn an_algorithm_has_one_name() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        assert_eq!(serde_json::json!(algorithm), algorithm.name());
    }
    for other in ["", "none", "EDDSA", "eddsa", "EdDSA ", "Ed25519", "hs256", "HS512", "PS256", "ES384", "ES256K"] {
        assert_eq!(Algorithm::from_name(other), None, "{other}");
    }
}
