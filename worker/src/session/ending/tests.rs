use super::*;

const LONG: usize = 3 << 20;

#[test]
fn what_the_other_side_says_at_length_is_kept_short() {
    let long = "x".repeat(LONG);
    let endings = [
        Ended::lost(&long),
        Ended::refused(&v1::Refused { reason: long.clone(), retryable: true }),
        Ended::answered(Status::unauthenticated(long.clone())),
        Ended::answered(Status::internal(long)),
    ];
    for ended in endings {
        let shown = format!("{ended:?}");
        assert!(shown.len() < 2 * MAX_WORDS && shown.contains("… (31457"), "{} bytes", shown.len());
    }
}

#[test]
fn what_the_other_side_says_cannot_act_on_a_terminal() {
    let Ended::Lost { reason } = Ended::lost("a\u{9b}2Jb\u{202e}c\nd") else { panic!("lost") };
    assert_eq!(reason, "a\\u{9b}2Jb\\u{202e}c\\nd");
}

#[test]
fn refused_credentials_are_told_from_other_failures() {
    for status in [Status::unauthenticated("no token"), Status::permission_denied("a user")] {
        assert!(matches!(Ended::answered(status), Ended::Unaccepted { .. }));
    }
    for status in [Status::unavailable("restarting"), Status::internal("a bug")] {
        assert!(matches!(Ended::answered(status), Ended::Lost { .. }));
    }
}
