//! Where live calls stay when their domain moves.

use callstore::domain::Placement;
use proptest::prelude::*;

#[test]
fn a_live_call_stays_in_its_group_when_its_domain_moves() {
    let placement = Placement::new(1000);
    assert_eq!(placement.place(1, 10), 10);
    assert_eq!(placement.place(1, 20), 10);
    assert_eq!(placement.place(2, 20), 20);
    assert!(placement.forget(1) && !placement.forget(1));
    assert_eq!(placement.place(1, 20), 20);
    placement.settle(1, 30);
    assert_eq!(placement.get(1), Some(30));
    assert_eq!(placement.len(), 2);
}

#[test]
fn a_call_in_use_is_never_forgotten_however_many_others_come() {
    let placement = Placement::new(3200);
    placement.place(0, 1);
    for other in 1..100_000 {
        placement.place(other, 2);
        if other % 500 == 0 {
            assert_eq!(placement.place(0, 2), 1, "after {other} others");
        }
    }
    assert!(placement.len() <= placement.capacity());
    assert_eq!(placement.get(1), None);
}

#[test]
fn calls_of_a_group_that_is_gone_are_placed_anew() {
    let placement = Placement::new(1000);
    for call in 0..100 {
        placement.place(call, u32::try_from(call % 2 + 1).unwrap());
    }
    placement.retain_groups(|group| group == 2);
    assert_eq!(placement.len(), 50);
    assert_eq!(placement.place(0, 3), 3);
    assert_eq!(placement.place(1, 3), 2);
    assert!(!placement.is_empty());
}

#[test]
fn threads_that_route_the_same_calls_agree() {
    let placement = Placement::new(100_000);
    let route = |wanted| {
        (0..10_000)
            .map(|call| placement.place(call, wanted))
            .collect::<Vec<_>>()
    };
    let (left, right) = std::thread::scope(|scope| {
        let left = scope.spawn(|| route(1));
        let right = scope.spawn(|| route(2));
        (left.join().unwrap(), right.join().unwrap())
    });
    assert_eq!(left, right);
}

proptest! {
    #[test]
    fn a_placement_never_outgrows_its_capacity_and_answers_as_it_was_told(
        capacity in 0_usize..300,
        calls in prop::collection::vec((0_u64..500, 1_u32..4), 0..1000),
    ) {
        let placement = Placement::new(capacity);
        for (call, wanted) in calls {
            let known = placement.get(call);
            let group = placement.place(call, wanted);
            prop_assert_eq!(group, known.unwrap_or(wanted));
            prop_assert_eq!(placement.get(call), Some(group));
            prop_assert!(placement.len() <= placement.capacity());
        }
    }
}
