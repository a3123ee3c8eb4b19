//! `Prefer` (RFC 7240): how long a client waits for a revocation to be in force everywhere.

use std::{sync::Arc, time::Duration};

use axum::extract::{FromRef, FromRequestParts};
use http::{HeaderName, HeaderValue, request::Parts};

use super::state::Trust;
use crate::revocation::Patience;

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The answer's header that says which preference was followed (RFC 7240 §3).
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a request prefers: `respond-async` (§4.1), `wait=N` seconds (§4.3), both (wait, then answer 202), or nothing:
/// then the answer comes when the revocation is in force, and 202 only if the request's own time is running out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefer {
    /// How long to wait.
    pub patience: Patience,
    /// What to say about it.
    pub applied: Option<HeaderValue>,
}

impl<S: Send + Sync> FromRequestParts<S> for Prefer
where
    Arc<Trust>: FromRef<S>,
{
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let longest = Arc::<Trust>::from_ref(state).patience;
        let values = parts.headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        Ok(Self::parse(values, longest))
    }
}

impl Prefer {
    /// Of a preference that is there twice the first counts; one that is not understood is passed over (§2).
    fn parse<'a>(values: impl Iterator<Item = &'a str>, longest: Duration) -> Self {
        let (mut is_async, mut wait) = (false, None);
        for preference in values.flat_map(|value| value.split(',')) {
            // Parameters follow a semicolon; neither preference has any.
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" if value.is_empty() => is_async = true,
                "wait" => wait = wait.or(value.parse::<u32>().ok()),
                _ => {}
            }
        }
        let limit = |seconds: u32| Patience::AtMost(Duration::from_secs(seconds.into()).min(longest));
        let (patience, applied) = match (is_async, wait) {
            (true, Some(seconds)) => (limit(seconds), Some(format!("respond-async, wait={seconds}"))),
            (true, None) => (limit(0), Some("respond-async".to_owned())),
            (false, Some(seconds)) => (limit(seconds), Some(format!("wait={seconds}"))),
            (false, None) => (Patience::AtMost(longest), None),
        };
        Self { patience, applied: applied.and_then(|applied| HeaderValue::try_from(applied).ok()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(29);

    #[test]
    fn preferences_are_read_as_rfc_7240_writes_them() {
        let at_most = |seconds| Patience::AtMost(Duration::from_secs(seconds));
        for (values, patience, applied) in [
            (&[][..], at_most(29), None),
            (&["respond-async"], at_most(0), Some("respond-async")),
            (&["wait=5"], at_most(5), Some("wait=5")),
            (&["Wait = \"5\""], at_most(5), Some("wait=5")),
            (&["respond-async, wait=10; foo=bar"], at_most(10), Some("respond-async, wait=10")),
            (&["handling=lenient", "RESPOND-ASYNC"], at_most(0), Some("respond-async")),
            (&["wait=1, wait=2"], at_most(1), Some("wait=1")),
            (&["wait=9999"], at_most(29), Some("wait=9999")),
            (&["wait=-1"], at_most(29), None),
            (&["wait=soon", "respond-async=no"], at_most(29), None),
        ] {
            let prefer = Prefer::parse(values.iter().copied(), LONGEST);
            assert_eq!(prefer.patience, patience, "{values:?}");
            assert_eq!(prefer.applied.as_ref().map(|value| value.to_str().unwrap()), applied, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_the_service_allows(values in vec("[ -~]{0,30}|wait=[0-9]{1,12}|respond-async", 0..4)) {
            let prefer = Prefer::parse(values.iter().map(String::as_str), LONGEST);
            let Patience::AtMost(patience) = prefer.patience else { panic!("somebody waits for ever") };
            prop_assert!(patience <= LONGEST);
        }
    }
}
