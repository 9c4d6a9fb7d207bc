//! What a sample should be recognised as: a class, or a mixture of two.

/// What a sample should be recognised as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The sample's class.
    pub class: u32,
    /// Another class that the sample was mixed with.
    pub mixed: Option<MixedClass>,
}

/// The second class of a mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MixedClass {
    /// The class.
    pub class: u32,
    /// Its share, from 0 to 1; the rest is the first class's.
    pub share: f32,
}

impl Target {
    /// The class with the greater share; of equal ones the first.
    pub fn heavier_class(&self) -> u32 {
        self.mixed.filter(|mixed| mixed.share > 0.5).map_or(self.class, |mixed| mixed.class)
    }

    /// The greatest class that it names.
    pub fn greatest_class(&self) -> u32 {
        self.mixed.map_or(self.class, |mixed| self.class.max(mixed.class))
    }
}

impl From<u32> for Target {
    fn from(class: u32) -> Self {
        Self { class, mixed: None }
    }
}
