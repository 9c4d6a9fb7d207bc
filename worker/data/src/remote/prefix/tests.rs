use super::*;

fn covers(prefix: &str, url: &str) -> bool {
    let prefix: UrlPrefix = prefix.parse().unwrap();
    parse(url).is_ok_and(|url| prefix.covers(&url))
}

#[test]
fn a_prefix_covers_what_lies_below_it() {
    for (prefix, url) in [
        ("s3://bucket", "s3://bucket/train.parquet"),
        ("s3://bucket/", "s3://bucket/a/b"),
        ("s3://bucket/a", "s3://bucket/a/b"),
        ("s3://bucket/a/", "s3://bucket/a/b"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("gs://bucket/a", "gs://bucket/a/b"),
        ("az://container", "az://container/b"),
        ("https://host/a", "https://host/a/b"),
        ("https://HOST:443/a", "https://host/a/b%20c"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/x"),
    ] {
        assert!(covers(prefix, url), "{prefix} {url}");
    }
}

#[test]
fn nothing_escapes_a_prefix() {
    for (prefix, url) in [
        ("s3://bucket/a", "s3://bucket/ab"),
        ("s3://bucket/a/", "s3://bucket/b"),
        ("s3://bucket/a", "s3://bucket/a/../b"),
        ("s3://bucket/a", "s3://bucket/a/%2e%2e/b"),
        ("s3://bucket/a", "s3://bucket/a/%2E./b"),
        ("s3://bucket/a", "s3://bucket/a%2f..%2fb"),
        ("s3://bucket/a", "s3://bucket/a/%252e%252e/b"),
        ("s3://bucket", "s3://bucket-2/a"),
        ("s3://bucket", "gs://bucket/a"),
        ("https://host", "http://host/a"),
        ("https://host", "https://host.evil.com/a"),
        ("https://host", "https://evil.com/https://host/a"),
        ("https://host", "https://host@evil.com/a"),
        ("https://host", "https://host:pass@evil.com/a"),
        ("https://host", "https://evil.com\\@host/a"),
        ("https://host", "https://host:8443/a"),
        ("https://host/a", "https://host/a\\..\\b"),
        ("https://host/a", "https://host/a/b?redirect=c"),
        ("https://host/a", "https://host/a/b#c"),
        ("https://host/a", "https://host//a/b"),
        ("https://host/a", "https://host/a/./b"),
        ("https://host/a", "https://host/a/\n/b"),
        ("https://host/a", "https://host/a/..;/b"),
        ("https://host/a", "https://host/a/..;x=1/b"),
        ("https://host/a", "https://host/a/.;/b"),
        ("https://host/a", "https://host/a/;/../b"),
        ("https://host/a", "https://host/a;/../b"),
        ("https://host/a", "https://host/a/..%3b/b"),
        ("https://host/a", "https://host/a/..%3B/b"),
        ("https://host/a", "https://host/a/..%253b/b"),
        ("https://host/a", "https://host/a/%2e%2e;/b"),
        ("https://host/a", "https://host/a/..%20/b"),
        ("https://host/a", "https://host/a/..%09/b"),
        ("https://host/a", "https://host/a/.../b"),
        ("https://host/a", "https://host/a/%c0%ae%c0%ae/b"),
        ("https://host/a", "https://host/a/%e0%80%ae%e0%80%ae/b"),
        ("https://host/a", "https://host/a/b%3fredirect=c"),
        ("https://host/a", "https://host/a/b%23c"),
    ] {
        assert!(!covers(prefix, url), "{prefix} {url}");
    }
}

#[test]
fn urls_that_mean_no_file_are_refused_with_the_reason() {
    for (url, expected) in [
        ("bucket/a", "expected a URL like"),
        ("file:///etc/passwd", "begins with s3, gs, az, https or http"),
        ("ftp://host/a", "begins with"),
        ("s3:///a", "with a host or bucket"),
        ("https://user@host/a", "without user or password"),
        ("https://host/a?b", "without query"),
        ("https://host/a/../b", "without \".\", \"..\""),
        ("https://host/%2e%2e/b", "without escaped dots"),
        ("https://host/a/..;/b", "without \";\""),
    ] {
        let problem = url.parse::<UrlPrefix>().unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
    assert!(parse(&format!("https://host/{}", "a".repeat(3000))).unwrap_err().contains("at most 2048"));
}

#[test]
fn a_redirection_may_be_signed_but_not_ambiguous() {
    let prefix: UrlPrefix = "https://host/a".parse().unwrap();
    let allows = |url: &str| prefix.allows_redirection(&Url::parse(url).unwrap());
    assert!(allows("https://host/a/b?signature=x;y/../z"));
    for url in [
        "https://host/a/..;/b",
        "https://host/a/..%2fb",
        "https://host/a/..%3b/b",
        "https://host/a/%2e%2e/b",
        "https://host/b",
        "https://user@host/a/b",
    ] {
        assert!(!allows(url), "{url}");
    }
}
