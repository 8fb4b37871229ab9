//! Resolves `providers.<name>.proxy_config`.

use secrecy::SecretString;
use url::Url;

use super::Resolver;
use crate::config::file::{Proxy, ProxyType};
use crate::config::settings::ProxySettings;
use crate::config::tree::push;

/// What a proxy's URL may begin with, by kind.
const SCHEMES: [(&str, bool); 3] = [("http", false), ("socks5", true), ("socks5h", true)];

impl Resolver<'_> {
    pub(super) fn proxy(&mut self, at: &str, proxy: Option<&Proxy>) -> Option<ProxySettings> {
        let proxy = proxy?;
        match proxy.r#type {
            Some(ProxyType::None) => None,
            Some(ProxyType::Environment) => self.environments_proxy(at),
            kind => {
                let url = self.proxy_url(at, proxy, kind)?;
                Some(ProxySettings { http: Some(url.clone()), https: Some(url), except: String::new() })
            }
        }
    }

    fn proxy_url(&mut self, at: &str, proxy: &Proxy, kind: Option<ProxyType>) -> Option<SecretString> {
        let url_at = push(at, "url");
        let text = self.text(&url_at, proxy.url.as_ref());
        let user = self.text(&push(at, "username"), proxy.username.as_ref());
        let password = self.text(&push(at, "password"), proxy.password.as_ref());
        let Some(text) = text else {
            if proxy.url.is_none() {
                self.conflict(at, "the key `url` is missing, such as `http://proxy.internal:3128`");
            }
            return None;
        };
        let Some(mut url) = proxy_at(&text) else {
            self.conflict(
                &url_at,
                "expected a proxy's address, such as `http://proxy.internal:3128` or `socks5://proxy.internal:1080`",
            );
            return None;
        };
        let is_socks = SCHEMES.iter().any(|(scheme, socks)| *socks && *scheme == url.scheme());
        if kind.is_some_and(|kind| matches!(kind, ProxyType::Socks5) != is_socks) {
            self.conflict(&url_at, "the URL is of another kind of proxy than `type` says");
        }
        // Both fail only on a URL without a host.
        let _ = user.map(|user| url.set_username(&user));
        let _ = password.map(|password| url.set_password(Some(&password)));
        Some(url.as_str().trim_end_matches('/').into())
    }

    /// `HTTPS_PROXY` and its kin, with curl's rules: the small spelling first, `ALL_PROXY` where the closer one is missing.
    fn environments_proxy(&mut self, at: &str) -> Option<ProxySettings> {
        let variable = |name: &str| {
            let found =
                [name.to_ascii_lowercase(), name.to_owned()].into_iter().find_map(|name| (self.environment)(&name));
            found.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let (http, https, all) = (variable("HTTP_PROXY"), variable("HTTPS_PROXY"), variable("ALL_PROXY"));
        let except = variable("NO_PROXY").unwrap_or_default();
        let proxies = [http.or_else(|| all.clone()), https.or(all)];
        let [http, https] = proxies.map(|text| {
            // A proxy may be named without saying that it speaks HTTP.
            let text = text.map(|text| if text.contains("://") { text } else { format!("http://{text}") })?;
            if proxy_at(&text).is_none() {
                self.conflict(
                    &push(at, "type"),
                    "the environment names a proxy that is no `http://` or `socks5://` address",
                );
            }
            Some(SecretString::from(text))
        });
        (http.is_some() || https.is_some()).then_some(ProxySettings { http, https, except })
    }

    /// The provider's own certificate authorities, and its proxy's.
    pub(super) fn authorities(&mut self, at: &str, own: Option<String>, proxy: Option<&Proxy>) -> Option<SecretString> {
        let of_proxy = proxy.and_then(|proxy| self.text(&push(at, "ca_cert_pem"), proxy.ca_cert_pem.as_ref()));
        let all: Vec<String> = [own, of_proxy].into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join("\n").into())
    }
}

fn proxy_at(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let known = SCHEMES.iter().any(|(scheme, _)| *scheme == url.scheme());
    (known && url.host_str().is_some_and(|host| !host.is_empty())).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_address_has_a_known_scheme_and_a_host() {
        for (text, good) in [
            ("http://proxy:3128", true),
            ("socks5://user:pass@127.0.0.1:1080", true),
            ("socks5h://proxy", true),
            ("https://proxy:3128", false),
            ("proxy:3128", false),
            ("socks5://", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(proxy_at(text).is_some(), good, "{text}");
        }
    }
}
