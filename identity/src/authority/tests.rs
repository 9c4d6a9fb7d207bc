use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::{Folder, GuardedServer, Identity, Token};

fn wanted(identities: &[(Role, &str)]) -> Wanted {
    let identities = identities.iter().map(|(role, name)| (*role, (*name).to_owned())).collect();
    Wanted { hosts: vec!["gpu-1.example".into(), "10.1.2.3".into()], identities, days: 365 }
}

fn private_folder() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// What was created, where nothing may be left as it is.
fn issue(root: &Path, wanted: &Wanted) -> Vec<Issued> {
    let provided = provide(root, wanted).unwrap();
    assert_eq!((provided.left, provided.tightened), (vec![], vec![]));
    provided.issued
}

/// The one folder that was left as it is: its name, and the reason.
fn left(root: &Path) -> (String, String) {
    let left = provide(root, &wanted(&[])).unwrap().left;
    let [Left { path, reason, .. }] = left.as_slice() else { panic!("{left:?}") };
    (path.file_name().unwrap().to_str().unwrap().to_owned(), reason.clone())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn identity(root: &Path, name: &str) -> Result<Identity, String> {
    let (chain, _) = Folder::new(root.join(name)).pair().unwrap().unwrap();
    Identity::of_certificate(&chain[0])
}

#[test]
fn certificates_and_tokens_say_who_their_holders_are() {
    let root = private_folder();
    issue(root.path(), &wanted(&[(Role::Admin, "admin"), (Role::User, "alice"), (Role::Worker, "worker")]));
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
    let root = private_folder();
    let first = wanted(&[(Role::Worker, "worker")]);
    assert!(matches!(issue(root.path(), &first)[0], Issued::Authority(_)));
    let token = read(&root.path().join("worker/token"));
    assert_eq!(issue(root.path(), &first), [], "nothing is missing");
    let mut more = first.clone();
    more.hosts.push("gpu-2.example".into());
    let coordinator = Issued::Certificate(root.path().join("coordinator/cert.pem"));
    assert_eq!(issue(root.path(), &more), [coordinator], "the coordinator has one more name");
    replace_authority(root.path());
    assert_eq!(issue(root.path(), &wanted(&[])).len(), 3, "a new authority, and both certificates anew");
    assert_eq!(read(&root.path().join("worker/token")), token);
}

/// Removes the authority, but not its record.
fn replace_authority(root: &Path) {
    for file in ["ca.pem", "ca-key.pem"] {
        fs::remove_file(root.join("ca").join(file)).unwrap();
    }
}

#[test]
fn short_lived_certificates_are_made_anew_in_their_last_third() {
    let root = private_folder();
    let short = Wanted { days: 3, ..wanted(&[(Role::User, "alice")]) };
    issue(root.path(), &short);
    assert_eq!(issue(root.path(), &short), [], "they last three days");
    assert_eq!(issue(root.path(), &Wanted { days: 2, ..short.clone() }), [], "two days are less");
    let longer = Wanted { days: 30, ..short };
    assert_eq!(issue(root.path(), &longer).len(), 2, "of thirty days, three are the last third");
}

#[test]
fn names_that_were_said_once_stay_and_everybody_who_is_there_is_renewed() {
    let root = private_folder();
    let short = Wanted { days: 3, ..wanted(&[(Role::User, "alice")]) };
    issue(root.path(), &short);
    let later = Wanted { hosts: Vec::new(), days: 30, ..wanted(&[(Role::User, "bob")]) };
    assert_eq!(issue(root.path(), &later).len(), 4, "coordinator, alice, and bob with his token");
    let authority = Authority::open(root.path()).unwrap();
    let hosts = authority.asked(Terms::of_coordinator([], 30)).unwrap().shown.unwrap().hosts;
    assert!(
        hosts.contains(&"gpu-1.example".to_owned()) && hosts.contains(&"10.1.2.3".to_owned()),
        "{hosts:?}"
    );
}

#[test]
fn another_role_is_another_certificate_and_counts_for_the_token() {
    let root = private_folder();
    issue(root.path(), &wanted(&[(Role::Admin, "alice")]));
    let certificate = Issued::Certificate(root.path().join("alice/cert.pem"));
    assert_eq!(issue(root.path(), &wanted(&[(Role::User, "alice")])), [certificate]);
    let tokens = Folder::new(root.path().join("coordinator")).tokens().unwrap();
    let token = Folder::new(root.path().join("alice")).token().unwrap().unwrap();
    assert_eq!(tokens.holder(&token).unwrap().role, Role::User);
    assert_eq!(identity(root.path(), "alice").unwrap().role, Role::User);
}

#[test]
fn what_was_broken_off_is_made_whole() {
    let root = private_folder();
    let alice = wanted(&[(Role::User, "alice")]);
    issue(root.path(), &alice);
    let certificate = || Issued::Certificate(root.path().join("alice/cert.pem"));
    fs::copy(root.path().join("coordinator/key.pem"), root.path().join("alice/key.pem")).unwrap();
    assert_eq!(issue(root.path(), &alice), [certificate()], "a key of another certificate");
    let strangers = private_folder();
    issue(strangers.path(), &alice);
    for file in ["cert.pem", "key.pem"] {
        fs::copy(strangers.path().join("alice").join(file), root.path().join("alice").join(file)).unwrap();
    }
    assert_eq!(issue(root.path(), &alice), [certificate()], "of another authority");
    fs::write(root.path().join("coordinator/tokens.toml"), "").unwrap();
    assert_eq!(issue(root.path(), &alice), [], "nothing is made");
    assert!(
        !Folder::new(root.path().join("coordinator")).tokens().unwrap().is_empty(),
        "the token is listed again"
    );
    fs::remove_file(root.path().join("ca/ca.pem")).unwrap();
    assert!(matches!(issue(root.path(), &alice)[0], Issued::Authority(_)), "a key alone is no authority");
}

#[test]
fn hosts_are_names_or_addresses() {
    let root = private_folder();
    for host in ["https://gpu-1:7070", "gpu-1:7070", "a b", ""] {
        let error = provide(root.path(), &Wanted { hosts: vec![host.into()], ..wanted(&[]) }).unwrap_err();
        assert!(matches!(error, IdentityError::Host(_)), "{error}");
    }
    let long = Wanted { hosts: vec!["2001:DB8::1".into()], ..wanted(&[]) };
    issue(root.path(), &long);
    assert_eq!(issue(root.path(), &long), [], "the same address however it is written");
}

#[test]
fn secrets_are_for_their_owner_only() {
    let root = private_folder();
    issue(root.path(), &wanted(&[(Role::User, "alice")]));
    for secret in [
        "ca/ca-key.pem",
        "ca/issued.toml",
        "coordinator/key.pem",
        "coordinator/tokens.toml",
        "alice/key.pem",
        "alice/token",
    ] {
        let mode = fs::metadata(root.path().join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let token = Folder::new(root.path().join("alice")).token().unwrap().unwrap();
    assert!(!read(&root.path().join("coordinator/tokens.toml")).contains(token.secret()));
    assert!(!format!("{token:?}").contains(token.secret()));
}

#[test]
fn names_that_are_no_folder_of_their_own_are_refused() {
    let root = private_folder();
    for name in ["", "a/b", "..", "ca", "coordinator", "ä", "a b"] {
        let error = provide(root.path(), &wanted(&[(Role::User, name)])).unwrap_err();
        assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
    }
    let twice = wanted(&[(Role::User, "alice"), (Role::Worker, "alice")]);
    assert!(matches!(provide(root.path(), &twice), Err(IdentityError::NameTaken(_))));
}

/// A certificate as this authority would issue it, signed with another key under the authority's name.
fn forged(root: &Path, terms: &Terms) -> (String, String) {
    let pair = KeyPair::generate().unwrap();
    let issuer =
        Issuer::from_ca_cert_pem(&read(&root.join("ca/ca.pem")), KeyPair::generate().unwrap()).unwrap();
    (terms.params().unwrap().signed_by(&pair, &issuer).unwrap().pem(), pair.serialize_pem())
}

#[test]
fn the_authoritys_name_on_a_certificate_is_no_signature() {
    let root = private_folder();
    issue(root.path(), &wanted(&[(Role::Worker, "worker")]));
    let terms = |role| Terms::of_principal("worker", role, 365);
    let own = KeyPair::generate().unwrap();
    let self_signed = terms(Role::Admin).params().unwrap().self_signed(&own).unwrap();
    let planted = [
        forged(root.path(), &terms(Role::Admin)),
        forged(root.path(), &terms(Role::Worker)),
        (self_signed.pem(), own.serialize_pem()),
    ];
    for (certificate, key) in planted {
        fs::write(root.path().join("worker/cert.pem"), &certificate).unwrap();
        fs::write(root.path().join("worker/key.pem"), key).unwrap();
        let (name, reason) = left(root.path());
        assert_eq!(
            (name.as_str(), reason.as_str()),
            ("worker", "its certificate was not signed by this authority")
        );
        assert_eq!(read(&root.path().join("worker/cert.pem")), certificate);
    }
    let tokens = Folder::new(root.path().join("coordinator")).tokens().unwrap();
    let token = Folder::new(root.path().join("worker")).token().unwrap().unwrap();
    assert_eq!(tokens.holder(&token).unwrap().role, Role::Worker);
}

#[test]
fn a_role_that_was_taken_back_does_not_return_with_its_old_certificate() {
    let root = private_folder();
    issue(root.path(), &wanted(&[(Role::Admin, "alice")]));
    let old = ["cert.pem", "key.pem"].map(|name| (name, read(&root.path().join("alice").join(name))));
    issue(root.path(), &wanted(&[(Role::User, "alice")]));
    for (name, content) in old {
        fs::write(root.path().join("alice").join(name), content).unwrap();
    }
    let (_, reason) = left(root.path());
    assert_eq!(reason, "its certificate states the role \"admin\", not \"user\"");
    let tokens = Folder::new(root.path().join("coordinator")).tokens().unwrap();
    let token = Folder::new(root.path().join("alice")).token().unwrap().unwrap();
    assert_eq!(tokens.holder(&token).unwrap().role, Role::User);
}

#[test]
fn the_certificate_of_another_name_renews_nothing() {
    let root = private_folder();
    issue(root.path(), &wanted(&[(Role::Admin, "admin"), (Role::Worker, "worker")]));
    fs::copy(root.path().join("admin/cert.pem"), root.path().join("worker/cert.pem")).unwrap();
    let (name, reason) = left(root.path());
    assert_eq!(
        (name.as_str(), reason.as_str()),
        ("worker", "its certificate states the name \"admin\", not \"worker\"")
    );
    let asked = wanted(&[(Role::Worker, "worker")]);
    assert_eq!(issue(root.path(), &asked), [Issued::Certificate(root.path().join("worker/cert.pem"))]);
}

#[test]
fn a_folder_that_the_authority_has_not_recorded_is_left_alone() {
    let root = private_folder();
    issue(root.path(), &wanted(&[(Role::User, "alice")]));
    fs::rename(root.path().join("alice"), root.path().join("eve")).unwrap();
    let (name, reason) = left(root.path());
    assert_eq!(name, "eve", "a folder that was renamed");
    assert!(reason.contains("recorded no role"), "{reason}");
    fs::remove_dir_all(root.path().join("eve")).unwrap();
    symlink(root.path().join("coordinator"), root.path().join("eve")).unwrap();
    assert_eq!(left(root.path()).0, "eve", "a link");
    fs::remove_file(root.path().join("eve")).unwrap();
    fs::create_dir(root.path().join("notes")).unwrap();
    fs::write(root.path().join("notes.txt"), "").unwrap();
    assert_eq!(issue(root.path(), &wanted(&[])), [], "what has no certificate is not talked about");
}

#[test]
fn an_installation_without_a_record_keeps_its_hosts_and_asks_for_the_roles() {
    let root = private_folder();
    let alice = wanted(&[(Role::User, "alice")]);
    issue(root.path(), &alice);
    fs::remove_file(root.path().join("ca/issued.toml")).unwrap();
    let nothing = Wanted { days: 365, ..Wanted::default() };
    let provided = provide(root.path(), &nothing).unwrap();
    assert_eq!(provided.issued, [], "the coordinator's certificate is good");
    let [Left { reason, refused: false, .. }] = provided.left.as_slice() else { panic!("{provided:?}") };
    assert!(reason.contains("--user"), "{reason}");
    assert_eq!(issue(root.path(), &alice), [], "named once, nothing has to be issued anew");
    assert_eq!(issue(root.path(), &nothing), [], "and alice is known");
    let hosts = Record::read(&Authority::open(root.path()).unwrap().root.folder("ca").unwrap().unwrap());
    assert!(hosts.unwrap().unwrap().hosts.contains(&"gpu-1.example".to_owned()));
}

#[test]
fn a_token_stays_with_whom_the_coordinator_gives_it_to_and_all_others_go_on() {
    let root = private_folder();
    let both = wanted(&[(Role::Worker, "w1"), (Role::Worker, "w2")]);
    issue(root.path(), &both);
    let w2 = root.path().join("w2");
    fs::copy(root.path().join("w1/token"), w2.join("token")).unwrap();
    let tokens = root.path().join("coordinator/tokens.toml");
    let (listed, certificate) = (read(&tokens), read(&w2.join("cert.pem")));
    replace_authority(root.path());
    let alice = wanted(&[(Role::User, "alice"), (Role::Worker, "w2")]);
    for wanted in [wanted(&[]), both.clone(), alice] {
        let provided = provide(root.path(), &wanted).unwrap();
        let [Left { path, reason, refused: true }] = provided.left.as_slice() else {
            panic!("{:?}", provided.left)
        };
        assert!(*path == w2 && reason.contains("that of \"w1\""), "{path:?}: {reason}");
    }
    assert_eq!(read(&w2.join("cert.pem")), certificate);
    assert!(read(&tokens).contains("alice") && listed.lines().all(|line| read(&tokens).contains(line)));
    let ca = read(&root.path().join("ca/ca.pem"));
    assert!(["w1", "alice"].iter().all(|name| read(&root.path().join(name).join("ca.pem")) == ca));
    fs::remove_file(w2.join("token")).unwrap();
    // Its certificate is still that of the authority before, so it has to be named.
    assert_eq!(provide(root.path(), &both).unwrap().left, []);
    assert_ne!(read(&w2.join("token")), read(&root.path().join("w1/token")));
}

#[test]
fn a_token_of_two_names_that_the_coordinator_does_not_know_is_nobodys() {
    let root = private_folder();
    issue(root.path(), &wanted(&[(Role::Worker, "w1")]));
    for name in ["a", "b"] {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join("token"), "a-token-of-their-own-choice").unwrap();
    }
    let provided = provide(root.path(), &wanted(&[(Role::User, "a"), (Role::User, "b")])).unwrap();
    let told: Vec<_> = provided.left.iter().map(|left| left.reason.as_str()).collect();
    assert!(told.len() == 2 && told[0].contains("\"b\"") && told[1].contains("\"a\""), "{told:?}");
    let tokens = read(&root.path().join("coordinator/tokens.toml"));
    assert!(tokens.contains("w1") && !tokens.contains("\"a\""), "{tokens}");
}

#[test]
fn a_link_is_neither_read_nor_written_through() {
    let root = private_folder();
    let both = wanted(&[(Role::Admin, "admin"), (Role::Worker, "worker")]);
    issue(root.path(), &both);
    let admins = ["cert.pem", "key.pem", "token"].map(|name| root.path().join("admin").join(name));
    let before = admins.each_ref().map(|path| read(path));
    for name in ["cert.pem", "key.pem", "token", "ca.pem"] {
        let planted = root.path().join("worker").join(name);
        fs::remove_file(&planted).unwrap();
        symlink(root.path().join("admin").join(name), &planted).unwrap();
        let (_, reason) = left(root.path());
        assert!(reason.contains(name) && reason.contains("a symbolic link"), "{reason}");
        assert!(
            !issue(root.path(), &both).is_empty() || name == "ca.pem",
            "{name} is replaced when asked for"
        );
        assert_eq!(admins.each_ref().map(|path| read(path)), before);
    }
    fs::remove_dir_all(root.path().join("worker")).unwrap();
    symlink(root.path().join("admin"), root.path().join("worker")).unwrap();
    assert!(left(root.path()).1.contains("a symbolic link"));
    let error = provide(root.path(), &both).unwrap_err().to_string();
    assert!(error.contains("worker: expected a folder, found a symbolic link"), "{error}");
    assert_eq!(admins.each_ref().map(|path| read(path)), before);
}

#[test]
fn a_holder_that_hinders_writing_hinders_only_its_own() {
    let root = private_folder();
    issue(root.path(), &wanted(&[(Role::User, "alice"), (Role::Worker, "worker")]));
    for name in ["cert.pem", "token"] {
        fs::remove_file(root.path().join("worker").join(name)).unwrap();
        fs::create_dir(root.path().join("worker").join(name)).unwrap();
    }
    fs::remove_file(root.path().join("alice/token")).unwrap();
    let provided = provide(root.path(), &wanted(&[(Role::Worker, "worker")])).unwrap();
    let [Left { path, refused: true, .. }] = provided.left.as_slice() else { panic!("{provided:?}") };
    assert_eq!(path, &root.path().join("worker"));
    let tokens = Folder::new(root.path().join("coordinator")).tokens().unwrap();
    let token = Folder::new(root.path().join("alice")).token().unwrap().unwrap();
    assert_eq!(tokens.holder(&token).unwrap().role, Role::User, "alice has her new token");
}

#[test]
fn what_others_could_reach_is_taken_from_them_and_told() {
    let root = private_folder();
    let alice = wanted(&[(Role::User, "alice")]);
    issue(root.path(), &alice);
    let wide =
        ["", "ca", "ca/ca-key.pem", "coordinator", "coordinator/tokens.toml", "alice", "alice/key.pem"];
    for name in wide {
        let path = root.path().join(name);
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let tightened = provide(root.path(), &wanted(&[])).unwrap().tightened;
    let paths: Vec<_> = tightened.iter().map(|changed| changed.path.clone()).collect();
    assert_eq!(paths.len(), wide.len(), "{tightened:?}");
    for name in wide {
        let path = root.path().join(name);
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        assert!(paths.iter().any(|told| told.components().eq(path.components())), "{name}: {tightened:?}");
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    assert_eq!(issue(root.path(), &alice), []);
}
