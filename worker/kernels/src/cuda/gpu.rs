//! A GPU as one thread uses it: its own stream, and the handles, kernels and workspaces that belong to it.

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
use super::dtype::address;
use super::gemm::GemmLibrary;
use super::kernels::Kernels;

thread_local! {
    /// The GPU that this thread computes on.
    static CURRENT: RefCell<Option<Rc<Gpu>>> = const { RefCell::new(None) };
}

/// A GPU with one stream for computation and one for copies, for use by one thread.
pub struct Gpu {
    // Fields are dropped in this order: the libraries that use the streams must go before the streams.
    convolutions: Convolutions,
    gemm_library: GemmLibrary,
    kernels: Kernels,
    workspace: RefCell<Option<CudaSlice<u8>>>,
    copies: Arc<CudaStream>,
    stream: Arc<CudaStream>,
    device: CudaDevice,
}

/// The streams of a GPU. Each works in order; the two run concurrently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// All computation.
    Computing,
    /// Copies of samples and weights to the GPU, and of small results from it.
    Copies,
}

/// Why a GPU cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cuda:{ordinal}: {reason}")]
pub struct Failure {
    /// Index of the GPU, as the driver counts.
    pub ordinal: usize,
    /// The driver's error message.
    pub reason: String,
}

/// Opens the tensor library's device for a GPU: with its own stream, and memory that is kept for reuse.
///
/// # Errors
/// When there is no such GPU, or the driver fails.
///
/// # Safety
/// The driver's bindings record no events for memory of this device. Its memory must be used on the device's own stream
/// only, or on another stream that waits for that one and is waited for by it, as in [`Landing`](super::Landing) and
/// [`Results`](super::Results).
#[allow(
    unsafe_code,
    reason = "events for every tensor are not needed: each stream waits for others explicitly"
)]
pub unsafe fn open(ordinal: usize) -> Result<CudaDevice> {
    let device = CudaDevice::new_with_stream(ordinal)?;
    // SAFETY: the caller guarantees it.
    unsafe { device.disable_event_tracking() };
    keep_memory(&device.cuda_stream()).w()?;
    Ok(device)
}

/// Keeps freed memory in the pool for the next step, instead of returning it to the driver at each synchronisation.
#[allow(unsafe_code, reason = "the driver's pools have no safe interface")]
fn keep_memory(stream: &Arc<CudaStream>) -> std::result::Result<(), DriverError> {
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(());
    }
    let threshold = u64::MAX;
    // SAFETY: the device exists, and the attribute is a 64-bit integer.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, (&raw const threshold).cast_mut().cast())
    }
}

impl Gpu {
    /// Creates handles, kernels and a second stream for a device, for this thread.
    ///
    /// # Errors
    /// When the driver or a library fails.
    pub fn new(device: CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        Ok(Self {
            copies: stream.context().new_stream().w()?,
            kernels: Kernels::load(&stream)?,
            gemm_library: GemmLibrary::new(&stream)?,
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

    /// The stream that everything is computed on.
    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// The stream that copies samples during computation.
    pub(super) fn copies(&self) -> &Arc<CudaStream> {
        &self.copies
    }

    pub(super) fn gemm_library(&self) -> &GemmLibrary {
        &self.gemm_library
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

    /// Records an event on a queue, whose time the GPU takes.
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

    /// Index of the GPU, as the driver counts.
    pub fn ordinal(&self) -> usize {
        self.stream.context().ordinal()
    }

    /// Uninitialised memory, for at least one element.
    ///
    /// # Safety
    /// Elements must be written before they are read, in the order of the stream.
    #[allow(unsafe_code, reason = "memory whose content is written before it is read need not be cleared")]
    pub(super) unsafe fn uninitialized<T: DeviceRepr>(&self, len: usize) -> Result<CudaSlice<T>> {
        // SAFETY: the caller guarantees it.
        unsafe { self.stream.alloc::<T>(len.max(1)) }.w()
    }

    /// Memory of zeros, for at least one element.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, len: usize) -> Result<CudaSlice<T>> {
        self.stream.alloc_zeros::<T>(len.max(1)).w()
    }

    /// Calls `run` with the address of working memory of at least `bytes`. One workspace is enough, as a stream
    /// executes its operations one after the other.
    #[allow(unsafe_code, reason = "working memory need not be cleared")]
    pub(super) fn with_workspace<T>(&self, bytes: usize, run: impl FnOnce(u64) -> Result<T>) -> Result<T> {
        let mut workspace = self.workspace.borrow_mut();
        let workspace = match &mut *workspace {
            Some(workspace) if workspace.len() >= bytes => workspace,
            smaller => {
                // The smaller one is freed first: there may not be memory for both.
                *smaller = None;
                // SAFETY: only the library that gets it uses its content, and it writes before it reads.
                smaller.insert(unsafe { self.uninitialized(bytes) }?)
            }
        };
        run(address(workspace))
    }

    /// The most bytes of the driver's pool that this process used on the device at once since the last call; `None` if
    /// the driver does not report it.
    #[allow(unsafe_code, reason = "the driver's pools have no safe interface")]
    pub fn peak_memory(&self) -> Option<u64> {
        let (mut peak, mut zero) = (0_u64, 0_u64);
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        // SAFETY: the device exists, and the attribute is a 64-bit integer that may be reset to 0 only.
        let read = unsafe {
            result::device::get_default_mem_pool(self.stream.context().cu_device()).and_then(|pool| {
                result::mem_pool::get_attribute(pool, attribute, (&raw mut peak).cast())?;
                result::mem_pool::set_attribute(pool, attribute, (&raw mut zero).cast())
            })
        };
        read.ok().map(|()| peak)
    }

    /// Returns unused memory of the pool to the driver, for libraries that allocate outside the pool.
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

    /// Waits for everything on the stream, and checks that the device still works.
    ///
    /// # Errors
    /// The error that made the device unusable.
    pub fn check(&self) -> std::result::Result<(), Failure> {
        let context = self.stream.context();
        let checked = self.copies.synchronize().and_then(|()| self.stream.synchronize());
        checked.map_err(|error| Failure { ordinal: context.ordinal(), reason: in_words(&error) })
    }
}

/// The driver's error, by name and message.
pub fn in_words(error: &DriverError) -> String {
    let words = error.error_string().ok().map(|words| words.to_string_lossy().into_owned());
    let name = error.error_name().ok().map(|name| name.to_string_lossy().into_owned());
    match (words, name) {
        (Some(words), Some(name)) => format!("{words} ({name})"),
        _ => format!("{:?}", error.0),
    }
}

/// Makes a GPU the one that this thread computes on, until [`leave`].
pub fn enter(gpu: Rc<Gpu>) {
    CURRENT.set(Some(gpu));
}

/// Undoes [`enter`], so that the GPU is not kept until the end of the thread.
pub fn leave() {
    CURRENT.set(None);
}

/// The GPU that this thread computes on.
///
/// # Errors
/// When the thread has entered none.
pub(crate) fn current() -> Result<Rc<Gpu>> {
    let gpu = CURRENT.with_borrow(Clone::clone);
    gpu.ok_or_else(|| candle_core::Error::Msg("this thread computes on no GPU".to_owned()))
}
