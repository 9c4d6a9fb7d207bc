//! Which notices of jobs are news to people who look at a whole cluster.

/// Whether a notice tells of a periodic checkpoint that was written: that is expected again and again, and must not push
/// what is not expected out of a list.
pub(crate) fn is_routine(message: &str) -> bool {
    message.strip_prefix("checkpoint of outer step ").is_some_and(|rest| rest.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_was_written_is_routine_and_one_that_failed_is_not() {
        assert!(is_routine("checkpoint of outer step 12"));
        assert!(!is_routine("checkpoint of outer step 12 could not be written: no space"));
        assert!(!is_routine("paused by its user"));
    }
}
