//! URLs of data files, and which of them are allowed.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// Most bytes of a URL.
const LONGEST: usize = 2048;
/// Schemes that files can be read from.
const SCHEMES: [&str; 5] = ["s3", "gs", "az", "https", "http"];
/// Escapes that a server might decode to a separator, to the parent folder, to another escape, or to the beginning of
/// path parameters, a query or a fragment; those of control characters; and overlong forms of all these.
const ESCAPES: [&str; 14] =
    ["%2e", "%2f", "%5c", "%25", "%3b", "%3f", "%23", "%00", "%09", "%0a", "%0d", "%c0", "%e0%80", "%f0%80"];

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
    // As it was written: the parser of URLs has resolved "." and ".." in its result.
    check_path(text.split_once("://").map_or("", |(_, rest)| rest)).map(|()| url).or_else(expected)
}

/// Refuses a path that servers read in different ways: some cut a part at a semicolon before they resolve "..", so that
/// "..;" leads to the parent folder there and to a file of that name elsewhere.
fn check_path(path: &str) -> Result<(), &'static str> {
    let path = path.to_ascii_lowercase();
    // Some servers ignore spaces at the end of a part.
    let strange = |part: &str| {
        let part = part.replace("%20", "");
        !part.is_empty() && part.bytes().all(|byte| byte == b'.' || byte == b' ')
    };
    if path.split('/').any(strange) || path.contains("//") || path.contains(['\\', '\t', '\n', '\r']) {
        return Err("a URL without \".\", \"..\", empty parts and backslashes");
    }
    if path.contains(';') {
        return Err("a URL without \";\", which begins parameters of a path");
    }
    if ESCAPES.iter().any(|escape| path.contains(escape)) {
        return Err("a URL without escaped dots, slashes, semicolons and percent signs");
    }
    Ok(())
}

impl UrlPrefix {
    /// Whether a server may be asked for a URL to which another one has redirected: below this one, and as unambiguous as
    /// a URL of a job. It may have a query, with which stores sign their addresses.
    pub(super) fn allows_redirection(&self, url: &Url) -> bool {
        let anonymous = url.username().is_empty() && url.password().is_none();
        anonymous && check_path(url.path()).is_ok() && self.covers(url)
    }

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
