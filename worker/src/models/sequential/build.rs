//! Builds the listed layers one after the other, each for the shape that the one before it gives.

use candle_nn::VarBuilder;
use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::de::DeserializeOwned;

use super::layer::{Layer, Residual};
use super::parameters::*;
use crate::models::Built;
use crate::models::layers::{
    BatchNorm, Conv, ConvSpec, Dropouts, GroupNorm, Held, ImageShape, LayerNorm, Linear, Shape,
    check_dropout, window,
};
use crate::ops::{self, Conv2d, Pool2d};
use crate::registry::BuildError;

/// Most layers of a model, with those inside of others.
const MAX_LAYERS: usize = 1000;
/// Largest extent, channel count or step that a layer may name.
const MAX_NUMBER: usize = 1 << 24;
/// Longest side of a window.
const MAX_WINDOW: usize = 1 << 13;
/// Most numbers that a layer may give for one sample.
const MAX_NUMBERS: usize = 1 << 28;

/// The kinds of layers, for errors.
const KINDS: &str = "linear, conv2d, batch_norm, group_norm, layer_norm, max_pool, avg_pool, global_avg_pool, relu, \
                     gelu, silu, tanh, sigmoid, dropout, flatten, residual";

/// Builds layers.
pub(super) struct Architect {
    classes: usize,
    layers: usize,
    dropouts: Dropouts,
    held: Held,
    /// Whether a layer with weights is built: from then on, the way back needs what the layers give.
    trained: bool,
}

/// A layer to be built.
struct Site<'a> {
    /// Where it stands in the job, for example `model.layers[3]`.
    path: String,
    kind: String,
    parameters: Parameters,
    /// What the layer before it gives.
    input: Shape,
    builder: VarBuilder<'a>,
}

type Checked<T> = Result<T, JobError>;

impl Site<'_> {
    fn parse<T: DeserializeOwned>(&self) -> Checked<T> {
        parse_parameters(&self.path, &self.parameters)
    }

    /// What the layer as a whole is called in errors.
    fn place(&self) -> String {
        format!("{} ({})", self.path, self.kind)
    }

    /// A problem of the layer as a whole.
    fn refuse(&self, problem: &str) -> JobError {
        JobError::new(&self.place(), problem)
    }

    /// A problem with the layer's tensors as one of the layer.
    fn in_layer(&self, error: BuildError) -> JobError {
        match error {
            // The same error is the same text on every worker: without the places in the code that it came through.
            BuildError::Tensor(candle_core::Error::WithBacktrace { inner, .. }) => {
                self.refuse(&inner.to_string())
            }
            BuildError::Tensor(error) => self.refuse(&error.to_string()),
            BuildError::Parameter(error) => error,
        }
    }

    /// A number that the layer takes.
    fn number(&self, key: &str, found: usize, least: usize) -> Checked<usize> {
        self.within(key, found, least, MAX_NUMBER)
    }

    /// The side of a window.
    fn window(&self, found: usize) -> Checked<usize> {
        self.within("kernel_size", found, 1, MAX_WINDOW)
    }

    fn within(&self, key: &str, found: usize, least: usize, most: usize) -> Checked<usize> {
        if (least..=most).contains(&found) {
            return Ok(found);
        }
        let problem = format!("expected {least} to {most}, found {found}");
        Err(JobError::new(&format!("{}.{key}", self.path), &problem))
    }

    fn image(&self) -> Checked<ImageShape> {
        match self.input {
            Shape::Image(image) => Ok(image),
            found => Err(self.refuse(&format!("got {found}, expected an image"))),
        }
    }

    fn features(&self) -> Checked<usize> {
        match self.input {
            Shape::Features(features) => Ok(features),
            found => Err(self.refuse(&format!("got {found}, expected features: put a flatten before it"))),
        }
    }

    /// The image that windows of `reach` pixels give.
    fn windows(&self, channels: usize, reach: usize, stride: usize, padding: usize) -> Checked<Shape> {
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

impl Architect {
    pub(super) fn new(classes: usize) -> Self {
        Self { classes, layers: 0, dropouts: Dropouts::default(), held: Held::default(), trained: false }
    }

    /// What a training pass through the layers so far holds, at least.
    pub(super) fn held(&self) -> Held {
        self.held
    }

    /// Builds a list of layers; `path` is where the list stands in the job. Returns the shape that the last one gives.
    pub(super) fn chain(
        &mut self,
        path: &str,
        layers: &[Parameters],
        input: Shape,
        builder: &VarBuilder<'_>,
    ) -> Built<(Vec<Layer>, Shape)> {
        let mut shape = input;
        let mut built = Vec::new();
        for (number, parameters) in layers.iter().enumerate() {
            self.layers += 1;
            if self.layers > MAX_LAYERS {
                return Err(JobError::new(path, &format!("expected at most {MAX_LAYERS} layers")).into());
            }
            let site = site(format!("{path}[{number}]"), parameters, shape, builder.pp(number))?;
            let (layer, output) = self.layer(&site).map_err(|error| site.in_layer(error))?;
            check_size(&site, output)?;
            self.trained |= layer.is_trained();
            if self.trained && layer.gives_its_own(built.last()) {
                self.held.add(1, output.size());
            }
            shape = output;
            built.push(layer);
        }
        Ok((built, shape))
    }

    fn layer(&mut self, site: &Site<'_>) -> Built<(Layer, Shape)> {
        match site.kind.as_str() {
            "linear" => self.linear(site),
            "conv2d" => conv2d(site),
            "batch_norm" => {
                let Nothing {} = site.parse()?;
                let norm = BatchNorm::at(site.place(), site.input.channels(), &site.builder)?;
                Ok((Layer::BatchNorm(norm), site.input))
            }
            "group_norm" => group_norm(site),
            "layer_norm" => {
                let Nothing {} = site.parse()?;
                Ok((Layer::LayerNorm(LayerNorm::new(site.features()?, &site.builder)?), site.input))
            }
            "max_pool" => pool(site).map(|(pool, shape)| (Layer::MaxPool(pool), shape)),
            "avg_pool" => pool(site).map(|(pool, shape)| (Layer::AvgPool(pool), shape)),
            "global_avg_pool" => {
                let (Nothing {}, image) = (site.parse()?, site.image()?);
                Ok((Layer::GlobalAvgPool, Shape::Image(ImageShape { height: 1, width: 1, ..image })))
            }
            "dropout" => self.dropout(site),
            "flatten" => {
                let Nothing {} = site.parse()?;
                Ok((Layer::Flatten, Shape::Features(site.input.size())))
            }
            "residual" => self.residual(site),
            _ => elementwise(site),
        }
    }

    fn linear(&self, site: &Site<'_>) -> Built<(Layer, Shape)> {
        let LinearParameters { out_features, bias } = site.parse()?;
        let inputs = site.features()?;
        let outputs = site.number("out_features", out_features.unwrap_or(self.classes), 1)?;
        let layer = if bias { Linear::new } else { Linear::without_bias };
        Ok((Layer::Linear(layer(inputs, outputs, &site.builder)?), Shape::Features(outputs)))
    }

    fn dropout(&mut self, site: &Site<'_>) -> Built<(Layer, Shape)> {
        let DropoutParameters { p } = site.parse()?;
        check_dropout(&format!("{}.p", site.path), p)?;
        Ok((Layer::Dropout(self.dropouts.layer_with(p)), site.input))
    }

    fn residual(&mut self, site: &Site<'_>) -> Built<(Layer, Shape)> {
        let ResidualParameters { body, shortcut } = site.parse()?;
        let mut chain = |part: &str, layers: &[Parameters]| {
            let path = format!("{}.{part}", site.path);
            self.chain(&path, layers, site.input, &site.builder.pp(part))
        };
        let (body, output) = chain("body", &body)?;
        let (shortcut, carried) = chain("shortcut", &shortcut)?;
        if output != carried {
            let problem =
                format!("the body gives {output} and the shortcut {carried}, expected the same of both");
            return Err(site.refuse(&problem).into());
        }
        Ok((Layer::Residual(Residual::new(body, shortcut)), output))
    }
}

fn site<'a>(
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

/// Refuses what no machine could hold.
fn check_size(site: &Site<'_>, output: Shape) -> Checked<()> {
    if output.size() <= MAX_NUMBERS {
        return Ok(());
    }
    Err(site.refuse(&format!("gives {output}, more than {MAX_NUMBERS} numbers for one sample")))
}

fn conv2d(site: &Site<'_>) -> Built<(Layer, Shape)> {
    let Conv2dParameters { out_channels, kernel_size, stride, padding, dilation, groups, bias } =
        site.parse()?;
    let inputs = site.image()?.channels;
    let outputs = site.number("out_channels", out_channels, 1)?;
    let size = site.window(kernel_size)?;
    let options = Conv2d {
        stride: site.number("stride", stride, 1)?,
        padding,
        dilation: site.number("dilation", dilation, 1)?,
        groups: site.number("groups", groups, 1)?,
    };
    if !(inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups)) {
        let problem = format!(
            "expected a divisor of the {inputs} channels that it gets and of the {outputs} that it gives, found {groups}"
        );
        return Err(JobError::new(&format!("{}.groups", site.path), &problem).into());
    }
    let reach = (size - 1).saturating_mul(dilation).saturating_add(1);
    if padding >= reach {
        let problem =
            format!("expected less than the {reach} pixels that a window reaches over, found {padding}");
        return Err(JobError::new(&format!("{}.padding", site.path), &problem).into());
    }
    let output = site.windows(outputs, reach, stride, padding)?;
    check_size(site, output)?;
    Ok((Layer::Conv2d(Conv::new(ConvSpec { inputs, outputs, size, options, bias }, &site.builder)?), output))
}

fn group_norm(site: &Site<'_>) -> Built<(Layer, Shape)> {
    let GroupNormParameters { num_groups } = site.parse()?;
    let channels = site.input.channels();
    if num_groups > 0 && channels.is_multiple_of(num_groups) {
        return Ok((Layer::GroupNorm(GroupNorm::new(num_groups, channels, &site.builder)?), site.input));
    }
    let problem = format!("expected a divisor of the {channels} channels that it gets, found {num_groups}");
    Err(JobError::new(&format!("{}.num_groups", site.path), &problem).into())
}

fn pool(site: &Site<'_>) -> Built<(Pool2d, Shape)> {
    let PoolParameters { kernel_size, stride, padding } = site.parse()?;
    let channels = site.image()?.channels;
    let size = site.window(kernel_size)?;
    let stride = site.number("stride", stride.unwrap_or(size), 1)?;
    if padding > size / 2 {
        let problem = format!("expected at most {}, half of the window, found {padding}", size / 2);
        return Err(JobError::new(&format!("{}.padding", site.path), &problem).into());
    }
    let output = site.windows(channels, size, stride, padding)?;
    Ok((Pool2d { size, stride, padding }, output))
}

/// Layers that change each number and no shape.
fn elementwise(site: &Site<'_>) -> Built<(Layer, Shape)> {
    let layer = match site.kind.as_str() {
        "relu" => Layer::Relu,
        "gelu" => Layer::Elementwise(ops::gelu),
        "silu" => Layer::Elementwise(ops::silu),
        "tanh" => Layer::Elementwise(ops::tanh),
        "sigmoid" => Layer::Elementwise(ops::sigmoid),
        unknown => {
            let problem = format!("expected one of {KINDS}, found {unknown:?}");
            return Err(JobError::new(&format!("{}.kind", site.path), &problem).into());
        }
    };
    let Nothing {} = site.parse()?;
    Ok((layer, site.input))
}
