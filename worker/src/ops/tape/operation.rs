//! The tensor library's operations of one, two and three arguments behind one interface.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

/// An operation of the tensor library's, whatever its number of arguments.
pub(super) trait Operation {
    /// What it is called in the table of times.
    fn name(&self) -> &'static str;

    fn forward(&self, operands: &[(&CpuStorage, &Layout)]) -> Result<(CpuStorage, Shape)>;

    /// One gradient for each argument; none where the argument needs none.
    fn backward(
        &self,
        arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>>;
}

pub(super) struct One<O>(pub(super) O);
pub(super) struct Two<O>(pub(super) O);
pub(super) struct Three<O>(pub(super) O);

fn arity<T>(expected: usize, found: usize) -> Result<T> {
    candle_core::bail!("{found} arguments, expected {expected}")
}

impl<O: CustomOp1> Operation for One<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn forward(&self, operands: &[(&CpuStorage, &Layout)]) -> Result<(CpuStorage, Shape)> {
        match operands {
            [(x, x_layout)] => self.0.cpu_fwd(x, x_layout),
            _ => arity(1, operands.len()),
        }
    }

    fn backward(
        &self,
        arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        match arguments {
            [x] => Ok(vec![self.0.bwd(x, result, gradient)?]),
            _ => arity(1, arguments.len()),
        }
    }
}

impl<O: CustomOp2> Operation for Two<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn forward(&self, operands: &[(&CpuStorage, &Layout)]) -> Result<(CpuStorage, Shape)> {
        match operands {
            [(x, x_layout), (y, y_layout)] => self.0.cpu_fwd(x, x_layout, y, y_layout),
            _ => arity(2, operands.len()),
        }
    }

    fn backward(
        &self,
        arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        match arguments {
            [x, y] => self.0.bwd(x, y, result, gradient).map(|(x, y)| vec![x, y]),
            _ => arity(2, arguments.len()),
        }
    }
}

impl<O: CustomOp3> Operation for Three<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn forward(&self, operands: &[(&CpuStorage, &Layout)]) -> Result<(CpuStorage, Shape)> {
        match operands {
            [(x, x_layout), (y, y_layout), (z, z_layout)] => {
                self.0.cpu_fwd(x, x_layout, y, y_layout, z, z_layout)
            }
            _ => arity(3, operands.len()),
        }
    }

    fn backward(
        &self,
        arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        match arguments {
            [x, y, z] => self.0.bwd(x, y, z, result, gradient).map(|(x, y, z)| vec![x, y, z]),
            _ => arity(3, arguments.len()),
        }
    }
}
