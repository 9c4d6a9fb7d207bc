//! Long curves with fewer points: who looks at a screen sees no more than its width.

/// Leaves about `most` of the items: the first, the last, those that must stay, and of the others every so many.
pub(super) fn thin<T>(items: Vec<T>, most: usize, stays: impl Fn(&T) -> bool) -> Vec<T> {
    let (count, most) = (items.len(), most.max(2));
    if count <= most {
        return items;
    }
    let stride = count.div_ceil(most);
    let kept =
        |(index, item): &(usize, T)| index.is_multiple_of(stride) || *index + 1 == count || stays(item);
    items.into_iter().enumerate().filter(kept).map(|(_, item)| item).collect()
}

#[cfg(test)]
#[path = "thin_test.rs"]
mod tests;
