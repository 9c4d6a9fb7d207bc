//! A variable builder that records what a model asks for. Any model that is written against the tensor library's layers
//! thereby gets a layout, variables and keyed initial values without further code.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use lookbehind_common::job::OptimizerSpec;
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::optimizer::gradient_layout;

use super::{ModelTensor, ModelTensors, StateError};

/// Last components of the names of running statistics.
const RUNNING_STATISTICS: [&str; 2] = ["running_mean", "running_var"];

/// Hands out variables, filled with zeros, and records them in the order in which they were asked for.
///
/// A name that is asked for again with the same shape is the same variable (tied weights).
pub struct Recorder {
    device: Device,
    records: Arc<Mutex<Records>>,
}

#[derive(Default)]
struct Records {
    specs: Vec<TensorSpec>,
    tensors: Vec<ModelTensor>,
    by_name: HashMap<String, usize>,
    /// How the tensors are trained; `None` means all alike.
    training: Option<OptimizerSpec>,
    /// Bytes of all tensors so far; at most `limit`.
    bytes: u64,
    limit: u64,
    exceeded: bool,
    /// Set when the model is built: its layout is final.
    sealed: bool,
}

impl Recorder {
    /// A recorder for tensors on `device` of at most `memory_limit` bytes together.
    pub fn new(device: Device, memory_limit: u64) -> Self {
        let records = Records { limit: memory_limit, ..Records::default() };
        Self { device, records: Arc::new(Mutex::new(records)) }
    }

    /// The same recorder for a model that is trained so: what is frozen has no gradients.
    #[must_use]
    pub fn trained_as(self, spec: &OptimizerSpec) -> Self {
        lock(&self.records).training = Some(spec.clone());
        self
    }

    /// The builder from which a model is constructed.
    pub fn builder(&self) -> VarBuilder<'static> {
        let backend = Recording(Arc::clone(&self.records));
        VarBuilder::from_backend(Box::new(backend), DType::F32, self.device.clone())
    }

    /// Whether the model asked for more memory than the limit.
    pub fn exceeded_memory(&self) -> bool {
        lock(&self.records).exceeded
    }

    /// Ends the construction: the builder creates no further tensors.
    ///
    /// # Errors
    /// If the tensors do not form a layout, for example because there is nothing to train.
    pub fn finish(self) -> std::result::Result<ModelTensors, StateError> {
        let mut records = lock(&self.records);
        records.sealed = true;
        let layout = Arc::new(Layout::new(std::mem::take(&mut records.specs))?);
        let gradient_layout = match &records.training {
            Some(spec) => Arc::new(gradient_layout(spec, &layout)),
            None => Arc::clone(&layout),
        };
        let (tensors, by_name) = (std::mem::take(&mut records.tensors), std::mem::take(&mut records.by_name));
        Ok(ModelTensors { layout, gradient_layout, tensors, by_name })
    }
}

/// A poisoned lock is ignored: the records stay consistent even if a model's constructor panics while it holds it.
fn lock(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Recording(Arc<Mutex<Records>>);

impl SimpleBackend for Recording {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut records = lock(&self.0);
        match records.find(name) {
            Some(known) if known.shape() == &shape => Ok(known),
            Some(known) => {
                candle_core::bail!("tensor {name:?}: shape {shape:?}, expected {:?} as before", known.shape())
            }
            None => records.create(shape, name, init, dtype, device),
        }
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> Result<Tensor> {
        let known = lock(&self.0).find(name);
        known.ok_or_else(|| {
            candle_core::Error::Msg(format!(
                "tensor {name:?}: asked for without a shape before it was created"
            ))
        })
    }

    fn contains_tensor(&self, name: &str) -> bool {
        lock(&self.0).by_name.contains_key(name)
    }
}

impl Records {
    fn find(&self, name: &str) -> Option<Tensor> {
        let tensor = self.tensors.get(*self.by_name.get(name)?)?;
        Some(tensor.for_model())
    }

    fn create(
        &mut self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if self.sealed {
            candle_core::bail!("tensor {name:?}: asked for after the model was built");
        }
        if dtype != DType::F32 {
            candle_core::bail!("tensor {name:?}: type {dtype:?}, expected F32");
        }
        self.reserve(name, &shape)?;
        let variable = Var::zeros(shape.clone(), DType::F32, device)?;
        self.by_name.insert(name.to_owned(), self.tensors.len());
        let spec = TensorSpec { name: name.to_owned(), shape: shape.into_dims(), kind: kind_of(name) };
        let of_parameter = self.training.as_ref().filter(|_| spec.kind == TensorKind::Parameter);
        let frozen = of_parameter.is_some_and(|training| training.groups.rule(&spec).frozen);
        let tensor = ModelTensor { variable, init, frozen };
        let for_model = tensor.for_model();
        self.specs.push(spec);
        self.tensors.push(tensor);
        Ok(for_model)
    }

    /// Counts a tensor's bytes before they are allocated.
    fn reserve(&mut self, name: &str, shape: &Shape) -> Result<()> {
        let bytes = shape
            .dims()
            .iter()
            .try_fold(size_of::<f32>() as u64, |bytes, &extent| bytes.checked_mul(extent as u64))
            .and_then(|bytes| bytes.checked_add(self.bytes));
        match bytes {
            Some(bytes) if bytes <= self.limit => {
                self.bytes = bytes;
                Ok(())
            }
            _ => {
                self.exceeded = true;
                let (dims, limit) = (shape.dims(), self.limit);
                candle_core::bail!(
                    "tensor {name:?} of shape {dims:?}: with it the model takes more than {limit} bytes"
                )
            }
        }
    }
}

fn kind_of(name: &str) -> TensorKind {
    let last = name.rsplit_once('.').map_or(name, |(_, last)| last);
    if RUNNING_STATISTICS.contains(&last) { TensorKind::RunningStatistic } else { TensorKind::Parameter }
}
