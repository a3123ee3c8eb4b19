//! Running a model, and saying what it found.

use std::{collections::HashSet, fmt::Debug, fmt::Write as _, hash::Hash};

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

/// Two cores, which is what there is where this is run.
const THREADS: usize = 2;

/// What states and steps have to be.
pub trait Value: Clone + Debug + PartialEq + Send + Sync {}

impl<T: Clone + Debug + PartialEq + Send + Sync> Value for T {}

/// Explores all of a model: nothing may be found that must not be, and everything that must. Returns how many states that
/// were.
pub fn holds<M>(model: M) -> usize
where
    M: Model<State: Value, Action: Value> + Send + Sync + 'static,
    M::State: Hash,
{
    let checker = model.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found = checker.discoveries();
    for property in checker.model().properties() {
        let is_sight = matches!(property.expectation, Expectation::Sometimes);
        let path = found.get(property.name);
        assert!(is_sight || path.is_none(), "{}\n{}", property.name, path.map(told).unwrap_or_default());
        assert!(!is_sight || path.is_some(), "never seen: {}", property.name);
    }
    checker.unique_state_count()
}

/// Explores until a promise is broken; it must be.
pub fn breaks<M>(promise: &str, model: M)
where
    M: Model<State: Value, Action: Value> + Send + Sync + 'static,
    M::State: Hash,
{
    let properties = model.properties();
    let name = properties.iter().map(|property| property.name).find(|name| name.starts_with(promise));
    let name = name.unwrap_or_else(|| unreachable!("{promise} is a promise of the model"));
    let enough = HasDiscoveries::AnyOf(HashSet::from([name]).into_iter().collect());
    let checker = model.checker().threads(THREADS).finish_when(enough).spawn_bfs().join();
    let states = checker.unique_state_count();
    assert!(checker.discovery(name).is_some(), "{promise} is not broken in {states} states");
}

/// The steps, and where they lead to.
fn told<S: Value, A: Value>(path: &Path<S, A>) -> String {
    let mut told = String::new();
    for (state, action) in path.clone().into_vec() {
        let _ = match action {
            Some(action) => write!(told, "{action:?} "),
            None => writeln!(told, "\n{state:#?}"),
        };
    }
    told
}

/// Says something beside the results of tests.
pub fn say(line: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{line}\n"));
}
