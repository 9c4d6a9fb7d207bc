//! URLs of data files, and which of them are allowed.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// Most bytes of a URL.
const LONGEST: usize = 2048;
/// Schemes that files can be read from.
const SCHEMES: [&str; 5] = ["s3", "gs", "az", "https", "http"];
/// Escapes that a server might decode to a separator, to the parent folder, or to another escape.
const ESCAPES: [&str; 5] = ["%2e", "%2f", "%5c", "%25", "%00"];

/// A URL below which files may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPrefix(Url);

/// Parses a URL that every reader takes for the same file; ambiguous ones are refused.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let expected = |what: &str| Err(format!("expected {what}, found {text:?}"));
    if text.len() > LONGEST {
        return Err(format!("expected a URL of at most {LONGEST} bytes, found {}", text.len()));
    }
    let Ok(url) = Url::parse(text) else {
        return expected("a URL like s3://bucket/file or https://host/file");
    };
    if !SCHEMES.contains(&url.scheme()) {
        return expected("a URL that begins with s3, gs, az, https or http");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return expected("a URL with a host or bucket");
    }
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return expected("a URL without user or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return expected("a URL without query and fragment");
    }
    let lower = text.to_ascii_lowercase();
    let path = lower.split_once("://").map_or("", |(_, rest)| rest);
    let strange = |segment: &str| segment == "." || segment == "..";
    if path.split('/').any(strange) || path.contains("//") || path.contains(['\\', '\t', '\n', '\r']) {
        return expected("a URL without \".\", \"..\", empty parts and backslashes");
    }
    if ESCAPES.iter().any(|escape| path.contains(escape)) {
        return expected("a URL without escaped dots, slashes and percent signs");
    }
    Ok(url)
}

impl UrlPrefix {
    /// Whether a URL lies below this one: the same scheme, host and port, and a path that continues this path at a
    /// slash.
    pub(super) fn covers(&self, url: &Url) -> bool {
        let same = |part: fn(&Url) -> Option<String>| part(&self.0) == part(url);
        if self.0.scheme() != url.scheme()
            || !same(|url| url.host_str().map(str::to_owned))
            || !same(|url| url.port_or_known_default().map(|port| port.to_string()))
        {
            return false;
        }
        let own = self.0.path().trim_end_matches('/');
        url.path().strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for UrlPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).map(Self)
    }
}

impl fmt::Display for UrlPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
