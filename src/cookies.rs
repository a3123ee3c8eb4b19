//! The two cookies: what they are called, and how they are set, read and removed.
//!
//! | cookie | holds | name | scope |
//! |---|---|---|---|
//! | access | the JWT | `__Host-kickout-access` | this host, every path |
//! | refresh | the opaque refresh token | `__Secure-kickout-refresh` | `Path=/v1/auth` |
//!
//! Both are `Secure`, `HttpOnly` and `SameSite`. `__Host-` binds a cookie to one host, but allows no path; the refresh
//! token should not travel with every request, so it gives up that binding: a sibling host that an attacker controls
//! could *set* one (never read it), which is why the same cookie twice in one request is refused; only a logout looks
//! at all of them, since nobody must be able to keep a user from leaving. With `cookies.domain` the access cookie is
//! shared with sibling hosts and loses the binding as well.

use std::time::Duration;

use cookie::{Cookie, SameSite, time::Duration as CookieDuration};

/// The path that the refresh cookie travels to.
pub const REFRESH_PATH: &str = "/v1/auth";

/// How cookies are made.
#[derive(Debug, Clone)]
pub struct Cookies {
    access: &'static str,
    domain: Option<String>,
    same_site: SameSite,
}

/// A cookie's value as a request carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// It is not there.
    Absent,
    /// It is there once.
    One(&'a str),
    /// It is there more than once: somebody may have tossed in theirs. Refused.
    Several,
}

const REFRESH: &str = "__Secure-kickout-refresh";

impl Cookies {
    /// Cookies for this host alone, or for a whole domain.
    #[must_use]
    pub fn new(same_site: SameSite, domain: Option<String>) -> Self {
        let access = if domain.is_some() { "__Secure-kickout-access" } else { "__Host-kickout-access" };
        Self { access, domain, same_site }
    }

    /// The name of the access cookie.
    #[must_use]
    pub const fn access_name(&self) -> &'static str {
        self.access
    }

    /// The name of the refresh cookie.
    #[must_use]
    pub const fn refresh_name(&self) -> &'static str {
        REFRESH
    }

    /// `Set-Cookie` for the access token.
    #[must_use]
    pub fn access(&self, token: &str, life: Duration) -> String {
        self.cookie(self.access, token, "/", life)
    }

    /// `Set-Cookie` for the refresh token.
    #[must_use]
    pub fn refresh(&self, token: &str, life: Duration) -> String {
        self.cookie(REFRESH, token, REFRESH_PATH, life)
    }

    /// `Set-Cookie` headers that remove both, with the attributes they were set with: else a browser keeps them.
    #[must_use]
    pub fn removal(&self) -> Vec<String> {
        let ours = [self.access("", Duration::ZERO), self.refresh("", Duration::ZERO)];
        self.leftover_removal().into_iter().chain(ours).collect()
    }

    /// `Set-Cookie` that removes the refresh cookie of this host alone, from before there was a domain: a browser would
    /// send it beside the domain's. `None` without a domain; which one there may have been before is not known then.
    /// It goes before the others, for clients that take the two for one. The access cookie has another name.
    #[must_use]
    pub fn leftover_removal(&self) -> Option<String> {
        let host_only = Self { domain: None, ..self.clone() };
        self.domain.as_ref().map(|_| host_only.refresh("", Duration::ZERO))
    }

    fn cookie(&self, name: &'static str, value: &str, path: &'static str, life: Duration) -> String {
        let mut cookie = Cookie::new(name, value);
        cookie.set_path(path);
        cookie.set_secure(true);
        cookie.set_http_only(true);
        cookie.set_same_site(self.same_site);
        cookie.set_max_age(CookieDuration::seconds(i64::try_from(life.as_secs()).unwrap_or(i64::MAX)));
        if let Some(domain) = &self.domain {
            cookie.set_domain(domain);
        }
        cookie.to_string()
    }
}

/// Finds a cookie in a request's `Cookie` headers.
pub fn find<'a>(headers: impl Iterator<Item = &'a [u8]>, name: &str) -> Found<'a> {
    let mut values = values(headers, name);
    match (values.next(), values.next()) {
        (None, _) => Found::Absent,
        (Some(value), None) => Found::One(value),
        (Some(_), Some(_)) => Found::Several,
    }
}

/// All values of a cookie in a request's `Cookie` headers (RFC 6265 §4.2.1, which allows several headers in HTTP/2). A
/// value that is not text is empty: none of ours is either.
pub fn values<'a>(headers: impl Iterator<Item = &'a [u8]>, name: &str) -> impl Iterator<Item = &'a str> {
    let pairs = headers.flat_map(|header| header.split(|&byte| byte == b';'));
    let values = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    values.map(|value| std::str::from_utf8(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn cookies_are_spelled_as_designed_and_removed_with_the_same_attributes() {
        let cookies = Cookies::new(SameSite::Lax, None);
        let day = Duration::from_hours(24);
        assert_eq!(
            cookies.access("t", day),
            "__Host-kickout-access=t; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=86400"
        );
        assert_eq!(
            cookies.refresh("r", day),
            "__Secure-kickout-refresh=r; HttpOnly; SameSite=Lax; Secure; Path=/v1/auth; Max-Age=86400"
        );
        let [access, refresh] = cookies.removal().try_into().unwrap();
        assert_eq!(access, "__Host-kickout-access=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
        assert_eq!(refresh, "__Secure-kickout-refresh=; HttpOnly; SameSite=Lax; Secure; Path=/v1/auth; Max-Age=0");

        let shared = Cookies::new(SameSite::Strict, Some("example.org".into()));
        assert_eq!(
            shared.access("t", day),
            "__Secure-kickout-access=t; HttpOnly; SameSite=Strict; Secure; Path=/; Domain=example.org; Max-Age=86400"
        );
        let refresh = "__Secure-kickout-refresh=; HttpOnly; SameSite=Strict; Secure; Path=/v1/auth;";
        assert_eq!(
            shared.removal(),
            [
                format!("{refresh} Max-Age=0"),
                shared.access("", Duration::ZERO),
                format!("{refresh} Domain=example.org; Max-Age=0"),
            ]
        );
    }

    #[test]
    fn a_cookie_is_absent_there_once_or_refused() {
        let find = |headers: &[&'static str]| find(headers.iter().map(|header| header.as_bytes()), "a");
        assert_eq!(find(&[]), Found::Absent);
        assert_eq!(find(&["b=1; aa=2; xa=3"]), Found::Absent);
        assert_eq!(find(&["b=1; a=2"]), Found::One("2"));
        assert_eq!(find(&["a="]), Found::One(""));
        assert_eq!(find(&["a=1; a=2"]), Found::Several);
        assert_eq!(find(&["a=1", "a=1"]), Found::Several);
        assert_eq!(find(&["a; =; ;;a=x=y"]), Found::One("x=y"));
        assert_eq!(find(&["theme=dunkel-über-alles; a=1"]), Found::One("1"));
    }

    proptest! {
        /// The values are those that RFC 6265 §4.1.1 allows.
        #[test]
        fn a_cookie_comes_back_as_it_was_set_whatever_stands_around_it(
            value in "[!#-+\\--:<-\\[\\]-~]{0,60}",
            others in vec("[a-z]{1,4}=[ -:<-~]{0,8}", 0..6),
            place: prop::sample::Index,
        ) {
            let cookies = Cookies::new(SameSite::Lax, None);
            let set = cookies.access(&value, Duration::from_mins(15));
            let mut pairs = others;
            pairs.insert(place.index(pairs.len() + 1), set.split("; ").next().unwrap().to_owned());
            let header = pairs.join("; ");
            prop_assert_eq!(find([header.as_bytes()].into_iter(), cookies.access_name()), Found::One(&value));
            prop_assert_eq!(find([header.as_bytes(); 2].into_iter(), cookies.access_name()), Found::Several);
            prop_assert_eq!(find([header.as_bytes()].into_iter(), cookies.refresh_name()), Found::Absent);
        }
    }
}
