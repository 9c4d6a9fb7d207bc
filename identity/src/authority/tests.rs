use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::{Folder, GuardedServer, Identity};

fn wanted(identities: &[(Role, &str)]) -> Wanted {
    let identities = identities.iter().map(|(role, name)| (*role, (*name).to_owned())).collect();
    Wanted { hosts: vec!["gpu-1.example".into(), "10.1.2.3".into()], identities, days: 365 }
}

fn provide(root: &Path, wanted: &Wanted) -> Vec<Issued> {
    let (authority, mut issued) = Authority::open(root).unwrap();
    issued.extend(authority.provide(wanted).unwrap());
    issued
}

fn identity(root: &Path, name: &str) -> Result<Identity, String> {
    let (chain, _) = Folder::new(root.join(name)).pair().unwrap().unwrap();
    Identity::of_certificate(&chain[0])
}

#[test]
fn certificates_and_tokens_say_who_their_holders_are() {
    let root = tempfile::tempdir().unwrap();
    provide(root.path(), &wanted(&[(Role::Admin, "admin"), (Role::User, "alice"), (Role::Worker, "worker")]));
    let named = |name: &str, role| Identity { name: name.into(), role };
    assert_eq!(identity(root.path(), "admin"), Ok(named("admin", Role::Admin)));
    assert_eq!(identity(root.path(), "alice"), Ok(named("alice", Role::User)));
    assert_eq!(identity(root.path(), "worker"), Ok(named("worker", Role::Worker)));
    assert!(identity(root.path(), "coordinator").is_err(), "a coordinator has no role with itself");
    let tokens = Folder::new(root.path().join("coordinator")).tokens().unwrap();
    let alice = Folder::new(root.path().join("alice")).token().unwrap().unwrap();
    assert_eq!(tokens.holder(&alice), Some(&named("alice", Role::User)));
    assert_eq!(tokens.holder(&Token::random().unwrap()), None);
    GuardedServer::load(&Folder::new(root.path().join("coordinator"))).unwrap();
}

#[test]
fn what_is_there_stays_until_it_does_not_fit_any_more() {
    let root = tempfile::tempdir().unwrap();
    let first = wanted(&[(Role::Worker, "worker")]);
    assert!(matches!(provide(root.path(), &first)[0], Issued::Authority(_)));
    let token = read(&root.path().join("worker/token")).unwrap();
    assert_eq!(provide(root.path(), &first), [], "nothing is missing");
    let mut more = first.clone();
    more.hosts.push("gpu-2.example".into());
    let coordinator = Issued::Certificate(root.path().join("coordinator/cert.pem"));
    assert_eq!(provide(root.path(), &more), [coordinator], "the coordinator has one more name");
    fs::remove_dir_all(root.path().join("ca")).unwrap();
    assert_eq!(provide(root.path(), &more).len(), 3, "a new authority, and two new certificates");
    assert_eq!(read(&root.path().join("worker/token")).unwrap(), token);
}

#[test]
fn short_lived_certificates_are_renewed_in_their_last_third() {
    let root = tempfile::tempdir().unwrap();
    let short = Wanted { days: 3, ..wanted(&[(Role::User, "alice")]) };
    provide(root.path(), &short);
    assert_eq!(provide(root.path(), &short), [], "they last three days");
    assert_eq!(provide(root.path(), &Wanted { days: 2, ..short.clone() }), [], "two days are less");
    let longer = Wanted { days: 30, ..short };
    assert_eq!(provide(root.path(), &longer).len(), 2, "of thirty days, three are the last third");
}

#[test]
fn names_that_were_given_once_are_kept_and_all_existing_certificates_are_renewed() {
    let root = tempfile::tempdir().unwrap();
    let short = Wanted { days: 3, ..wanted(&[(Role::User, "alice")]) };
    provide(root.path(), &short);
    let later = Wanted { hosts: Vec::new(), days: 30, ..wanted(&[(Role::User, "bob")]) };
    assert_eq!(provide(root.path(), &later).len(), 4, "coordinator, alice, and bob with his token");
    let (authority, _) = Authority::open(root.path()).unwrap();
    let hosts = authority.shown("coordinator").unwrap().unwrap().hosts;
    assert!(
        hosts.contains(&"gpu-1.example".to_owned()) && hosts.contains(&"10.1.2.3".to_owned()),
        "{hosts:?}"
    );
}

#[test]
fn another_role_is_another_certificate_and_counts_for_the_token() {
    let root = tempfile::tempdir().unwrap();
    provide(root.path(), &wanted(&[(Role::Admin, "alice")]));
    let certificate = Issued::Certificate(root.path().join("alice/cert.pem"));
    assert_eq!(provide(root.path(), &wanted(&[(Role::User, "alice")])), [certificate]);
    let tokens = Folder::new(root.path().join("coordinator")).tokens().unwrap();
    let token = Folder::new(root.path().join("alice")).token().unwrap().unwrap();
    assert_eq!(tokens.holder(&token).unwrap().role, Role::User);
    assert_eq!(identity(root.path(), "alice").unwrap().role, Role::User);
}

#[test]
fn what_was_broken_off_is_made_whole() {
    let root = tempfile::tempdir().unwrap();
    let alice = wanted(&[(Role::User, "alice")]);
    provide(root.path(), &alice);
    let certificate = || Issued::Certificate(root.path().join("alice/cert.pem"));
    fs::copy(root.path().join("coordinator/key.pem"), root.path().join("alice/key.pem")).unwrap();
    assert_eq!(provide(root.path(), &alice), [certificate()], "a key of another certificate");
    let strangers = tempfile::tempdir().unwrap();
    provide(strangers.path(), &alice);
    for file in ["cert.pem", "key.pem"] {
        fs::copy(strangers.path().join("alice").join(file), root.path().join("alice").join(file)).unwrap();
    }
    assert_eq!(provide(root.path(), &alice), [certificate()], "of another authority");
    fs::write(root.path().join("coordinator/tokens.toml"), "").unwrap();
    assert_eq!(provide(root.path(), &alice), [], "nothing is made");
    assert!(
        !Folder::new(root.path().join("coordinator")).tokens().unwrap().is_empty(),
        "the token is listed again"
    );
    fs::remove_file(root.path().join("ca/ca.pem")).unwrap();
    assert!(matches!(provide(root.path(), &alice)[0], Issued::Authority(_)), "a key alone is no authority");
}

#[test]
fn hosts_are_names_or_addresses() {
    let root = tempfile::tempdir().unwrap();
    let (authority, _) = Authority::open(root.path()).unwrap();
    for host in ["https://gpu-1:7070", "gpu-1:7070", "a b", ""] {
        let error = authority.provide(&Wanted { hosts: vec![host.into()], ..wanted(&[]) }).unwrap_err();
        assert!(matches!(error, IdentityError::Host(_)), "{error}");
    }
    let long = Wanted { hosts: vec!["2001:DB8::1".into()], ..wanted(&[]) };
    authority.provide(&long).unwrap();
    assert_eq!(authority.provide(&long).unwrap(), [], "the same address however it is written");
}

#[test]
fn secrets_are_for_their_owner_only() {
    let root = tempfile::tempdir().unwrap();
    provide(root.path(), &wanted(&[(Role::User, "alice")]));
    for secret in
        ["ca/ca-key.pem", "coordinator/key.pem", "coordinator/tokens.toml", "alice/key.pem", "alice/token"]
    {
        let mode = fs::metadata(root.path().join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let token = Folder::new(root.path().join("alice")).token().unwrap().unwrap();
    assert!(!read(&root.path().join("coordinator/tokens.toml")).unwrap().contains(token.secret()));
    assert!(!format!("{token:?}").contains(token.secret()));
}

#[test]
fn names_that_are_no_folder_of_their_own_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let (authority, _) = Authority::open(root.path()).unwrap();
    for name in ["", "a/b", "..", "ca", "coordinator", "ä", "a b"] {
        let error = authority.provide(&wanted(&[(Role::User, name)])).unwrap_err();
        assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
    }
    let twice = wanted(&[(Role::User, "alice"), (Role::Worker, "alice")]);
    assert!(matches!(authority.provide(&twice), Err(IdentityError::NameTaken(_))));
}
