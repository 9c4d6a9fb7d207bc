//! A command line tool with a custom model: it has all commands of `lookbehind`, and its workers know one more kind of
//! model.
//!
//! ```text
//! cargo run --release --example train_custom_model -- train cli/examples/custom_model.toml --out run
//! ```

use std::process::ExitCode;

use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module, linear};
use lookbehind_common::job::parse_parameters;
use lookbehind_worker::models::{ForwardContext, Model};
use lookbehind_worker::registry::Registry;

/// The keys of `[model]` other than `kind`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TanhParameters {
    units: usize,
    #[serde(default)]
    dropout: f32,
}

/// A perceptron with one hidden layer of tanh units and dropout.
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
    lookbehind::run(registry)
}
