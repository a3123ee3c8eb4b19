//! What browsers make of a configuration: TLS, cookies and origins together decide whether a login is kept.

use std::net::IpAddr;

use super::{
    rules::Conflict,
    sections::{Config, SiteData},
    values::is_host_name,
};

/// Why a cookie cannot have this domain. Nothing: it can, or there is none.
pub(super) fn domain_reason(text: &str) -> Option<String> {
    let reason = if text.is_empty() {
        return None;
    } else if text.starts_with('.') {
        "has a leading dot"
    } else if text.parse::<IpAddr>().is_ok() {
        "is an address, not a name"
    } else if text.contains(':') {
        "has more than a name: a port or a scheme is no part of a cookie's domain"
    } else if !is_host_name(text) || text.rsplit('.').next().is_some_and(|last| last.parse::<u64>().is_ok()) {
        "is not a domain name"
    } else if !text.contains('.') {
        "is a single label, and browsers refuse cookies for those"
    } else if psl::suffix_str(&text.to_ascii_lowercase()).is_some_and(|suffix| suffix.eq_ignore_ascii_case(text)) {
        "is a public suffix: anybody can have a host under it, and browsers refuse cookies for those"
    } else {
        return None;
    };
    Some(reason.to_owned())
}

/// What cannot be served as it is configured.
pub(super) fn conflicts(config: &Config, conflicts: &mut Vec<Conflict>) {
    let http = &config.http;
    let (certificate, key) = (http.has_tls(), !http.tls_key.as_os_str().is_empty());
    if certificate != key {
        let (there, missing) =
            if certificate { ("tls_certificate", "tls_key") } else { ("tls_key", "tls_certificate") };
        conflicts.push(Conflict {
            keys: &["http.tls_certificate", "http.tls_key"],
            wrong: format!("http.{there} is set and http.{missing} is not"),
            remedy: "Set both to the paths of PEM files for TLS, or none for plain HTTP".to_owned(),
        });
    }
}

/// What is allowed and has a price in browsers, each a sentence or two with what to do.
pub(super) fn warnings(config: &Config, warnings: &mut Vec<String>) {
    let (http, domain) = (&config.http, &config.cookies.domain);
    if !domain.is_empty() {
        warnings.push(format!(
            "cookies.domain is {domain:?}: every host under it receives the cookies and can set its own in their \
             place, and the access cookie loses its __Host- prefix, which prevents that. Leave it empty unless hosts \
             that you all trust must share the login."
        ));
    }
    warnings.extend(outside(config));
    if !http.has_tls() && !http.listen.ip().is_loopback() && http.trusted_proxies.is_empty() {
        warnings.push(format!(
            "http.listen is {}: other machines reach it over plain HTTP, and browsers drop the cookies there, which \
             are Secure: nobody stays logged in. Set http.tls_certificate and http.tls_key, or put a proxy that \
             terminates TLS in front and name it in http.trusted_proxies.",
            http.listen
        ));
    }
    if is_https(config) {
        for origin in http.allowed_origins.iter().filter(|origin| origin.as_str().starts_with("http://")) {
            warnings.push(format!(
                "http.allowed_origins has {origin}: to browsers a page on http is on another site than a service on \
                 https, so they send it no SameSite cookies and its users seem logged out. Serve the page over https \
                 and allow that origin."
            ));
        }
    }
    if config.cookies.clear_site_data.contains(&SiteData::Cookies) {
        warnings.push(
            "cookies.clear_site_data has cookies: a logout makes the browser forget every cookie of the whole \
             registrable domain, and logs its user out of all applications there. Leave it out; a logout removes \
             the cookies of this service anyway."
                .to_owned(),
        );
    }
}

/// Whether browsers come by HTTPS, as far as the configuration tells: loopback alone works without it.
fn is_https(config: &Config) -> bool {
    let http = &config.http;
    http.has_tls() || !http.listen.ip().is_loopback() || !http.trusted_proxies.is_empty()
}

/// Warns of a cookie domain that is not the domain of what is known to be called with the cookies.
fn outside(config: &Config) -> Option<String> {
    let domain = config.cookies.domain.to_ascii_lowercase();
    if domain.is_empty() {
        return None;
    }
    let is_within = |host: &str| host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'));
    let origins = &config.http.allowed_origins;
    if !origins.is_empty() && !origins.iter().any(|origin| host(origin.as_str()).is_some_and(is_within)) {
        return Some(format!(
            "cookies.domain is {domain:?}, and no origin in http.allowed_origins is on a host of that domain. Browsers \
             keep the cookies only if the service itself is, and send them along only from pages of the same site. \
             Correct one of the two."
        ));
    }
    // An issuer that is a URL is what the service is called.
    let issuer = config.tokens.issuer.to_ascii_lowercase();
    let called = host(&issuer).filter(|host| !is_within(host))?;
    Some(format!(
        "cookies.domain is {domain:?}, and the service is called {called} in tokens.issuer, which is no host of that \
         domain. Browsers drop cookies for a domain that their host is not of. Correct one of the two."
    ))
}

/// The host of a URL that has one.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    Some(host).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        change(&mut config);
        config
    }

    fn warned(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut found = Vec::new();
        warnings(&config(change), &mut found);
        found
    }

    fn with_tls(config: &mut Config) {
        config.http.tls_certificate = "server.pem".into();
        config.http.tls_key = "server.key".into();
    }

    #[test]
    fn a_certificate_and_its_key_are_set_together_or_not_at_all() {
        let found = |change: fn(&mut Config)| {
            let mut found = Vec::new();
            conflicts(&config(change), &mut found);
            found.into_iter().map(|conflict| conflict.wrong).collect::<Vec<_>>()
        };
        assert_eq!(found(|_| {}), Vec::<String>::new());
        assert_eq!(found(with_tls), Vec::<String>::new());
        assert_eq!(
            found(|config| config.http.tls_key = "server.key".into()),
            ["http.tls_key is set and http.tls_certificate is not"]
        );
        assert_eq!(
            found(|config| config.http.tls_certificate = "server.pem".into()),
            ["http.tls_certificate is set and http.tls_key is not"]
        );
    }

    #[test]
    fn a_listener_whose_cookies_browsers_drop_is_warned_of() {
        let everywhere = |config: &mut Config| config.http.listen = "0.0.0.0:8080".parse().unwrap();
        assert!(warned(everywhere)[0].contains("browsers drop the cookies there"));
        let behind_proxy = |config: &mut Config| {
            everywhere(config);
            config.http.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        };
        let encrypted = |config: &mut Config| {
            everywhere(config);
            with_tls(config);
        };
        assert_eq!(warned(behind_proxy), Vec::<String>::new());
        assert_eq!(warned(encrypted), Vec::<String>::new());
    }

    #[test]
    fn a_page_on_http_is_on_another_site_than_a_service_on_https() {
        let page = |config: &mut Config| config.http.allowed_origins = vec!["http://localhost:3000".parse().unwrap()];
        assert_eq!(warned(page), Vec::<String>::new(), "on loopback both are on http");
        let found = warned(|config| {
            page(config);
            with_tls(config);
        });
        assert!(
            matches!(&*found, [one] if one.contains("http.allowed_origins has http://localhost:3000")),
            "{found:?}"
        );
    }

    #[test]
    fn a_domain_that_nobody_is_in_is_warned_of() {
        let found = |domain: &str, origin: &str, issuer: &str| {
            let mut found = warned(|config| {
                config.cookies.domain = domain.to_owned();
                config.http.allowed_origins = origin.parse().into_iter().collect();
                config.tokens.issuer = issuer.to_owned();
            });
            assert!(found.remove(0).contains("every host under it"));
            found
        };
        for (domain, origin, issuer, words) in [
            ("example.com", "", "kickout", ""),
            ("example.com", "https://app.example.com", "https://id.example.com/", ""),
            ("Example.com", "https://example.com:8443", "https://ID.example.com:8443", ""),
            ("example.com", "https://app.example.org", "kickout", "no origin in http.allowed_origins"),
            ("example.com", "https://notexample.com", "kickout", "no origin in http.allowed_origins"),
            ("example.com", "", "https://id.example.org/x", "called id.example.org in tokens.issuer"),
        ] {
            let found = found(domain, origin, issuer);
            assert_eq!(found.is_empty(), words.is_empty(), "{domain} {origin} {issuer}: {found:?}");
            assert!(found.iter().all(|one| one.contains(words)), "{found:?}");
        }
    }

    #[test]
    fn a_public_suffix_is_no_domain_for_cookies() {
        for suffix in ["co.uk", "CO.UK", "github.io", "city.kawasaki.jp.co.uk"] {
            let is_suffix = domain_reason(suffix).is_some_and(|reason| reason.contains("public suffix"));
            assert_eq!(is_suffix, !suffix.starts_with("city"), "{suffix}");
        }
        for good in ["", "example.co.uk", "kickout.github.io", "corp.internal", "a.b.example.com"] {
            assert_eq!(domain_reason(good), None, "{good}");
        }
    }

    #[test]
    fn clearing_the_cookies_of_all_applications_is_warned_of() {
        let clears = |data: SiteData| warned(|config| config.cookies.clear_site_data = vec![data]);
        assert!(clears(SiteData::Cookies)[0].contains("logs its user out of all applications"));
        assert_eq!(clears(SiteData::Storage), Vec::<String>::new());
    }
}
