//! The optimizer's elementwise kernels on a large model, compared with a plain copy in memory by the same threads.

use std::sync::Arc;
use std::time::Instant;

use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::parse_toml;
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::optimizer::{Next, Optimizer};
use lookbehind_tests::bench::{Failure, Samples, Table, copies, rounds};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARAMETERS: usize = 25_000_000;
/// Arrays that an outer step of lookbehind with k = 2, momentum and static α reads or writes, at least. Norms: the
/// gradient, three times. First move: gradient and slow weights to perturbed ones, 3. Second: gradient, perturbed
/// weights twice, slow to fast weights, momentum twice, 7. Last: gradient, fast weights twice, momentum twice, slow
/// weights, 6.
const ARRAYS: f64 = 19.0;
const JOB: &str = "name = \"bench\"\nmodel.kind = \"constant\"\ndata.kind = \"constant\"\n\
    [train]\nsteps = 1\nbatch_size = 1\n\
    [optimizer]\nmethod = \"lookbehind\"\nk = 2\nrho = 0.05\nalpha = 0.5\nbase.lr = 1e-3\nbase.momentum = 0.9";

fn main() -> Result<(), Failure> {
    println!("Optimizer passes over {PARAMETERS} parameters, lookbehind with k = 2, SGD with momentum");
    println!("GB/s count bytes read and written");
    let mut optimizer = optimizer()?;
    let gradient = FlatBuffer::from(vec![1e-3; PARAMETERS]);
    let (mut steps, mut copying) = (Samples::default(), Samples::default());
    outer_step(&mut optimizer, &gradient)?;
    for _ in 0..rounds(7) {
        steps.push(outer_step(&mut optimizer, &gradient)?);
        copying.append(copies(PARAMETERS, 3));
    }
    let table = Table::new(&["measured", "best, ms", "median, ms", "GB/s, best", "median"]);
    let speed =
        |arrays: f64, seconds: f64| format!("{:.1}", arrays * 4.0 * PARAMETERS as f64 / seconds / 1e9);
    for (name, samples, arrays) in [("outer step", &steps, ARRAYS), ("plain copy", &copying, 2.0)] {
        let (best, median) = (samples.best(), samples.median());
        let ms = |seconds: f64| format!("{:.1}", seconds * 1e3);
        table.row(&[name.into(), ms(best), ms(median), speed(arrays, best), speed(arrays, median)]);
    }
    Ok(())
}

fn optimizer() -> Result<Optimizer, Failure> {
    let tensor = TensorSpec { name: "weight".into(), shape: vec![PARAMETERS], kind: TensorKind::Parameter };
    let layout = Arc::new(Layout::new([tensor])?);
    let spec = parse_toml(JOB)?.validate()?;
    let weights = layout.lengths().map(FlatBuffer::zeros);
    Ok(Optimizer::new(&spec.optimizer, spec.seed, layout, weights)?)
}

/// Seconds of an outer step's kernels, without generating gradients.
fn outer_step(optimizer: &mut Optimizer, gradient: &FlatBuffer) -> Result<f64, Failure> {
    let mut seconds = 0.0;
    optimizer.begin(1, 1e-3);
    loop {
        let gradient = gradient.clone();
        let begun = Instant::now();
        let next = optimizer.absorb(gradient, &FlatBuffer::default())?;
        seconds += begun.elapsed().as_secs_f64();
        if let Next::Finished(_) = next {
            return Ok(seconds);
        }
    }
}
