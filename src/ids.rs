//! Identifiers as types: a session id is not a token id, and neither is a string.
//!
//! All ids but a key's are random (version 4) UUIDs and are spelled one way only: 36 characters, lower case, with hyphens
//! (RFC 9562 §4). Another spelling of the same number is refused, so an id can be compared as text anywhere.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::secret;

/// The text was not an id: 36 lower-case characters with hyphens were expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an id: expected 36 lower-case hexadecimal characters with hyphens, like 3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88"
)]
pub struct ParseIdError;

macro_rules! id {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// A new random id from the system's generator.
            #[must_use]
            pub fn random() -> Self {
                Self(uuid::Builder::from_random_bytes(secret::random()).into_uuid())
            }

            /// The id as a UUID, the form that the database stores.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The id as a number, the form that the filter hashes.
            #[must_use]
            pub const fn as_u128(self) -> u128 {
                self.0.as_u128()
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self.0.as_hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.as_hyphenated())
            }
        }
    };
}

id!(
    /// `jti`: one access token.
    TokenId
);
id!(
    /// `sid`: one login on one device; the refresh family.
    SessionId
);
id!(
    /// `sub`: the user, opaque, never an e-mail address.
    Subject
);
id!(
    /// `epoch`: names one life of the ledger. A new one revokes everything ever issued.
    LedgerId
);
id!(
    /// Names a deployment: all its nodes, in every life of its ledger. What nodes share with other programs is marked
    /// with it.
    DeploymentId
);
id!(
    /// Names one transaction of the ledger, so that an unknown outcome can be settled by reading it back.
    OperationId
);

id!(
    /// One registration of one node: a process has a new one at every start, and after every loss of its row.
    NodeId
);

/// `gen`: an integer per subject. A token below the subject's floor is dead.
///
/// An integer and not a time: a login in the same second as a logout-all must live, and a token issued just before
/// it must die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub i64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a ledger transaction, in commit order. 0 is "nothing yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub i64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text was not a key id: 43 base64url characters were expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key id: expected 43 characters of base64url, like kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
pub struct ParseKeyIdError;

/// `kid`: the SHA-256 JWK thumbprint of the public key (RFC 7638), spelled as 43 characters of base64url.
///
/// A key cannot have another's name, and no two nodes can give different keys the same one.
///
/// That of a secret (HS256) is a hash of it, in every token for all to see. It gives away what any token does: a means to
/// try guesses. There are 2^256 of them, since such a secret is at least 32 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The length of a key id as text: ⌈32 bytes × 8 / 6⌉ characters.
    pub const CHARS: usize = 43;

    /// The id whose thumbprint this is.
    #[must_use]
    pub const fn of(thumbprint: [u8; 32]) -> Self {
        Self(thumbprint)
    }

    /// The thumbprint itself, the form that the database stores.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = ParseKeyIdError;

    fn from_str(text: &str) -> Result<Self, ParseKeyIdError> {
        if text.len() != Self::CHARS {
            return Err(ParseKeyIdError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ParseKeyIdError)?;
        bytes.try_into().map(Self).map_err(|_| ParseKeyIdError)
    }
}

impl TryFrom<String> for KeyId {
    type Error = ParseKeyIdError;

    fn try_from(text: String) -> Result<Self, ParseKeyIdError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(kid: KeyId) -> Self {
        URL_SAFE_NO_PAD.encode(kid.0)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(*self))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

fn parse(text: &str) -> Result<Uuid, ParseIdError> {
    let uuid = Uuid::try_parse(text).map_err(|_| ParseIdError)?;
    // `try_parse` also takes braces, URNs, upper case and no hyphens; one id has one spelling here.
    let mut buffer = Uuid::encode_buffer();
    (uuid.as_hyphenated().encode_lower(&mut buffer) == text).then_some(uuid).ok_or(ParseIdError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = SessionId::random();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for other in [
            text.to_uppercase(),
            text.replace('-', ""),
            format!("{{{text}}}"),
            format!("urn:uuid:{text}"),
            format!(" {text}"),
            String::new(),
            "é".repeat(18),
        ] {
            assert_eq!(other.parse::<SessionId>(), Err(ParseIdError), "{other:?}");
        }
    }

    #[test]
    fn a_key_id_has_one_spelling() {
        // RFC 8037 appendix A.3.
        let text = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        let kid: KeyId = text.parse().unwrap();
        assert_eq!((kid.to_string().as_str(), KeyId::of(*kid.as_bytes())), (text, kid));
        // The last character carries 4 bits; "l" is "k" with one of the other two set.
        let twin = format!("{}l", &text[..42]);
        for other in [String::new(), text[1..].to_owned(), format!("{text}="), format!("{text}A"), twin, "é".repeat(43)]
        {
            assert_eq!(other.parse::<KeyId>(), Err(ParseKeyIdError), "{other}");
        }
    }
}
