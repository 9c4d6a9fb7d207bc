//! Models in the format of ONNX (opset 21), for other programs to compute with.
//!
//! A model adds its operations to a [`Graph`], in evaluation mode: running statistics, no dropout. Images are channels first
//! there, as the format's operators take them; weights have the names and layouts of model files.

mod attributes;
mod messages;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use candle_core::{Result, Tensor, TensorId};
use prost::Message;

pub use attributes::Attribute;
use messages::{GraphProto, ModelProto, NodeProto, OperatorSetId, StringEntry, TensorProto, ValueInfo};

use crate::parameters::ModelTensors;
use lookbehind_kernels::copy_into;

/// Version of the format: the first that has the opset.
const IR_VERSION: i64 = 10;
/// The first opset with group normalisation by channel.
const OPSET: i64 = 21;
/// Names of the graph's input and output.
const INPUT: &str = "inputs";
const OUTPUT: &str = "logits";
/// The number of samples, which a graph leaves open.
const SAMPLES: &str = "samples";

/// The operations of a model, as it adds them.
pub struct Graph<'a> {
    names: HashMap<TensorId, &'a str>,
    /// Shape of one sample.
    input_shape: &'a [usize],
    /// Names of the tensors that the graph has.
    stored: BTreeSet<String>,
    initializers: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
}

impl<'a> Graph<'a> {
    /// A graph without operations, for samples of a shape. It knows the names of a model's tensors.
    pub(crate) fn new(tensors: &'a ModelTensors, input_shape: &'a [usize]) -> Self {
        let names = tensors.names().collect();
        Self { names, input_shape, stored: BTreeSet::new(), initializers: Vec::new(), nodes: Vec::new() }
    }

    /// The name of the samples as images [n, c, h, w]; those without channels have one.
    pub fn images(&mut self) -> String {
        match self.input_shape.len() {
            2 => {
                let channel = self.integers(&[1]);
                self.node("Unsqueeze", &[INPUT, &channel], &[])
            }
            _ => INPUT.to_owned(),
        }
    }

    /// The name of the samples as features [n, f].
    pub fn features(&mut self) -> String {
        self.node("Flatten", &[INPUT], &[Attribute::Int("axis", 1)])
    }

    /// Adds an operation with one output, and returns the output's name.
    pub fn node(&mut self, operator: &str, inputs: &[&str], attributes: &[Attribute<'_>]) -> String {
        self.outputs(operator, inputs, attributes, 1).concat()
    }

    /// Adds an operation with several outputs, and returns their names.
    pub fn outputs(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[Attribute<'_>],
        outputs: usize,
    ) -> Vec<String> {
        let name = format!("{}_{}", operator.to_lowercase(), self.nodes.len());
        let output: Vec<String> = match outputs {
            1 => vec![name.clone()],
            _ => (0..outputs).map(|number| format!("{name}_{number}")).collect(),
        };
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: output.clone(),
            name,
            op_type: operator.to_owned(),
            attribute: attributes.iter().map(Attribute::message).collect(),
        });
        output
    }

    /// Whether a tensor is one of the model's own.
    pub fn has(&self, tensor: &Tensor) -> bool {
        self.names.contains_key(&tensor.id())
    }

    /// The name of one of the model's tensors, whose values the graph gets.
    ///
    /// # Errors
    /// If the model did not ask for such a tensor, or its values cannot be read.
    pub fn tensor(&mut self, tensor: &Tensor) -> Result<String> {
        let Some(&name) = self.names.get(&tensor.id()) else {
            candle_core::bail!("a tensor of shape {:?} is none of the model's own", tensor.dims());
        };
        if self.stored.insert(name.to_owned()) {
            let mut values = vec![0.0; tensor.elem_count()];
            copy_into(tensor, &mut values)?;
            let dims = tensor.dims().iter().map(|&extent| extent as i64).collect();
            self.initializers.push(TensorProto::f32(name.to_owned(), dims, &values));
        }
        Ok(name.to_owned())
    }

    /// The name of a list of integers, for operators that take a shape or axes as an input.
    pub fn integers(&mut self, values: &[i64]) -> String {
        let name = format!("integers_{}", values.iter().map(i64::to_string).collect::<Vec<_>>().join("_"));
        if self.stored.insert(name.clone()) {
            self.initializers.push(TensorProto::i64(name.clone(), vec![values.len() as i64], values));
        }
        name
    }

    /// The name of one number.
    pub fn scalar(&mut self, value: f32) -> String {
        let name = format!("scalar_{value}");
        if self.stored.insert(name.clone()) {
            self.initializers.push(TensorProto::f32(name.clone(), Vec::new(), &[value]));
        }
        name
    }

    /// The file. `logits` is the output of the model's last operation.
    pub(crate) fn into_bytes(
        mut self,
        classes: usize,
        logits: &str,
        metadata: &BTreeMap<&str, String>,
    ) -> Vec<u8> {
        self.nodes.push(NodeProto {
            input: vec![logits.to_owned()],
            output: vec![OUTPUT.to_owned()],
            name: OUTPUT.to_owned(),
            op_type: "Identity".to_owned(),
            attribute: Vec::new(),
        });
        let graph = GraphProto {
            node: self.nodes,
            name: "lookbehind".to_owned(),
            initializer: self.initializers,
            input: vec![ValueInfo::f32(INPUT, SAMPLES, self.input_shape)],
            output: vec![ValueInfo::f32(OUTPUT, SAMPLES, &[classes])],
        };
        let entry =
            |(key, value): (&&str, &String)| StringEntry { key: (*key).to_owned(), value: value.clone() };
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: "lookbehind".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(graph),
            opset_import: vec![OperatorSetId { domain: String::new(), version: OPSET }],
            metadata_props: metadata.iter().map(entry).collect(),
        }
        .encode_to_vec()
    }
}

#[cfg(test)]
mod tests;
