//! Trains a small convolutional network with Candle's tensors and variables, the kernels of this crate and its tape:
//!
//! ```text
//! cargo run --release -p lookbehind-kernels --example stripes
//! ```
//!
//! Images of 16 × 16 pixels show stripes under noise; the network predicts the direction of the stripes. The last line
//! is the accuracy on images that the network has not been trained on.

use candle_core::{Device, Result, Tensor, Var};
use lookbehind_kernels::cross_entropy::of_logits;
use lookbehind_kernels::{
    Activation, Affine, Conv2d, Gradients, Target, batch_norm, conv2d, global_avg_pool, linear, record,
    without_gradients,
};

const SIZE: usize = 16;
const CHANNELS: usize = 16;
/// Stripes from left to right, from top to bottom, and along both diagonals.
const CLASSES: usize = 4;
const BATCH: usize = 64;
const STEPS: u64 = 60;
const LEARNING_RATE: f64 = 0.2;

fn main() -> Result<()> {
    let network = Network::new()?;
    for step in 0..STEPS {
        let (images, targets) = samples(step)?;
        let loss = network.train(&images, &targets)?;
        if step % 10 == 0 {
            println!("step {step:2}: loss {loss:.3}");
        }
    }
    let (images, targets) = samples(STEPS)?;
    let logits = without_gradients(|| network.logits(&images))?;
    let sums = of_logits(&logits, &targets, 0.0, BATCH as u64)?.sums;
    println!("accuracy on other images: {:.1} %", 100.0 * sums.accuracy());
    Ok(())
}

/// A convolution with batch normalisation and ReLU, the mean over all pixels, and a linear layer.
struct Network {
    filters: Var,
    scale: Var,
    shift: Var,
    weight: Var,
    bias: Var,
}

impl Network {
    fn new() -> Result<Self> {
        let device = Device::Cpu;
        let mut noise = Noise(1);
        let mut normal = |deviation: f32, shape: &[usize]| {
            let elements: Vec<f32> = (0..shape.iter().product()).map(|_| deviation * noise.next()).collect();
            Var::from_tensor(&Tensor::from_vec(elements, shape, &device)?)
        };
        Ok(Self {
            // Weights have PyTorch's layout: [out, in, height, width].
            filters: normal(0.4, &[CHANNELS, 1, 3, 3])?,
            scale: Var::from_tensor(&Tensor::ones(CHANNELS, candle_core::DType::F32, &device)?)?,
            shift: Var::zeros(CHANNELS, candle_core::DType::F32, &device)?,
            weight: normal(0.1, &[CLASSES, CHANNELS])?,
            bias: Var::zeros(CLASSES, candle_core::DType::F32, &device)?,
        })
    }

    fn variables(&self) -> [&Var; 5] {
        [&self.filters, &self.scale, &self.shift, &self.weight, &self.bias]
    }

    /// From images `[n, height, width, 1]` to `[n, classes]`.
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let x = conv2d(images, &self.filters, Conv2d { padding: 1, ..Conv2d::default() })?;
        let affine = Affine { weight: &self.scale, bias: &self.shift, eps: 1e-5 };
        let x = batch_norm(&x, &affine, None, Activation::Relu)?.output;
        linear(&global_avg_pool(&x)?, &self.weight, &self.bias)
    }

    /// One step of gradient descent; returns the mean loss before it.
    fn train(&self, images: &Tensor, targets: &[Target]) -> Result<f64> {
        let (logits, tape) = record(|| self.logits(images));
        let logits = logits?;
        let loss = of_logits(&logits, targets, 0.0, targets.len() as u64)?;
        let gradient = Tensor::from_vec(loss.gradient, logits.shape(), &Device::Cpu)?;
        let gradients = tape.backward(logits, gradient)?;
        self.descend(&gradients)?;
        Ok(loss.sums.mean_loss())
    }

    fn descend(&self, gradients: &Gradients) -> Result<()> {
        for variable in self.variables() {
            if let Some(gradient) = gradients.get(variable) {
                variable.set(&(variable.as_tensor() - (gradient * LEARNING_RATE)?)?)?;
            }
        }
        Ok(())
    }
}

/// A batch of images and their classes.
fn samples(seed: u64) -> Result<(Tensor, Vec<Target>)> {
    let mut noise = Noise(0x9e37_79b9 + seed);
    let classes: Vec<u32> = (0..CLASSES as u32).cycle().take(BATCH).collect();
    let mut pixels = Vec::with_capacity(BATCH * SIZE * SIZE);
    for class in &classes {
        let phase = 3.0 * noise.next();
        for place in 0..SIZE * SIZE {
            let (row, column) = ((place / SIZE) as f32, (place % SIZE) as f32);
            let along = [row, column, row + column, row - column][*class as usize];
            pixels.push((1.5 * along + phase).sin() + 0.3 * noise.next());
        }
    }
    let images = Tensor::from_vec(pixels, (BATCH, SIZE, SIZE, 1), &Device::Cpu)?;
    Ok((images, classes.into_iter().map(Target::from).collect()))
}

/// Values that are roughly from a standard normal distribution, the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        let mut uniform = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f32 / (1_u64 << 24) as f32
        };
        // The sum of twelve uniform values has variance 1.
        (0..12).map(|_| uniform()).sum::<f32>() - 6.0
    }
}
