//! Tests of the traversal of blocks.

use super::*;
use crate::job::Group;
use crate::layout::{TensorKind, TensorSpec};

fn layout(shapes: &[usize]) -> Layout {
    let tensor = |(index, &len): (usize, &usize)| TensorSpec {
        name: if index % 2 == 0 { format!("layers.{index}.weight") } else { format!("layers.{index}.bias") },
        shape: vec![len],
        kind: TensorKind::Parameter,
    };
    Layout::new(shapes.iter().enumerate().map(tensor)).expect("a valid layout")
}

#[test]
fn blocks_cover_the_parameters_in_order_and_none_spans_two_tensors() {
    let layout = layout(&[1, BLOCK, BLOCK + 1, 3 * BLOCK - 1]);
    let (blocks, kinds) = blocks_of(&layout, &Groups::default());
    let mut next = 0;
    for block in &blocks {
        assert_eq!(block.start, next);
        assert!((1..=BLOCK).contains(&block.len));
        let entry = layout.parameter_entries().nth(block.tensor).expect("a tensor");
        assert!(entry.range.contains(&block.start));
        assert!(block.start + block.len <= entry.range.end);
        assert_eq!(block.scaled, entry.spec.name.contains("weight"));
        next += block.len;
    }
    assert_eq!(next, layout.parameters());
    assert_eq!(blocks.iter().map(|block| block.tensor).collect::<Vec<_>>(), [0, 1, 2, 2, 3, 3, 3]);
    assert!(blocks.iter().all(|block| block.ascends && block.kind == Some(0)) && kinds.len() == 1);
}

#[test]
fn tensors_that_are_trained_alike_are_of_one_kind() {
    let pattern = |pattern: &str| vec![pattern.to_owned()];
    let list = vec![
        Group { tensors: pattern("*.bias"), weight_decay: Some(0.0), ..Group::default() },
        Group { tensors: pattern("*.2.*"), frozen: Some(true), ..Group::default() },
    ];
    let groups = Groups { list, ..Groups::default() };
    let (blocks, kinds) = blocks_of(&layout(&[1, 1, BLOCK + 1, 1, 1]), &groups);
    let found = blocks.iter().map(|block| (block.kind, block.ascends)).collect::<Vec<_>>();
    let (weight, bias, frozen) = ((Some(0), true), (Some(1), true), (None, false));
    assert_eq!(found, [weight, bias, frozen, frozen, bias, weight]);
    assert_eq!(kinds.iter().map(|kind| kind.weight_decay).collect::<Vec<_>>(), [None, Some(0.0)]);
}

#[test]
fn every_block_gets_its_own_part_and_results_come_in_the_order_of_blocks() {
    let layout = layout(&[7, 3 * GRAIN + 5, 1, 2, GRAIN, 9]);
    let (blocks, _) = blocks_of(&layout, &Groups::default());
    let values: Vec<f32> = (0..layout.parameters()).map(|i| i as f32).collect();
    let starts = for_each_block(&blocks, &values[..], &|block, part: &[f32]| {
        assert_eq!(part.len(), block.len);
        part[0] as usize
    });
    assert_eq!(starts, blocks.iter().map(|block| block.start).collect::<Vec<_>>());
}

#[test]
fn a_target_is_written_from_its_source_and_leaves_it_alone() {
    let source = Arc::new(FlatBuffer::from(vec![1.0, 2.0]));
    let mut values = FlatBuffer::from(vec![9.0, 9.0]);
    for weight in Target::new(Some(&source), &mut values).load() {
        *weight += 1.0;
    }
    assert_eq!((&values[..], &source[..]), (&[2.0, 3.0][..], &[1.0, 2.0][..]));
    for weight in Target::new(None, &mut values).load() {
        *weight += 1.0;
    }
    assert_eq!(values[..], [3.0, 4.0]);
}
