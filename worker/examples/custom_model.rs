//! A worker with a custom model: a perceptron with one hidden layer of tanh units and dropout.
//!
//! Run it in place of `lookbehind-worker`, with the same arguments. A job asks for the model with
//!
//! ```toml
//! [model]
//! kind = "tanh"
//! units = 64
//! dropout = 0.1
//! ```

use std::process::ExitCode;

use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module, linear};
use lookbehind_common::job::parse_parameters;
use lookbehind_worker::models::{ForwardContext, Model};
use lookbehind_worker::registry::Registry;

/// The parameters under `[model]` other than `kind`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TanhParameters {
    units: usize,
    #[serde(default)]
    dropout: f32,
}

struct Tanh {
    hidden: Linear,
    output: Linear,
    dropout: f32,
}

impl Model for Tanh {
    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> Result<Tensor> {
        let x = inputs.flatten_from(1)?; // [n, in]
        let x = self.hidden.forward(&x)?.tanh()?; // [n, units]
        let x = context.dropout(0, self.dropout, &x)?;
        self.output.forward(&x) // [n, classes]
    }
}

fn main() -> ExitCode {
    let registry = Registry::builtin().with_model("tanh", |parameters, data, builder| {
        let TanhParameters { units, dropout } = parse_parameters("model", parameters)?;
        let hidden = linear(data.input_size(), units, builder.pp("hidden"))?;
        let output = linear(units, data.classes, builder.pp("output"))?;
        Ok(Box::new(Tanh { hidden, output, dropout }))
    });
    lookbehind_worker::main_with(registry)
}
