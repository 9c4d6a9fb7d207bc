//! Copies from the host to a GPU: through pinned memory, into memory on the device, while the stream computes something
//! else.

use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DeviceRepr, ValidAsZeroBits};

use super::{Gpu, Pinned, View};

/// Memory on a GPU that the copying stream writes and the computing stream reads. Each waits for the other: a copy
/// starts after the content before it has been read, and reading starts after the copy.
pub struct Landing<T> {
    memory: CudaSlice<T>,
    copies: Arc<CudaStream>,
    /// The point at which the computing stream has read, or cleared, the present content.
    free: Option<CudaEvent>,
}

impl<T: DeviceRepr + ValidAsZeroBits + Copy + Send + Sync> Landing<T> {
    /// Memory of zeros.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub fn new(len: usize, gpu: &Gpu) -> Result<Self> {
        let memory = gpu.zeros::<T>(len)?;
        let cleared = gpu.stream().record_event(None).w()?;
        Ok(Self { memory, copies: Arc::clone(gpu.copies()), free: Some(cleared) })
    }

    /// Elements that it has room for.
    pub fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Queues a copy of the first `len` elements of pinned memory to element `first` of this memory.
    ///
    /// # Errors
    /// When they do not fit, or the driver fails.
    #[allow(unsafe_code, reason = "the driver takes addresses")]
    pub fn fill(&mut self, first: usize, from: &mut Pinned<T>, len: usize) -> Result<()> {
        let place = View::from(&self.memory).part(first, len)?;
        if let Some(free) = &self.free {
            self.copies.wait(free).w()?;
        }
        self.free = None;
        // SAFETY: the memory is large enough and lives until this is dropped, which waits for the stream.
        unsafe { from.upload(len, place.address(), &self.copies) }
    }

    /// Lets `queue` queue operations on the GPU's stream that read what has been copied here.
    ///
    /// # Errors
    /// When the memory is another GPU's, the driver fails, or `queue` does.
    pub fn take<R>(&mut self, gpu: &Gpu, queue: impl FnOnce(&CudaSlice<T>) -> Result<R>) -> Result<R> {
        View::from(&self.memory).expect(gpu, 0)?;
        let arrived = self.copies.record_event(None).w()?;
        gpu.stream().wait(&arrived).w()?;
        let queued = queue(&self.memory);
        self.free = Some(gpu.stream().record_event(None).w()?);
        queued
    }
}

impl<T: DeviceRepr + ValidAsZeroBits + Copy + Send + Sync> Default for Staging<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        // The memory is freed in the order of the computing stream, which knows nothing of a copy that is still
        // running. An error means that the device is lost: it writes nothing any more.
        let _ = self.copies.synchronize();
    }
}

impl Gpu {
    /// Copies the first `len` elements of pinned memory to new memory, in the order of the stream.
    ///
    /// # Errors
    /// When there are fewer elements, or the driver fails.
    #[allow(unsafe_code, reason = "memory that is overwritten at once need not be cleared")]
    pub fn upload<T: DeviceRepr + ValidAsZeroBits + Copy + Send + Sync>(
        &self,
        from: &mut Pinned<T>,
        len: usize,
    ) -> Result<CudaSlice<T>> {
        // SAFETY: the copy that is queued next writes all of it, and it is freed in the order of the same stream.
        unsafe {
            let copied = self.uninitialized::<T>(len)?;
            from.upload(len, View::from(&copied).address(), self.stream())?;
            Ok(copied)
        }
    }
}

/// Copies samples to a GPU. Places are used in turn, so that the host can fill one while the others are being copied.
pub struct Staging<T> {
    places: [Option<Place<T>>; PLACES],
    next: usize,
}

struct Place<T> {
    here: Pinned<T>,
    there: Landing<T>,
}

/// Number of copies that may be unfinished at once.
const PLACES: usize = 3;

impl<T: DeviceRepr + ValidAsZeroBits + Copy + Send + Sync> Staging<T> {
    /// Takes no memory before it is used.
    #[must_use]
    pub fn new() -> Self {
        Self { places: [const { None }; PLACES], next: 0 }
    }

    /// Copies elements to the device; operations that are queued on the stream afterwards see them.
    ///
    /// # Errors
    /// When the driver refuses.
    #[allow(unsafe_code, reason = "memory that is overwritten at once need not be cleared")]
    pub fn upload(&mut self, elements: &[T], gpu: &Gpu) -> Result<CudaSlice<T>> {
        if elements.is_empty() {
            return gpu.zeros(0);
        }
        let len = elements.len();
        let Place { here, there } = self.place(len, gpu)?;
        here.write(elements)?;
        there.fill(0, here, len)?;
        // SAFETY: the copy that is queued next writes all of it.
        let mut copied = unsafe { gpu.uninitialized::<T>(len) }?;
        there.take(gpu, |arrived| gpu.stream().memcpy_dtod(&arrived.slice(..len), &mut copied).w())?;
        Ok(copied)
    }

    /// The next place in turn, with room for `len` elements.
    fn place(&mut self, len: usize, gpu: &Gpu) -> Result<&mut Place<T>> {
        let place = &mut self.places[self.next];
        self.next = (self.next + 1) % PLACES;
        let large_enough = |place: &Place<T>| place.here.capacity() >= len && place.there.capacity() >= len;
        // A place that is too small is dropped first, which waits until no copy uses it.
        let kept = place.take().filter(large_enough);
        let next = match kept {
            Some(kept) => kept,
            None => Place { here: Pinned::zeros(gpu.context(), len)?, there: Landing::new(len, gpu)? },
        };
        Ok(place.insert(next))
    }
}
