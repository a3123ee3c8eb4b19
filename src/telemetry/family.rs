//! How metrics are registered, and families: one handle per combination of label values, found by index.
//!
//! A handle is made once and kept, so that counting costs two atomic additions (the value, and the exporter's count
//! of changes) and neither a look-up nor an allocation. Only a histogram allocates, a block for every few dozen
//! samples.

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::Hash,
    marker::PhantomData,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use metrics::{Counter, Gauge, Histogram, Key, Label as Pair, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// One metric as the table in [`metrics`](super::metrics) writes it down.
#[derive(Clone)]
pub(super) struct Definition {
    pub(super) recorder: Arc<PrometheusRecorder>,
    pub(super) name: &'static str,
    pub(super) unit: Option<Unit>,
    pub(super) help: &'static str,
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Something that stands in a column of the table: a handle, or a family of them.
pub(super) trait Metric {
    /// Describes the metric to the exporter and registers what can be registered now.
    fn define(definition: Definition) -> Self;
}

/// A handle of one series.
pub(super) trait Handle: Sized {
    fn describe(definition: &Definition);
    fn register(definition: &Definition, labels: Vec<Pair>) -> Self;
}

impl<H: Handle> Metric for H {
    fn define(definition: Definition) -> Self {
        H::describe(&definition);
        H::register(&definition, Vec::new())
    }
}

macro_rules! handle {
    ($handle:ty, $describe:ident, $register:ident) => {
        impl Handle for $handle {
            fn describe(definition: &Definition) {
                definition.recorder.$describe(definition.name.into(), definition.unit, definition.help.into());
            }

            fn register(definition: &Definition, labels: Vec<Pair>) -> Self {
                definition.recorder.$register(&Key::from_parts(definition.name, labels), &METADATA)
            }
        }
    };
}

handle!(Counter, describe_counter, register_counter);
handle!(Gauge, describe_gauge, register_gauge);
handle!(Histogram, describe_histogram, register_histogram);

/// A gauge of whole things that cannot be fewer than none.
#[derive(Debug, Clone)]
pub struct CountGauge(Gauge);

impl CountGauge {
    /// Shows `count`; a negative one is shown as 0.
    pub fn set(&self, count: impl TryInto<u64>) {
        #[expect(clippy::cast_precision_loss, reason = "exact to 2^53; a sequence number does not get there")]
        self.0.set(count.try_into().unwrap_or(0) as f64);
    }

    /// One more.
    pub fn increment(&self) {
        self.0.increment(1.0);
    }

    /// One fewer.
    pub fn decrement(&self) {
        self.0.decrement(1.0);
    }
}

impl Handle for CountGauge {
    fn describe(definition: &Definition) {
        Gauge::describe(definition);
    }

    fn register(definition: &Definition, labels: Vec<Pair>) -> Self {
        Self(Gauge::register(definition, labels))
    }
}

/// A label with a closed list of values: an enum in [`metrics`](super::metrics).
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Its values.
    const ALL: &'static [Self];

    /// This value's place in [`ALL`](Self::ALL).
    fn index(self) -> usize;

    /// This value as it is shown.
    fn as_str(self) -> &'static str;
}

/// The label values of one series.
pub trait Labels: Copy + 'static {
    /// Every combination, in the order of [`index`](Self::index).
    fn all() -> Vec<Self>;

    /// This combination's place in [`all`](Self::all).
    fn index(self) -> usize;

    /// Whether the series is shown from the start, at 0, so that its first count is seen as a rise. Another one
    /// appears when it is first used.
    fn is_expected(self) -> bool {
        true
    }

    /// Names and values.
    fn pairs(self) -> Vec<Pair>;
}

/// The pair of a label's name and value.
pub(super) fn pair<L: Label>(label: L) -> Pair {
    Pair::from_static_parts(L::NAME, label.as_str())
}

impl<A: Label> Labels for A {
    fn all() -> Vec<Self> {
        A::ALL.to_vec()
    }

    fn index(self) -> usize {
        Label::index(self)
    }

    fn pairs(self) -> Vec<Pair> {
        vec![pair(self)]
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    fn all() -> Vec<Self> {
        A::ALL.iter().flat_map(|&a| B::ALL.iter().map(move |&b| (a, b))).collect()
    }

    fn index(self) -> usize {
        Label::index(self.0) * B::ALL.len() + Label::index(self.1)
    }

    fn pairs(self) -> Vec<Pair> {
        vec![pair(self.0), pair(self.1)]
    }
}

/// A metric with labels from closed lists: an array of handles.
#[derive(Debug)]
pub struct Family<H, L> {
    definition: Definition,
    handles: Box<[OnceLock<H>]>,
    labels: PhantomData<fn(L)>,
}

impl<H, L> Family<H, L> {
    /// The series with these labels.
    #[expect(private_bounds, reason = "the handles are those of the table; no caller adds one")]
    pub fn at(&self, labels: L) -> &H
    where
        H: Handle,
        L: Labels,
    {
        self.handles[labels.index()].get_or_init(|| H::register(&self.definition, labels.pairs()))
    }
}

impl<H: Handle, L: Labels> Metric for Family<H, L> {
    fn define(definition: Definition) -> Self {
        H::describe(&definition);
        let all = L::all();
        let family = Self { definition, handles: all.iter().map(|_| OnceLock::new()).collect(), labels: PhantomData };
        for labels in all.into_iter().filter(|labels| labels.is_expected()) {
            family.at(labels);
        }
        family
    }
}

/// A metric whose label values are known when they turn up; who uses it keeps the handles.
#[derive(Debug)]
pub struct Open<H> {
    definition: Definition,
    handle: PhantomData<fn() -> H>,
}

impl<H> Open<H> {
    pub(super) fn register(&self, labels: Vec<Pair>) -> H
    where
        H: Handle,
    {
        H::register(&self.definition, labels)
    }
}

impl<H: Handle> Metric for Open<H> {
    fn define(definition: Definition) -> Self {
        H::describe(&definition);
        Self { definition, handle: PhantomData }
    }
}

/// A map that grows a few times and is then only read. Readers take no lock; an insertion copies the map.
pub(super) struct Grown<K, V>(ArcSwap<HashMap<K, V>>);

impl<K, V> Default for Grown<K, V> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(HashMap::new()))
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Grown<K, V> {
    /// Uses the value at `key`, made first if there is none.
    ///
    /// Two threads may both make it: the values must be handles of the same series then, as registered ones are.
    pub(super) fn with<Q, T>(&self, key: &Q, make: impl FnOnce() -> (K, V), act: impl FnOnce(&V) -> T) -> T
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(value) = self.0.load().get(key) {
            return act(value);
        }
        let (key, value) = make();
        self.0.rcu(|map| {
            let mut map = HashMap::clone(map);
            map.insert(key.clone(), value.clone());
            map
        });
        act(&value)
    }
}
