//! Filter bits → `touched` → `applied` → `valid_until`; a check reads the lease, then the filter.

use crate::{
    term::Lease,
    world::{GENERATION, Said, TOKEN, World, at, bounded_model, cursor, model},
};

const ANOTHER: u128 = 0xa_0001;
const A_THIRD: u128 = 0xa_0002;

/// Whoever has seen `applied`, and be it another thread that acknowledges, has the bits before its eyes.
#[test]
fn what_was_acknowledged_is_denied() {
    model(|order| {
        let world = World::live(Lease::unlimited(), 0);
        order.run(&world, [World::commit_and_apply, World::check_what_is_acknowledged]);
    });
}

/// The floor is a number beside the filter, under the same rule.
#[test]
fn a_floor_that_was_acknowledged_denies() {
    model(|order| {
        let world = World::live(Lease::unlimited(), 0);
        order.run(&world, [|world| world.raise_floor(1, GENERATION.0 + 1), World::check_what_is_acknowledged]);
    });
}

/// One thread applies, another renews once that is applied, a third checks: a lease that the check finds valid speaks
/// of the row.
#[test]
fn a_check_that_finds_the_renewed_lease_valid_sees_what_the_renewal_brought() {
    model(|order| {
        let world = World::live(Lease::none(), 0);
        order.run(
            &world,
            [
                World::commit_and_apply,
                |world| world.published.extend(cursor(1), at(10)),
                |world| assert_ne!(world.check(|| 5), Said::Active),
            ],
        );
    });
}

/// The node is cut off; a revocation is answered when its lease is certainly over; then it renews, while a check runs
/// that began after the answer.
#[test]
fn after_the_hold_a_check_knows_the_row_or_knows_that_it_does_not_know() {
    model(|order| {
        let world = World::live(Lease::none(), 0);
        world.published.extend(cursor(0), at(10));
        world.set_clock(5);
        world.commit(1);
        order.run(
            &world,
            [
                |world| {
                    world.set_clock(20);
                    world.raise_flag();
                },
                |world| {
                    world.apply(1, TOKEN);
                    world.published.extend(cursor(1), at(30));
                },
                |world| {
                    if world.has_flag() {
                        assert_ne!(world.check(|| world.clock()), Said::Active);
                    }
                },
            ],
        );
    });
}

/// The third entry finds the delta full: a copy of the generation takes it in and both are swapped.
#[test]
fn a_merge_loses_nothing_from_sight() {
    model(|order| {
        let world = World::live(Lease::unlimited(), 0);
        world.commit(1);
        world.apply(1, TOKEN);
        world.apply(2, ANOTHER);
        order.run(&world, [|world| world.apply(3, A_THIRD), World::check_what_is_acknowledged]);
    });
}

/// A new generation is opened: the token is in the delta before, and in the previous generation after.
#[test]
fn a_rotation_loses_nothing_from_sight() {
    model(|order| {
        let world = World::live(Lease::unlimited(), 0);
        world.commit_and_apply();
        order.run(&world, [|world| assert!(world.rotate(), "one was due"), World::check_what_is_acknowledged]);
    });
}

/// What is applied while a larger filter is built is in the one that is swapped in.
#[test]
fn a_growth_loses_nothing_that_is_applied_meanwhile() {
    model(|order| {
        let world = World::live(Lease::unlimited(), 0);
        order.run(&world, [grow, World::commit_and_apply, World::check_what_is_acknowledged]);
        assert_eq!(world.check(|| 0), Said::Revoked);
    });
}

/// A check that overlaps the first load says that it does not know, or knows all that was loaded.
#[test]
fn a_first_load_shows_all_of_itself_or_nothing() {
    model(|order| {
        let world = World::cold(Lease::unlimited());
        world.commit(1);
        order.run(
            &world,
            [
                |world| world.load(1),
                |world| match world.check(|| 0) {
                    Said::Active => panic!("it has not seen what it speaks of"),
                    Said::Revoked => assert!(world.acknowledges(1), "it says as of when"),
                    Said::Unknown => {}
                },
            ],
        );
    });
}

/// Another load swaps the filter under a check that began before it. It knows what the node knew all along.
#[test]
fn another_load_hides_nothing_while_it_swaps() {
    model(|order| {
        let world = World::live(Lease::unlimited(), 0);
        world.commit_and_apply();
        order.run(
            &world,
            [
                |world| {
                    world.published.stop();
                    world.load(1);
                },
                |world| assert_ne!(world.check(|| 0), Said::Active),
            ],
        );
    });
}

/// A row is applied, or is not because a load is under way; either way it is never both acknowledged and unseen.
///
/// Bounded: two writers and a check have too many orders.
#[test]
fn a_load_and_an_applier_do_not_lose_a_row_between_them() {
    bounded_model(3, |order| {
        let world = World::live(Lease::unlimited(), 0);
        order.run(
            &world,
            [
                |world| {
                    world.published.stop();
                    world.load_all();
                },
                World::commit_and_apply,
                |world| {
                    if world.acknowledges(1) {
                        assert_ne!(world.check(|| 0), Said::Active);
                    }
                },
            ],
        );
        assert_eq!(world.check(|| 0) == Said::Revoked, world.acknowledges(1));
    });
}

fn grow(world: &World) {
    world.rebuild();
}
