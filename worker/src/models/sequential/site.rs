//! A layer to be built: its place in the job, its parameters and input shape, and errors that name it.

use candle_nn::VarBuilder;
use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::de::DeserializeOwned;

use crate::models::BuildError;
use crate::models::layers::{ImageShape, Shape, window};

/// Largest extent, channel count or stride that a layer may specify.
const MAX_NUMBER: usize = 1 << 24;
/// Longest side of a window.
const MAX_WINDOW: usize = 1 << 13;
/// Most elements that a layer may output for one sample.
const MAX_ELEMENTS: usize = 1 << 28;

/// The kinds of layers, for error messages.
pub(super) const KINDS: &str = "linear, conv2d, batch_norm, group_norm, layer_norm, max_pool, avg_pool, \
                                global_avg_pool, relu, gelu, silu, tanh, sigmoid, dropout, flatten, residual";

/// A layer to be built.
pub(super) struct Site<'a> {
    /// Its place in the job, for example `model.layers[3]`.
    pub(super) path: String,
    pub(super) kind: String,
    parameters: Parameters,
    /// The output shape of the layer before it.
    pub(super) input: Shape,
    pub(super) builder: VarBuilder<'a>,
}

pub(super) type Checked<T> = Result<T, JobError>;

impl Site<'_> {
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Checked<T> {
        parse_parameters(&self.path, &self.parameters)
    }

    /// Name of the layer in errors that concern it as a whole.
    pub(super) fn place(&self) -> String {
        format!("{} ({})", self.path, self.kind)
    }

    /// An error that concerns the layer as a whole.
    pub(super) fn refuse(&self, problem: &str) -> JobError {
        JobError::new(&self.place(), problem)
    }

    /// Turns an error about the layer's tensors into one about the layer.
    pub(super) fn in_layer(&self, error: BuildError) -> JobError {
        match error {
            BuildError::Tensor(error) => self.refuse(&error.to_string()),
            BuildError::Parameter(error) => error,
        }
    }

    /// Checks an integer parameter of the layer.
    pub(super) fn number(&self, key: &str, found: usize, least: usize) -> Checked<usize> {
        self.within(key, found, least, MAX_NUMBER)
    }

    /// Checks the side of a window.
    pub(super) fn window(&self, found: usize) -> Checked<usize> {
        self.within("kernel_size", found, 1, MAX_WINDOW)
    }

    fn within(&self, key: &str, found: usize, least: usize, most: usize) -> Checked<usize> {
        if (least..=most).contains(&found) {
            return Ok(found);
        }
        let problem = format!("expected {least} to {most}, found {found}");
        Err(JobError::new(&format!("{}.{key}", self.path), &problem))
    }

    pub(super) fn image(&self) -> Checked<ImageShape> {
        match self.input {
            Shape::Image(image) => Ok(image),
            found => Err(self.refuse(&format!("got {found}, expected an image"))),
        }
    }

    pub(super) fn features(&self) -> Checked<usize> {
        match self.input {
            Shape::Features(features) => Ok(features),
            found => Err(self.refuse(&format!("got {found}, expected features: put a flatten before it"))),
        }
    }

    /// The output image of windows of `reach` pixels.
    pub(super) fn windows(
        &self,
        channels: usize,
        reach: usize,
        stride: usize,
        padding: usize,
    ) -> Checked<Shape> {
        let image = self.image()?;
        let extent = |extent| window(extent, reach, stride, padding);
        match (extent(image.height), extent(image.width)) {
            (Some(height), Some(width)) => Ok(Shape::Image(ImageShape { channels, height, width })),
            _ => {
                let input = self.input;
                let problem = format!(
                    "got {input}, expected at least {reach} pixels each way with the padding of {padding} on each side"
                );
                Err(self.refuse(&problem))
            }
        }
    }
}

/// The layer at a path of the job.
pub(super) fn site<'a>(
    path: String,
    parameters: &Parameters,
    input: Shape,
    builder: VarBuilder<'a>,
) -> Checked<Site<'a>> {
    let mut parameters = parameters.clone();
    let kind = parameters.remove("kind");
    match kind.as_ref().and_then(|kind| kind.as_str()) {
        Some(kind) => Ok(Site { path, kind: kind.to_owned(), parameters, input, builder }),
        None => Err(JobError::new(&format!("{path}.kind"), &format!("expected one of {KINDS}"))),
    }
}

/// Refuses a shape that no machine could hold in memory.
pub(super) fn check_size(site: &Site<'_>, output: Shape) -> Checked<()> {
    if output.size() <= MAX_ELEMENTS {
        return Ok(());
    }
    Err(site.refuse(&format!("gives {output}, more than {MAX_ELEMENTS} elements for one sample")))
}
