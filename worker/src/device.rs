//! The devices that a worker computes on, as its user chooses them.

use std::fmt;
use std::str::FromStr;

/// The choice of `--device`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// All GPUs of the machine, or the CPU if there are none.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// GPUs by their ordinals; all GPUs if the list is empty.
    Cuda(Vec<usize>),
}

/// The text is not a valid choice.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("device {0:?}: expected auto, cpu, cuda, or the numbers of GPUs as in cuda:0,1")]
pub struct NoSuchChoice(String);

impl FromStr for DeviceChoice {
    type Err = NoSuchChoice;

    fn from_str(text: &str) -> Result<Self, NoSuchChoice> {
        let wrong = || NoSuchChoice(text.to_owned());
        match text.split_once(':') {
            // A variable that is set to the empty string counts as unset.
            None if text.is_empty() || text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(Vec::new())),
            Some(("cuda", numbers)) => {
                let number = |number: &str| number.parse().map_err(|_| wrong());
                let numbers = numbers.split(',').map(number).collect::<Result<Vec<usize>, _>>()?;
                let twice = (1..numbers.len()).any(|place| numbers[..place].contains(&numbers[place]));
                if twice { Err(wrong()) } else { Ok(Self::Cuda(numbers)) }
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(numbers) if numbers.is_empty() => f.write_str("cuda"),
            Self::Cuda(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
                write!(f, "cuda:{}", numbers.join(","))
            }
        }
    }
}

/// Why the chosen devices cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// This program was built without support for GPUs.
    #[error("device {choice}: this program was built without CUDA (cargo feature `cuda`)")]
    NotBuilt {
        /// The user's choice.
        choice: DeviceChoice,
    },
    /// No GPU can be used.
    #[error("device {choice}: no GPU can be used: {reason}")]
    NoGpu {
        /// The user's choice.
        choice: DeviceChoice,
        /// The driver's error message.
        reason: String,
    },
    /// Results would not have the precision that jobs declare.
    #[error(
        "device {choice}: the environment sets {variable}, by which NVIDIA's libraries ignore a job's precision: unset it"
    )]
    Environment {
        /// The user's choice.
        choice: DeviceChoice,
        /// The environment variable that must be unset.
        variable: &'static str,
    },
    /// The machine has GPUs, but not this one.
    #[error("device {choice}: there is no GPU cuda:{missing}, but {found}")]
    NoSuchGpu {
        /// The user's choice.
        choice: DeviceChoice,
        /// The ordinal that no GPU has.
        missing: usize,
        /// The ordinals of the GPUs of this machine.
        found: String,
    },
}

#[cfg(test)]
mod tests;
