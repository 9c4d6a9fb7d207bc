use super::*;
use crate::state::event::{Event, Reply, UserCall};
use crate::state::tests::{Desk, spec};

const MIB: u64 = 1 << 20;

fn user(name: &str) -> Caller {
    Caller::User(name.into())
}

fn announce(desk: &mut Desk, caller: &Caller, bytes: u64) -> Result<u64, CallError> {
    match desk.ask(caller, UserCall::AnnounceUpload(bytes)) {
        Reply::Ticket(result) => result,
        other => panic!("{other:?}"),
    }
}

/// Sends a file of one MiB; its digest is that of its name.
fn upload(desk: &mut Desk, caller: &Caller, name: &str) -> Digest {
    let ticket = announce(desk, caller, MIB).expect("room for a file");
    let digest = Digest::of(name.as_bytes());
    match desk.ask(caller, UserCall::KeepUpload { ticket, digest }) {
        Reply::Done(Ok(())) => digest,
        other => panic!("{other:?}"),
    }
}

/// Creates a job that starts from a file, and cancels it.
fn job_from(desk: &mut Desk, name: &str, digest: Digest) -> lookbehind_common::ids::JobId {
    let id = desk.create(&user("alice"), name, spec("", Some(digest))).expect("room for a job");
    desk.cancel(&user("alice"), &id).expect("a job that has not ended");
    id
}

fn hours(desk: &mut Desk, hours: u64) {
    desk.now.unix.0 += hours * 3_600_000;
    desk.tick();
}

#[test]
fn a_file_that_no_job_starts_from_goes_after_a_day_also_across_restarts() {
    let mut desk = Desk::new(|_| ());
    let unused = upload(&mut desk, &user("alice"), "unused");
    let used = upload(&mut desk, &user("alice"), "used");
    job_from(&mut desk, "one", used);
    hours(&mut desk, 23);
    desk.restart();
    assert_eq!(desk.dropped, []);
    hours(&mut desk, 2);
    assert_eq!(desk.dropped, [unused]);
    hours(&mut desk, 10_000);
    assert_eq!(desk.dropped, [unused], "the other one belongs to a job, although that has ended");
}

#[test]
fn a_file_goes_with_the_last_job_that_starts_from_it() {
    let mut desk = Desk::new(|_| ());
    let digest = upload(&mut desk, &user("alice"), "file");
    let jobs = ["one", "two"].map(|name| job_from(&mut desk, name, digest));
    desk.restart();
    desk.delete(&user("alice"), &jobs[0]).expect("a job that has ended");
    assert_eq!(desk.dropped, []);
    desk.delete(&user("alice"), &jobs[1]).expect("a job that has ended");
    assert_eq!(desk.dropped, [digest]);
}

#[test]
fn a_file_that_was_sent_again_survives_the_deletion_of_its_last_job_for_a_day() {
    for restart in [false, true] {
        let mut desk = Desk::new(|_| ());
        let digest = upload(&mut desk, &user("alice"), "file");
        let job = job_from(&mut desk, "one", digest);
        hours(&mut desk, 100);
        assert_eq!(upload(&mut desk, &user("alice"), "file"), digest);
        if restart {
            desk.restart();
        }
        desk.delete(&user("alice"), &job).expect("a job that has ended");
        hours(&mut desk, 23);
        assert_eq!(desk.dropped, [], "another job may be about to be created from it");
        hours(&mut desk, 2);
        assert_eq!(desk.dropped, [digest]);
    }
}

/// Whether a caller may start a job from a file; the refusal is the same for all files.
fn may_start(desk: &mut Desk, caller: &Caller, digest: Digest) -> bool {
    static REQUESTS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let request_id = REQUESTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
    match desk.create(caller, &request_id, spec("", Some(digest))) {
        Ok(id) => {
            desk.cancel(caller, &id).expect("a job that has not ended");
            desk.delete(&Caller::Admin("root".into()), &id).expect("a job that has ended");
            true
        }
        Err(error) => {
            let expected = format!("model.init: no file of digest {digest} was uploaded");
            assert_eq!(error.to_string(), expected);
            assert!(matches!(error, CallError::Invalid(_)), "{error:?}");
            false
        }
    }
}

#[test]
fn a_user_starts_from_what_he_sent_and_others_find_that_there_is_no_such_file() {
    let mut desk = Desk::new(|_| ());
    let (alice, bob) = (user("alice"), user("bob"));
    let digest = upload(&mut desk, &alice, "file");
    job_from(&mut desk, "one", digest);
    for restart in [false, true] {
        if restart {
            desk.restart();
        }
        assert!(may_start(&mut desk, &alice, digest));
        assert!(!may_start(&mut desk, &bob, digest), "it is alice's");
        assert!(!may_start(&mut desk, &bob, Digest::of(b"never sent")));
        assert!(may_start(&mut desk, &Caller::Admin("root".into()), digest), "who may read alice's jobs");
    }
}

#[test]
fn a_file_that_two_users_sent_is_for_both_of_them_whoever_was_last() {
    let mut desk = Desk::new(|_| ());
    let digest = upload(&mut desk, &user("alice"), "file");
    upload(&mut desk, &user("bob"), "file");
    desk.restart();
    job_from(&mut desk, "one", digest);
    assert!(may_start(&mut desk, &user("bob"), digest));
    assert!(!may_start(&mut desk, &user("carol"), digest));
}

#[test]
fn who_has_a_job_that_starts_from_a_file_may_create_another_one() {
    let mut desk = Desk::new(|_| ());
    let digest = upload(&mut desk, &user("alice"), "file");
    job_from(&mut desk, "one", digest);
    // As an older version stored it.
    let record = desk.uploads.values_mut().next().expect("a record");
    (record.owner, record.senders) = ("bob".into(), BTreeSet::new());
    desk.restart();
    assert!(may_start(&mut desk, &user("alice"), digest), "she has a job with it");
    assert!(may_start(&mut desk, &user("bob"), digest), "he sent it last");
}

#[test]
fn room_is_set_aside_before_a_file_comes_and_given_back_if_it_does_not() {
    let mut desk = Desk::new(|config| config.keep.upload_bytes = 16 * MIB);
    let alice = user("alice");
    let ticket = announce(&mut desk, &alice, 3 * MIB).expect("room for a file");
    announce(&mut desk, &alice, 1).expect("room for a file");
    let refused =
        announce(&mut desk, &alice, 1).expect_err("a quarter is used: the smallest file counts a MiB");
    for words in ["uploaded files: 4194304 of the 4194304 bytes that one user may have", "lookbehind delete"]
    {
        assert!(refused.to_string().contains(words), "{refused}");
    }
    announce(&mut desk, &user("bob"), 4 * MIB).expect("others have their own share");
    desk.core.handle(desk.now, Event::UploadAbandoned(ticket));
    desk.core.handle(desk.now, Event::UploadAbandoned(ticket));
    announce(&mut desk, &alice, 3 * MIB).expect("room that was given back");
    assert!(announce(&mut desk, &alice, 1).is_err(), "once");
    announce(&mut desk, &Caller::Admin("root".into()), 8 * MIB).expect("what is left of the whole");
    let refused = announce(&mut desk, &user("carol"), 1).expect_err("the whole is used");
    assert!(refused.to_string().contains("all users together"), "{refused}");
}

#[test]
fn kept_files_count_to_the_share_of_who_sent_them_last_until_they_go() {
    let mut desk = Desk::new(|config| config.keep.upload_bytes = 8 * MIB);
    let (alice, bob) = (user("alice"), user("bob"));
    let digest = upload(&mut desk, &alice, "one");
    upload(&mut desk, &alice, "two");
    let job = job_from(&mut desk, "one", digest);
    assert!(announce(&mut desk, &alice, 1).is_err());
    desk.restart();
    assert!(announce(&mut desk, &alice, 1).is_err(), "after a restart as well");
    upload(&mut desk, &bob, "two");
    let ticket = announce(&mut desk, &alice, 1).expect("one file counts for bob now");
    desk.core.handle(desk.now, Event::UploadAbandoned(ticket));
    desk.delete(&alice, &job).expect("a job that has ended");
    upload(&mut desk, &alice, "three");
    announce(&mut desk, &alice, 1).expect("the room of the file that went");
    assert!(announce(&mut desk, &alice, 1).is_err());
}

#[test]
fn a_file_without_a_record_is_taken_over_and_goes_after_a_day() {
    let mut desk = Desk::new(|_| ());
    let digest = Digest::of(b"of an older version");
    let stored = Stored { unrecorded_uploads: vec![(digest, 5)], ..Stored::default() };
    desk.now.unix = UnixMillis(7);
    let (core, commands) = Core::new(desk.core.cluster.config.clone(), stored, desk.now);
    desk.core = core;
    let recorded = commands.iter().any(
        |command| matches!(command, Command::KeepUpload { ticket: None, record } if record.digest == digest),
    );
    assert!(recorded, "{commands:?}");
    hours(&mut desk, 25);
    assert_eq!(desk.dropped, [digest]);
}
