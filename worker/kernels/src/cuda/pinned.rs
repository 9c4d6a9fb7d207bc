//! Memory of the host that the GPUs read and write by themselves, while threads do something else.

use std::ffi::c_void;
use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use cudarc::driver::sys::CU_MEMHOSTALLOC_PORTABLE;
use cudarc::driver::{CudaContext, CudaEvent, CudaSlice, CudaStream, DeviceRepr, ValidAsZeroBits, result};
use rayon::prelude::*;

use super::numbers::View;

/// Page-locked memory that every GPU of the process can reach.
///
/// It knows which copies are still on their way. Whoever wants to read it waits for the copies into it, and whoever wants
/// to write it for all copies; dropping it waits for all of them, too. A thread that fills one buffer while another is on
/// its way uses two.
pub struct Pinned<T> {
    context: Arc<CudaContext>,
    memory: *mut T,
    len: usize,
    /// When a device will have written it.
    written: Option<CudaEvent>,
    /// When devices will have read it.
    read: Vec<CudaEvent>,
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
    pub fn zeros(context: &Arc<CudaContext>, len: usize) -> Result<Self> {
        let bytes = match len.max(1).checked_mul(size_of::<T>()) {
            Some(bytes) if isize::try_from(bytes).is_ok() => bytes,
            _ => candle_core::bail!("{len} elements are too large for memory"),
        };
        context.bind_to_thread().w()?;
        // SAFETY: the memory has that many bytes, aligned to pages, and zeros are a valid T.
        let memory = unsafe {
            let memory = result::malloc_host(bytes, CU_MEMHOSTALLOC_PORTABLE).w()?;
            memory.cast::<u8>().write_bytes(0, bytes);
            memory.cast::<T>()
        };
        Ok(Self { context: Arc::clone(context), memory, len, written: None, read: Vec::new() })
    }

    /// Elements that it has room for.
    pub fn capacity(&self) -> usize {
        self.len
    }

    /// What is in it, as soon as nothing is on its way here.
    ///
    /// # Errors
    /// When a copy has failed.
    #[allow(unsafe_code, reason = "the driver's memory")]
    pub fn read(&mut self) -> Result<&[T]> {
        self.wait_for_writes()?;
        // SAFETY: the memory is there and initialised, and no device writes it while `self` is borrowed.
        Ok(unsafe { std::slice::from_raw_parts(self.memory, self.len) })
    }

    /// Overwrites its beginning, as soon as nothing is on its way here or from here.
    ///
    /// # Errors
    /// When there is not so much room, or a copy has failed.
    #[allow(unsafe_code, reason = "the driver's memory")]
    pub fn write(&mut self, elements: &[T]) -> Result<()> {
        self.expect(elements.len())?;
        self.wait()?;
        // SAFETY: the memory is there and initialised, and no device reads or writes it while `self` is borrowed.
        let memory = unsafe { std::slice::from_raw_parts_mut(self.memory, elements.len()) };
        copy_in_parallel(elements, memory);
        Ok(())
    }

    /// Lets the device copy `len` elements here, from `first` on, in the order of their stream.
    ///
    /// # Errors
    /// When there are not so many, or not so much room, or the driver refuses.
    #[allow(unsafe_code, reason = "the driver takes addresses")]
    pub fn download(&mut self, from: &CudaSlice<T>, first: usize, len: usize) -> Result<()> {
        self.expect(len)?;
        let part = View::from(from).part(first, len)?;
        self.wait()?;
        let stream = from.stream();
        stream.context().bind_to_thread().w()?;
        // SAFETY: both sides have room. The memory here stays until the event that is noted next; that on the device is
        // freed, if it is, in the order of the stream.
        unsafe {
            let memory = std::slice::from_raw_parts_mut(self.memory, len);
            result::memcpy_dtoh_async(memory, part.address(), stream.cu_stream()).w()?;
        }
        self.written = Some(end_of_copy(stream)?);
        Ok(())
    }

    /// Lets a stream copy its first elements to the device.
    ///
    /// # Errors
    /// When there are not so many, or the driver refuses.
    ///
    /// # Safety
    /// At `to` there is room for them on the stream's device, until the stream has copied them.
    #[allow(unsafe_code, reason = "the driver takes addresses")]
    pub(super) unsafe fn upload(&mut self, len: usize, to: u64, stream: &CudaStream) -> Result<()> {
        self.expect(len)?;
        self.wait_for_writes()?;
        stream.context().bind_to_thread().w()?;
        // SAFETY: the memory here stays, and stays as it is, until the event that is noted next; the other side is the
        // caller's promise.
        unsafe {
            let memory = std::slice::from_raw_parts(self.memory, len);
            result::memcpy_htod_async(to, memory, stream.cu_stream()).w()?;
        }
        self.read.push(end_of_copy(stream)?);
        Ok(())
    }

    fn expect(&self, len: usize) -> Result<()> {
        if len > self.len {
            candle_core::bail!("{len} elements for pinned memory, expected at most {}", self.len);
        }
        Ok(())
    }
}

impl<T> Pinned<T> {
    fn wait_for_writes(&mut self) -> Result<()> {
        if let Some(written) = &self.written {
            written.synchronize().w()?;
        }
        self.written = None;
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        self.wait_for_writes()?;
        self.read.iter().try_for_each(|read| read.synchronize().w())?;
        self.read.clear();
        Ok(())
    }
}

impl<T> Drop for Pinned<T> {
    #[allow(unsafe_code, reason = "the driver takes its memory back")]
    fn drop(&mut self) {
        // A device that is lost touches nothing any more.
        let _ = self.wait();
        // SAFETY: made by the driver, and nothing is on its way any more.
        let freed = self
            .context
            .bind_to_thread()
            .and_then(|()| unsafe { result::free_host(self.memory.cast::<c_void>()) });
        if let Err(error) = freed {
            tracing::debug!(reason = super::in_words(&error), "pinned memory is kept");
        }
    }
}

/// The point of a stream at which a copy that was queued just now is over. Where the driver cannot mark it, it is waited
/// for here.
fn end_of_copy(stream: &CudaStream) -> Result<CudaEvent> {
    stream
        .record_event(None)
        .inspect_err(|_| {
            // What fails here as well is a device that is lost: it touches nothing any more.
            let _ = stream.synchronize();
        })
        .w()
}

/// Elements that a thread copies at once: one thread is slower than the way to a GPU.
pub const COPIED_AT_ONCE: usize = 1 << 16;

fn copy_in_parallel<T: Copy + Send + Sync>(from: &[T], to: &mut [T]) {
    to.par_chunks_mut(COPIED_AT_ONCE)
        .zip(from.par_chunks(COPIED_AT_ONCE))
        .for_each(|(to, from)| to.copy_from_slice(from));
}
