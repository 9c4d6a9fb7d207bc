//! Downsampling of long curves, because a screen shows no more points than its width. Points are dropped while they
//! are read, so that memory does not grow with the length of a curve.

use lookbehind_proto::json::StepJson;

/// Outer steps at a regular stride, and separately those with a result on the test split.
pub(super) struct Downsampled {
    all: Downsampler<StepJson>,
    tested: Downsampler<StepJson>,
}

impl Downsampled {
    /// Keeps at most about twice `most` of each.
    pub(super) fn new(most: usize) -> Self {
        Self { all: Downsampler::new(most), tested: Downsampler::new(most) }
    }

    /// Adds the next outer step.
    pub(super) fn push(&mut self, step: StepJson) {
        if step.test.is_some() {
            self.tested.push(step.clone());
        }
        self.all.push(step);
    }

    /// Whether no outer step has been added.
    pub(super) fn is_empty(&self) -> bool {
        self.all.last.is_none()
    }

    /// Number of the newest outer step; 0 if there is none.
    pub(super) fn newest(&self) -> u64 {
        self.all.last.as_ref().map_or(0, |step| step.outer_step)
    }

    /// The remaining outer steps in order.
    pub(super) fn into_steps(self) -> Vec<StepJson> {
        let mut steps = self.all.into_items();
        steps.extend(self.tested.into_items());
        steps.sort_by_key(|step| step.outer_step);
        steps.dedup_by_key(|step| step.outer_step);
        steps
    }
}

/// Every n-th item of a sequence, including the first and the last. The stride n doubles when too many items are kept.
struct Downsampler<T> {
    most: usize,
    stride: usize,
    seen: usize,
    kept: Vec<T>,
    last: Option<T>,
}

impl<T: Clone> Downsampler<T> {
    fn new(most: usize) -> Self {
        Self { most: most.max(2), stride: 1, seen: 0, kept: Vec::new(), last: None }
    }

    fn push(&mut self, item: T) {
        if self.seen.is_multiple_of(self.stride) {
            self.kept.push(item.clone());
        }
        self.seen += 1;
        self.last = Some(item);
        if self.kept.len() > 2 * self.most {
            self.stride *= 2;
            let mut index = 0;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    fn into_items(mut self) -> Vec<T> {
        let kept_last = self.seen > 0 && (self.seen - 1).is_multiple_of(self.stride);
        self.kept.extend(self.last.filter(|_| !kept_last));
        self.kept
    }
}

#[cfg(test)]
mod tests;
