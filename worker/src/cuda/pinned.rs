//! Memory of the host that the GPUs read and write by themselves, while threads do something else.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use cudarc::driver::sys::CU_MEMHOSTALLOC_PORTABLE;
use cudarc::driver::{CudaContext, CudaEvent, CudaSlice, CudaStream, DeviceRepr, ValidAsZeroBits, result};
use rayon::prelude::*;

use super::{Gpu, address};

/// Page-locked memory that every GPU of the process can reach.
///
/// What a stream still reads must not be written, and what it still writes must not be read: whoever copies says when it
/// is over, by an event.
pub(crate) struct Pinned<T> {
    context: Arc<CudaContext>,
    pointer: *mut T,
    len: usize,
    numbers: PhantomData<T>,
}

#[allow(unsafe_code, reason = "plain memory may be used by any thread")]
// SAFETY: it owns its memory.
unsafe impl<T: Send> Send for Pinned<T> {}

impl<T: DeviceRepr + ValidAsZeroBits + Copy + Send + Sync> Pinned<T> {
    /// Zeros.
    ///
    /// # Errors
    /// When the system has no such memory left.
    #[allow(unsafe_code, reason = "the driver hands out addresses")]
    pub(crate) fn zeros(context: &Arc<CudaContext>, len: usize) -> Result<Self> {
        context.bind_to_thread().w()?;
        let bytes = len.max(1) * size_of::<T>();
        // SAFETY: the memory is written before anybody reads it.
        let pointer = unsafe {
            let pointer = result::malloc_host(bytes, CU_MEMHOSTALLOC_PORTABLE).w()?;
            pointer.cast::<u8>().write_bytes(0, bytes);
            pointer.cast::<T>()
        };
        Ok(Self { context: Arc::clone(context), pointer, len, numbers: PhantomData })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What is in it; no stream may be writing there.
    #[allow(unsafe_code, reason = "the driver's memory")]
    pub(crate) fn read(&self, range: Range<usize>) -> &[T] {
        let range = self.within(range);
        // SAFETY: the memory is there, initialised, and the range within it.
        unsafe { std::slice::from_raw_parts(self.pointer.add(range.start), range.len()) }
    }

    /// Overwrites a part; no stream may be reading there.
    #[allow(unsafe_code, reason = "the driver's memory")]
    pub(crate) fn write(&mut self, first: usize, numbers: &[T]) {
        let range = self.within(first..first + numbers.len());
        // SAFETY: the memory is there, the range within it, and nobody else has a reference to it.
        let target = unsafe { std::slice::from_raw_parts_mut(self.pointer.add(range.start), range.len()) };
        copy_in_parallel(&numbers[..range.len()], target);
    }

    fn within(&self, range: Range<usize>) -> Range<usize> {
        range.start.min(self.len)..range.end.min(self.len)
    }

    /// Lets a stream copy a part to the device.
    ///
    /// # Errors
    /// When the driver refuses.
    #[allow(unsafe_code, reason = "the driver takes addresses")]
    pub(crate) fn upload(&self, range: Range<usize>, to: u64, stream: &CudaStream) -> Result<()> {
        stream.context().bind_to_thread().w()?;
        // SAFETY: the caller gives an address with room for the range, and does not write the range before the stream is
        // through.
        unsafe { result::memcpy_htod_async(to, self.read(range), stream.cu_stream()) }.w()
    }

    /// Lets a stream copy from the device into a part.
    ///
    /// # Errors
    /// When the driver refuses.
    #[allow(unsafe_code, reason = "the driver takes addresses")]
    pub(crate) fn download(&mut self, range: Range<usize>, from: u64, stream: &CudaStream) -> Result<()> {
        stream.context().bind_to_thread().w()?;
        let range = self.within(range);
        // SAFETY: the range is within the memory, which lives on until the caller has waited for the stream.
        unsafe {
            let target = std::slice::from_raw_parts_mut(self.pointer.add(range.start), range.len());
            result::memcpy_dtoh_async(target, from, stream.cu_stream())
        }
        .w()
    }
}

impl<T> Drop for Pinned<T> {
    #[allow(unsafe_code, reason = "the driver takes its memory back")]
    fn drop(&mut self) {
        // SAFETY: made by the driver, and used by no stream any more: whoever copies waits for it.
        let _ = self
            .context
            .bind_to_thread()
            .and_then(|()| unsafe { result::free_host(self.pointer.cast::<c_void>()) });
    }
}

/// Copies numbers with all threads: one is slower than the way to a GPU.
pub(crate) fn copy_in_parallel<T: Copy + Send + Sync>(from: &[T], to: &mut [T]) {
    const TASK: usize = 1 << 16;
    to.par_chunks_mut(TASK).zip(from.par_chunks(TASK)).for_each(|(to, from)| to.copy_from_slice(from));
}

/// The way of samples to a GPU: through pinned memory, and into a place on the device while the stream computes something
/// else; from there into memory of the stream's own, in its order. Places are used in turns.
pub(crate) struct Staging<T> {
    places: Vec<Place<T>>,
    next: usize,
}

struct Place<T> {
    memory: Pinned<T>,
    there: CudaSlice<T>,
    /// When the device has read the pinned memory.
    read: Option<CudaEvent>,
    /// When the stream has taken what was in the place on the device.
    taken: Option<CudaEvent>,
}

/// How many things may be on their way.
const PLACES: usize = 3;

impl<T: DeviceRepr + ValidAsZeroBits + Copy + Send + Sync> Staging<T> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), next: 0 }
    }

    /// Numbers on the device, for what the stream does from now on.
    ///
    /// # Errors
    /// When the driver refuses.
    pub(crate) fn upload(&mut self, numbers: &[T], gpu: &Gpu) -> Result<CudaSlice<T>> {
        let (stream, copies) = (gpu.stream(), gpu.copies());
        let mut here = gpu.uninitialized::<T>(numbers.len())?;
        if numbers.is_empty() {
            return Ok(here);
        }
        let place = self.place(numbers.len(), gpu)?;
        if let Some(read) = place.read.take() {
            read.synchronize().w()?;
        }
        place.memory.write(0, numbers);
        if let Some(taken) = place.taken.take() {
            copies.wait(&taken).w()?;
        }
        place.memory.upload(0..numbers.len(), address(&place.there), copies)?;
        let read = place.read.insert(copies.record_event(None).w()?);
        stream.wait(read).w()?;
        stream.memcpy_dtod(&place.there.slice(..numbers.len()), &mut here).w()?;
        place.taken = Some(stream.record_event(None).w()?);
        Ok(here)
    }

    /// The place whose turn it is, with room for `len` numbers.
    fn place(&mut self, len: usize, gpu: &Gpu) -> Result<&mut Place<T>> {
        let number = self.next % PLACES;
        self.next += 1;
        if self.places.get(number).is_none_or(|place| place.memory.len() < len) {
            let there = gpu.uninitialized::<T>(len)?;
            let memory = Pinned::zeros(gpu.stream().context(), len)?;
            // The copies' stream must not come before the memory that it writes to, nor the old one go before it is read.
            gpu.copies().synchronize().w()?;
            gpu.stream().synchronize().w()?;
            let place = Place { memory, there, read: None, taken: None };
            match self.places.get_mut(number) {
                Some(old) => *old = place,
                None => self.places.push(place),
            }
        }
        self.places.get_mut(number).ok_or_else(|| candle_core::Error::Msg("no place for a copy".to_owned()))
    }
}

impl<T> Drop for Staging<T> {
    fn drop(&mut self) {
        for event in self.places.iter().flat_map(|place| [&place.read, &place.taken]).flatten() {
            // A device that is lost reads nothing any more.
            let _ = event.synchronize();
        }
    }
}
