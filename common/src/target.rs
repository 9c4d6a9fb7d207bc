//! Targets of classification: a class, or a mixture of two classes.

/// Target of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Class of the sample.
    pub class: u32,
    /// Class of a second sample that was mixed in; `None` if the sample was not mixed.
    pub mixed: Option<MixedClass>,
}

/// The second class of a mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MixedClass {
    /// Number of the class.
    pub class: u32,
    /// Share of this class in the target, from 0 to 1; the rest belongs to the first class.
    pub share: f32,
}

impl Target {
    /// The class with the greater share; the first class if the shares are equal.
    pub fn heavier_class(&self) -> u32 {
        self.mixed.filter(|mixed| mixed.share > 0.5).map_or(self.class, |mixed| mixed.class)
    }

    /// The greatest class number in the target.
    pub fn greatest_class(&self) -> u32 {
        self.mixed.map_or(self.class, |mixed| self.class.max(mixed.class))
    }
}

impl From<u32> for Target {
    fn from(class: u32) -> Self {
        Self { class, mixed: None }
    }
}
