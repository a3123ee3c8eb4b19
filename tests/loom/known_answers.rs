//! An "absent" never outlives a revocation that came after its look began.

use crate::{
    known::Exact,
    term::Lease,
    world::{Said, World, bounded_model, model},
};

/// A look begins before the row is applied and stores its answer at any time: a check after the acknowledgement does
/// not take it.
#[test]
fn an_absent_does_not_outlive_a_row_that_was_applied_during_its_look() {
    model(|order| {
        let world = World::live(Lease::unlimited(), 0);
        order.run(&world, [look, World::commit_and_apply, World::check_what_is_acknowledged]);
        assert_eq!(world.check(|| 0), Said::Revoked, "and never later");
    });
}

/// Transactions that the node had applied are lost with a server: it loads a shorter history, in which the token is then
/// revoked under a number that the node has seen before. A look from before stores its answer at any time.
#[test]
fn an_absent_of_a_history_that_was_lost_does_not_count_in_the_next() {
    bounded_model(3, |order| {
        let world = World::live(Lease::unlimited(), 1);
        order.run(
            &world,
            [
                look,
                |world| {
                    world.published.stop();
                    world.load(0);
                    world.commit_and_apply();
                    world.raise_flag();
                },
                |world| {
                    if world.has_flag() {
                        assert_eq!(world.check(|| 0), Said::Revoked);
                    }
                },
            ],
        );
        assert_eq!(world.check(|| 0), Said::Revoked, "and never later");
    });
}

/// The row comes with the load itself, and the other history is as long as the one before. The check begins after the
/// node has stopped, so if it is answered, it is by what was loaded. Bounded, as above.
#[test]
fn an_absent_from_before_a_load_does_not_hide_what_the_load_brought() {
    bounded_model(3, |order| {
        let world = World::live(Lease::unlimited(), 1);
        world.published.stop();
        order.run(
            &world,
            [
                look,
                |world| {
                    world.commit(1);
                    world.load(1);
                },
                |world| assert_ne!(world.check(|| 0), Said::Active),
            ],
        );
        assert_eq!(world.check(|| 0), Said::Revoked, "and never later");
    });
}

/// Without this the others would be true of a store that forgets everything.
#[test]
fn an_absent_counts_while_nothing_came_later() {
    model(|_| {
        let world = World::live(Lease::unlimited(), 2);
        assert_eq!(world.look(), Exact::Absent);
        assert_eq!(world.known(), Some(Exact::Absent));
        world.load(2);
        assert_eq!(world.known(), None, "another history");
        assert_eq!(world.look(), Exact::Absent);
        assert_eq!(world.known(), Some(Exact::Absent));
    });
}

fn look(world: &World) {
    world.look();
}
