//! A GPU as one thread uses it: a stream of its own, with the handles, kernels and workspaces that go with it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use candle_core::cuda::WrapErr;
use candle_core::{CudaDevice, Result};
use cudarc::driver::sys::{CUevent_flags, CUmemPool_attribute};
use cudarc::driver::{
    CudaContext, CudaEvent, CudaSlice, CudaStream, DeviceRepr, DriverError, ValidAsZeroBits, result,
};

use super::convolutions::Convolutions;
use super::kernels::Kernels;
use super::numbers::address;
use super::products::Products;

thread_local! {
    /// The GPU that this thread computes on.
    static CURRENT: RefCell<Option<Rc<Gpu>>> = const { RefCell::new(None) };
}

/// A stream on a GPU.
pub struct Gpu {
    // What works on the streams goes before them.
    convolutions: Convolutions,
    products: Products,
    kernels: Kernels,
    workspace: RefCell<Option<CudaSlice<u8>>>,
    copies: Arc<CudaStream>,
    stream: Arc<CudaStream>,
    device: CudaDevice,
}

/// What a GPU does in order; the queues go on side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Everything that is computed.
    Computing,
    /// Copies of samples and weights to the GPU, and of small results from it.
    Copies,
}

/// Why a GPU cannot be used, in the driver's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cuda:{ordinal}: {reason}")]
pub struct Failure {
    /// The GPU's number.
    pub ordinal: usize,
    /// What the driver says.
    pub reason: String,
}

/// Makes the tensor library's device for a GPU: a stream of its own, whose memory is kept for its next use.
///
/// # Errors
/// When there is no such GPU, or the driver refuses.
///
/// # Safety
/// The driver's bindings record no events for memory of this device. Its memory is used on the device's own stream alone, or
/// on another one that waits for that stream and is waited for by it, as [`Landing`](super::Landing) and
/// [`Results`](super::Results) do.
#[allow(
    unsafe_code,
    reason = "events for every tensor are not needed: each stream waits for others explicitly"
)]
pub unsafe fn open(ordinal: usize) -> Result<CudaDevice> {
    let device = CudaDevice::new_with_stream(ordinal)?;
    // SAFETY: the caller's promise.
    unsafe { device.disable_event_tracking() };
    keep_memory(&device.cuda_stream()).w()?;
    Ok(device)
}

/// Memory that a step frees is there for the next one, instead of going back to the driver at each synchronisation.
#[allow(unsafe_code, reason = "the driver's pools have no safe interface")]
fn keep_memory(stream: &Arc<CudaStream>) -> std::result::Result<(), DriverError> {
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(());
    }
    let threshold = u64::MAX;
    // SAFETY: the device exists, and the attribute is a 64-bit number.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, (&raw const threshold).cast_mut().cast())
    }
}

impl Gpu {
    /// Takes hold of a device on this thread.
    ///
    /// # Errors
    /// When a library refuses.
    pub fn new(device: CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        Ok(Self {
            copies: stream.context().new_stream().w()?,
            kernels: Kernels::load(&stream)?,
            products: Products::new(&stream)?,
            convolutions: Convolutions::new(&stream)?,
            workspace: RefCell::new(None),
            device,
            stream,
        })
    }

    /// The tensor library's device.
    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// Where everything is computed.
    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Where samples are copied while something else is computed.
    pub(super) fn copies(&self) -> &Arc<CudaStream> {
        &self.copies
    }

    pub(super) fn products(&self) -> &Products {
        &self.products
    }

    pub(super) fn convolutions(&self) -> &Convolutions {
        &self.convolutions
    }

    pub(super) fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// The driver's context, which owns all memory on the GPU.
    pub fn context(&self) -> &Arc<CudaContext> {
        self.stream.context()
    }

    /// A point of a queue, whose time the GPU takes.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn mark(&self, queue: Queue) -> Result<CudaEvent> {
        let stream = match queue {
            Queue::Computing => &self.stream,
            Queue::Copies => &self.copies,
        };
        stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).w()
    }

    /// The GPU's number.
    pub fn ordinal(&self) -> usize {
        self.stream.context().ordinal()
    }

    /// Memory of no particular content, for one element at least.
    ///
    /// # Safety
    /// Whatever is read of it has been written before, in the order of the stream.
    #[allow(unsafe_code, reason = "memory whose content is written before it is read need not be cleared")]
    pub(super) unsafe fn uninitialized<T: DeviceRepr>(&self, len: usize) -> Result<CudaSlice<T>> {
        // SAFETY: the caller's promise.
        unsafe { self.stream.alloc::<T>(len.max(1)) }.w()
    }

    /// Zeros.
    ///
    /// # Errors
    /// When the device has no room for them.
    pub fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, len: usize) -> Result<CudaSlice<T>> {
        self.stream.alloc_zeros::<T>(len.max(1)).w()
    }

    /// Runs something with working memory of at least `bytes`, whose address it is given: of a stream's operations, which
    /// follow each other, one has it at a time.
    #[allow(unsafe_code, reason = "working memory need not be cleared")]
    pub(super) fn with_workspace<T>(&self, bytes: usize, run: impl FnOnce(u64) -> Result<T>) -> Result<T> {
        let mut workspace = self.workspace.borrow_mut();
        let workspace = match &mut *workspace {
            Some(workspace) if workspace.len() >= bytes => workspace,
            smaller => {
                // The smaller one goes first: there may not be room for both.
                *smaller = None;
                // SAFETY: its content means something only to the library that is given it, which writes first.
                smaller.insert(unsafe { self.uninitialized(bytes) }?)
            }
        };
        run(address(workspace))
    }

    /// The most bytes that were in use on the device at once since the last call, of what this process takes from the driver's pool; 0 where the
    /// driver does not say.
    #[allow(unsafe_code, reason = "the driver's pools have no safe interface")]
    pub fn peak_memory(&self) -> u64 {
        let (mut peak, mut zero) = (0_u64, 0_u64);
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        // SAFETY: the device exists, and the attribute is a 64-bit number, which only 0 may be written to.
        let read = unsafe {
            result::device::get_default_mem_pool(self.stream.context().cu_device()).and_then(|pool| {
                result::mem_pool::get_attribute(pool, attribute, (&raw mut peak).cast())?;
                result::mem_pool::set_attribute(pool, attribute, (&raw mut zero).cast())
            })
        };
        read.map_or(0, |()| peak)
    }

    /// Gives memory that nobody uses back to the driver, for libraries that take theirs beside the pool.
    #[allow(unsafe_code, reason = "the driver's pools have no safe interface")]
    pub fn trim_memory(&self) {
        // SAFETY: the device exists.
        let trimmed = unsafe {
            result::device::get_default_mem_pool(self.stream.context().cu_device())
                .and_then(|pool| result::mem_pool::trim_to(pool, 0))
        };
        if let Err(error) = trimmed {
            tracing::debug!(reason = in_words(&error), "memory is kept");
        }
    }

    /// Waits for everything on the stream; says whether the device is still of use.
    ///
    /// # Errors
    /// What made it useless.
    pub fn check(&self) -> std::result::Result<(), Failure> {
        let context = self.stream.context();
        let checked = self.copies.synchronize().and_then(|()| self.stream.synchronize());
        checked.map_err(|error| Failure { ordinal: context.ordinal(), reason: in_words(&error) })
    }
}

/// What the driver says, by name and in words.
pub fn in_words(error: &DriverError) -> String {
    let words = error.error_string().ok().map(|words| words.to_string_lossy().into_owned());
    let name = error.error_name().ok().map(|name| name.to_string_lossy().into_owned());
    match (words, name) {
        (Some(words), Some(name)) => format!("{words} ({name})"),
        _ => format!("{:?}", error.0),
    }
}

/// Lets this thread compute on a GPU until it leaves it.
pub fn enter(gpu: Rc<Gpu>) {
    CURRENT.set(Some(gpu));
}

/// Ends that: nothing of the GPU is left to the end of the thread.
pub fn leave() {
    CURRENT.set(None);
}

/// The GPU that this thread computes on.
///
/// # Errors
/// When it computes on none.
pub(crate) fn current() -> Result<Rc<Gpu>> {
    let gpu = CURRENT.with_borrow(Clone::clone);
    gpu.ok_or_else(|| candle_core::Error::Msg("this thread computes on no GPU".to_owned()))
}
