//! Tests of the sequences of evaluations.

use super::*;
use crate::job::Minibatch;

const ASCENT: Ascent = Ascent { rho: 0.05, eta: None };
const HALF: Alpha = Alpha::Static(0.5);

/// One word per evaluation: batch, point, `a` for an ascent, `d` for a descent, `=` where the weights stay.
fn show(method: &Method, batches: u32) -> String {
    let program = Program::new(method, batches);
    let word = |index| {
        let role = program.role(index);
        let point = if role.at == Point::Fast { "f" } else { "p" };
        let uses = [(role.ascends, "a"), (role.descends, "d"), (!program.weights_changed(index), "=")];
        let uses: String = uses.iter().filter(|(used, _)| *used).map(|(_, letter)| *letter).collect();
        format!("{}{point}{uses}", role.batch)
    };
    (0..program.evaluations()).map(word).collect::<Vec<_>>().join(" ")
}

fn lookbehind(k: u32, gradients: InnerGradients) -> Method {
    Method::Lookbehind { ascent: ASCENT, k, alpha: HALF, gradients }
}

#[test]
fn sgd_descends_once() {
    assert_eq!(show(&Method::Sgd, 1), "0fd");
}

#[test]
fn sam_ascends_once_and_descends_once() {
    assert_eq!(show(&Method::Sam { ascent: ASCENT }, 1), "0fa 0pd");
}

#[test]
fn lookahead_descends_with_each_batch() {
    assert_eq!(show(&Method::Lookahead { k: 3, alpha: HALF }, 3), "0fd 1fd 2fd");
}

#[test]
fn lookahead_sam_ascends_from_the_fast_weights_with_each_batch() {
    let method = Method::LookaheadSam { ascent: ASCENT, k: 2, alpha: HALF };
    assert_eq!(show(&method, 2), "0fa 0pd 1fa 1pd");
}

#[test]
fn multistep_sam_descends_only_at_the_last_point() {
    let method = |minibatch| Method::MultistepSam { ascent: ASCENT, k: 3, minibatch };
    assert_eq!(show(&method(Minibatch::Same), 1), "0pa 0pa 0pa 0pd");
    assert_eq!(show(&method(Minibatch::Switch), 3), "0pa 1pa 2pa 2pd");
}

#[test]
fn lookbehind_uses_each_inner_gradient_twice() {
    assert_eq!(show(&lookbehind(1, InnerGradients::Reuse), 1), "0pa 0pd");
    assert_eq!(show(&lookbehind(3, InnerGradients::Reuse), 1), "0pa 0pad 0pad 0pd");
}

#[test]
fn lookbehind_reference_computes_inner_gradients_again_at_the_same_weights() {
    let same = lookbehind(3, InnerGradients::Reference(Minibatch::Same));
    assert_eq!(show(&same, 1), "0pa 0pd 0pa= 0pd 0pa= 0pd");
    let switch = lookbehind(3, InnerGradients::Reference(Minibatch::Switch));
    assert_eq!(show(&switch, 3), "0pa 0pd 1pa= 1pd 2pa= 2pd");
}

#[test]
fn an_outer_step_with_fewer_batches_has_fewer_inner_steps() {
    assert_eq!(show(&Method::Lookahead { k: 3, alpha: HALF }, 2), "0fd 1fd");
    assert_eq!(show(&Method::LookaheadSam { ascent: ASCENT, k: 3, alpha: HALF }, 1), "0fa 0pd");
    let switch = lookbehind(3, InnerGradients::Reference(Minibatch::Switch));
    assert_eq!(show(&switch, 2), "0pa 0pd 1pa= 1pd");
    let multistep = Method::MultistepSam { ascent: ASCENT, k: 3, minibatch: Minibatch::Switch };
    assert_eq!(show(&multistep, 1), "0pa 0pd");
}

#[test]
fn more_batches_than_inner_steps_are_not_used() {
    assert_eq!(show(&Method::Lookahead { k: 2, alpha: HALF }, 9), "0fd 1fd");
}

#[test]
fn methods_of_one_batch_ignore_how_many_there_are() {
    for batches in [0, 1, 5] {
        assert_eq!(show(&lookbehind(2, InnerGradients::Reuse), batches), "0pa 0pad 0pd");
    }
}

#[test]
fn the_last_evaluation_always_descends_and_only_the_last_is_last() {
    for method in [Method::Sgd, Method::Lookahead { k: 4, alpha: HALF }, lookbehind(4, InnerGradients::Reuse)]
    {
        let program = Program::new(&method, 4);
        let end = program.evaluations() - 1;
        assert!((0..end).all(|index| !program.is_last(index)));
        assert!(program.is_last(end) && program.role(end).descends && !program.role(end).ascends);
    }
}

#[test]
fn a_factor_of_one_is_no_interpolation() {
    let program = Program::new(&Method::Lookahead { k: 2, alpha: Alpha::Static(1.0) }, 2);
    assert_eq!(program.interpolation, None);
}
