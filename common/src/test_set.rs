//! What a test is computed on: the test split, and the samples that a job keeps or knows more about.

/// The samples of a test, and the labels that predictions are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TestSet {
    /// The test split.
    Test,
    /// The part of the training split that `data.validation` keeps for choices.
    Validation,
    /// The training split against the labels that it had before `data.label_noise`.
    Clean,
    /// The training samples whose label `data.label_noise` made wrong, against the wrong label: the accuracy is the
    /// share that is memorised.
    Memorised,
}

impl TestSet {
    /// All, in the order in which a job computes them.
    pub const ALL: [Self; 4] = [Self::Test, Self::Validation, Self::Clean, Self::Memorised];

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Validation => "validation",
            Self::Clean => "clean",
            Self::Memorised => "memorised",
        }
    }
}

/// Numbers of samples that tests use in addition to the test split; 0 where there is no such test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FurtherTests {
    /// Samples of [`TestSet::Validation`].
    pub validation: u64,
    /// Samples of [`TestSet::Clean`].
    pub clean: u64,
    /// Samples of [`TestSet::Memorised`].
    pub memorised: u64,
}
