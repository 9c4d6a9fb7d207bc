//! The parameters of each kind of layer, under the names of PyTorch's modules.

use lookbehind_common::job::Parameters;
use serde::Deserialize;

/// For kinds without parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinearParameters {
    /// The number of classes if absent.
    pub(super) out_features: Option<usize>,
    #[serde(default = "yes")]
    pub(super) bias: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conv2dParameters {
    pub(super) out_channels: usize,
    pub(super) kernel_size: usize,
    #[serde(default = "one")]
    pub(super) stride: usize,
    #[serde(default)]
    pub(super) padding: usize,
    #[serde(default = "one")]
    pub(super) dilation: usize,
    #[serde(default = "one")]
    pub(super) groups: usize,
    #[serde(default = "yes")]
    pub(super) bias: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupNormParameters {
    pub(super) num_groups: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolParameters {
    pub(super) kernel_size: usize,
    /// The window's size if absent.
    pub(super) stride: Option<usize>,
    #[serde(default)]
    pub(super) padding: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DropoutParameters {
    pub(super) p: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResidualParameters {
    pub(super) body: Vec<Parameters>,
    /// The input itself if absent.
    #[serde(default)]
    pub(super) shortcut: Vec<Parameters>,
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}
