//! Moves values between tensors and slices with as few copies as the device allows.

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor};

/// The contiguous f32 values of a tensor in CPU memory.
pub(super) fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let elements = storage.as_slice::<f32>()?;
    layout
        .contiguous_offsets()
        .and_then(|(start, end)| elements.get(start..end))
        .ok_or_else(|| candle_core::Error::Msg("expected a contiguous tensor".to_owned()))
}

/// Copies an f32 tensor's values into a slice of the same length, row-major.
pub fn copy_into(tensor: &Tensor, target: &mut [f32]) -> Result<()> {
    if tensor.elem_count() != target.len() || tensor.dtype() != DType::F32 {
        let (found, len) = (tensor.dtype(), tensor.elem_count());
        candle_core::bail!("{len} elements of type {found:?}, expected {} of F32", target.len());
    }
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => target.copy_from_slice(contiguous(storage, layout)?),
        _ => target.copy_from_slice(&tensor.flatten_all()?.to_vec1::<f32>()?),
    }
    Ok(())
}

/// Overwrites a variable's values with those of a slice of the same length, row-major.
pub fn copy_from(variable: &candle_core::Var, source: &[f32]) -> Result<()> {
    if variable.elem_count() != source.len() {
        candle_core::bail!("{} elements, expected {}", source.len(), variable.elem_count());
    }
    if variable.device().is_cpu() {
        return variable.inplace_op1(&Overwrite(source));
    }
    variable.set(&Tensor::from_slice(source, variable.shape(), variable.device())?)
}

/// Writes into the variable's own memory: `Var::set` would need a tensor first, and copy twice.
struct Overwrite<'a>(&'a [f32]);

impl candle_core::InplaceOp1 for Overwrite<'_> {
    fn name(&self) -> &'static str {
        "overwrite"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let target = match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(elements), Some((start, end))) => elements.get_mut(start..end),
            _ => None,
        };
        match target {
            Some(target) if target.len() == self.0.len() => {
                target.copy_from_slice(self.0);
                Ok(())
            }
            _ => candle_core::bail!("expected a contiguous f32 variable of {} elements", self.0.len()),
        }
    }
}

/// Calls a function with the values of contiguous f32 tensors in CPU memory, without copying them.
pub fn with_elements<const N: usize, T>(
    tensors: [&Tensor; N],
    read: impl FnOnce([&[f32]; N]) -> T,
) -> Result<T> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut elements = [&[][..]; N];
    for (elements, (storage, layout)) in elements.iter_mut().zip(&guards) {
        *elements = match &**storage {
            Storage::Cpu(storage) => contiguous(storage, layout)?,
            _ => candle_core::bail!("expected a tensor in CPU memory"),
        };
    }
    Ok(read(elements))
}
