//! What a job says about a residual network: `[model]`.

use lookbehind_common::job::JobError;
use serde::Deserialize;

use crate::models::layers::{ConvSpec, NormName};
use lookbehind_kernels::Pool2d;

/// Most channels of the first stage.
const MAX_WIDTH: usize = 1 << 14;
/// Most stages, and most blocks in a stage.
const MAX_STAGES: usize = 8;
const MAX_BLOCKS: usize = 1000;

/// The parameters under `[model]`: either a name, or the number of blocks of each stage.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResNetParameters {
    name: Option<Name>,
    #[serde(default)]
    pub(super) stem: StemKind,
    block: Option<BlockKind>,
    blocks: Option<Vec<usize>>,
    /// Channels of the first stage.
    #[serde(default = "published_width")]
    width: usize,
    #[serde(default)]
    pub(super) norm: NormName,
    pub(super) groups: Option<usize>,
}

fn published_width() -> usize {
    64
}

/// What comes before the first stage.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StemKind {
    /// A 3 × 3 convolution.
    #[default]
    Cifar,
    /// A 7 × 7 convolution with stride 2, and the maximum over 3 × 3 pixels with stride 2.
    ImageNet,
}

impl StemKind {
    pub(super) fn convolution(self, inputs: usize, width: usize) -> ConvSpec {
        match self {
            Self::Cifar => ConvSpec::same(inputs, width, 3),
            Self::ImageNet => ConvSpec::same(inputs, width, 7).stride(2),
        }
    }

    pub(super) fn pool(self) -> Option<Pool2d> {
        match self {
            Self::Cifar => None,
            Self::ImageNet => Some(Pool2d { size: 3, stride: 2, padding: 1 }),
        }
    }
}

/// The networks of the paper's table 1 that are usual.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    ResNet18,
    ResNet34,
    ResNet50,
}

impl Name {
    fn stages(self) -> (BlockKind, Vec<usize>) {
        match self {
            Self::ResNet18 => (BlockKind::Basic, vec![2, 2, 2, 2]),
            Self::ResNet34 => (BlockKind::Basic, vec![3, 4, 6, 3]),
            Self::ResNet50 => (BlockKind::Bottleneck, vec![3, 4, 6, 3]),
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BlockKind {
    /// Two 3 × 3 convolutions.
    #[default]
    Basic,
    /// 1 × 1 down to the stage's width, 3 × 3, and 1 × 1 up to four times the width.
    Bottleneck,
}

impl BlockKind {
    /// Output channels of a block, in multiples of its stage's width.
    pub(super) fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }

    /// Convolutions of a block with `inputs` channels in a stage of the given width: all but the last, and the last.
    pub(super) fn convolutions(
        self,
        inputs: usize,
        width: usize,
        stride: usize,
    ) -> (Vec<ConvSpec>, ConvSpec) {
        let spatial = |inputs| ConvSpec::same(inputs, width, 3).stride(stride);
        match self {
            Self::Basic => (vec![spatial(inputs)], ConvSpec::same(width, width, 3)),
            Self::Bottleneck => {
                let inner = vec![ConvSpec::same(inputs, width, 1), spatial(width)];
                (inner, ConvSpec::same(width, width * self.expansion(), 1))
            }
        }
    }
}

impl ResNetParameters {
    /// Kind of block, and the number of blocks of each stage.
    pub(super) fn stages(&self) -> std::result::Result<(BlockKind, Vec<usize>), JobError> {
        match (self.name, self.block, &self.blocks) {
            (Some(name), None, None) => Ok(name.stages()),
            (Some(_), _, _) => {
                let problem = "the blocks are those of the name: leave out block and blocks";
                Err(JobError::new("model.name", problem))
            }
            (None, block, Some(blocks)) => {
                check_blocks(blocks)?;
                Ok((block.unwrap_or_default(), blocks.clone()))
            }
            (None, _, None) => {
                Err(JobError::new("model", "expected a name, for example \"resnet18\", or blocks"))
            }
        }
    }

    pub(super) fn checked_width(&self) -> std::result::Result<usize, JobError> {
        if (1..=MAX_WIDTH).contains(&self.width) {
            return Ok(self.width);
        }
        let problem = format!("expected 1 to {MAX_WIDTH} channels, found {}", self.width);
        Err(JobError::new("model.width", &problem))
    }
}

fn check_blocks(blocks: &[usize]) -> std::result::Result<(), JobError> {
    if !(1..=MAX_STAGES).contains(&blocks.len()) {
        let problem = format!("expected 1 to {MAX_STAGES} stages, found {}", blocks.len());
        return Err(JobError::new("model.blocks", &problem));
    }
    match blocks.iter().enumerate().find(|(_, count)| !(1..=MAX_BLOCKS).contains(*count)) {
        None => Ok(()),
        Some((stage, found)) => {
            let problem = format!("expected 1 to {MAX_BLOCKS} blocks, found {found}");
            Err(JobError::new(&format!("model.blocks[{stage}]"), &problem))
        }
    }
}
