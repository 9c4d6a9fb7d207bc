//! Builds the listed layers one after the other, each for the output shape of the layer before it.

use candle_nn::VarBuilder;
use lookbehind_common::job::{JobError, Parameters};

use super::layer::{Elementwise, Layer, Residual};
use super::parameters::*;
use super::site::{KINDS, Site, check_size, site};
use crate::models::Built;
use crate::models::layers::{
    ActivationMemory, BatchNorm, Conv, ConvSpec, Dropouts, GroupNorm, ImageShape, LayerNorm, Linear, Shape,
    check_dropout,
};
use lookbehind_kernels::{Conv2d, Pool2d};

/// Most layers of a model, including nested ones.
const MAX_LAYERS: usize = 1000;

/// Builds layers, and counts what they have in common.
pub(super) struct Architect {
    classes: usize,
    layers: usize,
    dropouts: Dropouts,
    activation_memory: ActivationMemory,
    /// Whether a layer with weights has been built: from then on, the backward pass needs the outputs of layers.
    trained: bool,
}

impl Architect {
    pub(super) fn new(classes: usize) -> Self {
        Self {
            classes,
            layers: 0,
            dropouts: Dropouts::default(),
            activation_memory: ActivationMemory::default(),
            trained: false,
        }
    }

    /// Activation memory of the layers so far: a lower bound.
    pub(super) fn activation_memory(&self) -> ActivationMemory {
        self.activation_memory
    }

    /// Builds a list of layers; `path` is the place of the list in the job. Returns the output shape of the last one.
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
                self.activation_memory.add(1, output.size());
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
        let before = self.trained;
        let mut chain = |part: &str, layers: &[Parameters]| {
            let path = format!("{}.{part}", site.path);
            // Body and shortcut start from the same input, so both start with the same state.
            self.trained = before;
            let built = self.chain(&path, layers, site.input, &site.builder.pp(part));
            built.map(|(layers, output)| (layers, output, self.trained))
        };
        let (body, output, body_trained) = chain("body", &body)?;
        let (shortcut, carried, shortcut_trained) = chain("shortcut", &shortcut)?;
        self.trained = body_trained || shortcut_trained;
        if output != carried {
            let problem =
                format!("the body gives {output} and the shortcut {carried}, expected the same of both");
            return Err(site.refuse(&problem).into());
        }
        Ok((Layer::Residual(Residual::new(body, shortcut)), output))
    }
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

/// Layers that change each element and keep the shape.
fn elementwise(site: &Site<'_>) -> Built<(Layer, Shape)> {
    let layer = match site.kind.as_str() {
        "relu" => Layer::Relu,
        "gelu" => Layer::Elementwise(Elementwise::Gelu),
        "silu" => Layer::Elementwise(Elementwise::Silu),
        "tanh" => Layer::Elementwise(Elementwise::Tanh),
        "sigmoid" => Layer::Elementwise(Elementwise::Sigmoid),
        unknown => {
            let problem = format!("expected one of {KINDS}, found {unknown:?}");
            return Err(JobError::new(&format!("{}.kind", site.path), &problem).into());
        }
    };
    let Nothing {} = site.parse()?;
    Ok((layer, site.input))
}
