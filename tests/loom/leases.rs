//! Ending a lease, and extending it.

use crate::{
    term::Lease,
    world::{Said, World, at, cursor, model},
};

#[test]
fn of_two_extensions_the_longer_one_stays() {
    model(|order| {
        let world = World::live(Lease::none(), 0);
        order.run(
            &world,
            [
                |world| world.published.lease.extend(at(10)),
                |world| {
                    world.published.lease.extend(at(20));
                    assert!(world.published.lease.is_valid(at(19)), "also while the other is under way");
                },
            ],
        );
        assert!(world.published.lease.is_valid(at(19)));
    });
}

/// An end and an extension: either is last, and nothing of the lease before stays.
#[test]
fn a_lease_that_was_ended_is_over_unless_it_was_extended_after() {
    model(|order| {
        let world = World::live(Lease::none(), 0);
        world.published.lease.extend(at(20));
        order.run(
            &world,
            [
                |world| world.published.lease.extend(at(10)),
                |world| {
                    world.published.lease.end();
                    assert!(!world.published.lease.is_valid(at(15)), "the lease before is over at once");
                },
            ],
        );
        assert!(!world.published.lease.is_valid(at(15)), "and an extension under way has not carried it over");
    });
}

/// A lease that never ends has no end that a race could give it.
#[test]
fn a_lease_without_end_stays_without() {
    model(|order| {
        let world = World::live(Lease::unlimited(), 0);
        order.run(
            &world,
            [
                |world| world.published.lease.end(),
                |world| {
                    world.published.lease.extend(at(10));
                    assert!(world.published.lease.is_unlimited());
                },
            ],
        );
        assert!(world.published.lease.is_unlimited());
    });
}

/// A node leaves: it stops, then its row goes, then nobody waits for it. A check that begins after that does not
/// answer, also if a renewal that was under way in another thread extends the lease afterwards.
#[test]
fn a_node_that_has_left_answers_nothing() {
    model(|order| {
        let world = World::live(Lease::none(), 0);
        world.published.extend(cursor(0), at(10));
        order.run(
            &world,
            [
                |world| {
                    world.published.stop();
                    world.raise_flag();
                },
                |world| world.published.extend(cursor(0), at(20)),
                |world| {
                    if world.has_flag() {
                        assert_eq!(world.check(|| 5), Said::Unknown);
                    }
                },
            ],
        );
        assert_eq!(world.check(|| 5), Said::Unknown);
    });
}
