//! A strict reader of the Prometheus text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::collections::{BTreeMap, BTreeSet};

/// What was exposed: values by series, with the labels in alphabetical order.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    values: BTreeMap<String, f64>,
    /// Kinds by family.
    kinds: BTreeMap<String, String>,
}

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Exposition {
    pub(super) fn value(&self, series: &str) -> Option<f64> {
        self.values.get(series).copied()
    }

    /// Reads all lines, or says which is wrong and why.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        let mut found = Self::default();
        let mut helped = BTreeSet::new();
        let mut samples: Vec<Sample> = Vec::new();
        // The family whose lines are being read; no line of it may come later.
        let mut family = String::new();
        for (number, line) in text.lines().enumerate() {
            found
                .line(line, &mut family, &mut helped, &mut samples)
                .map_err(|why| format!("line {}: {why}: {line}", number + 1))?;
        }
        for (name, kind) in &found.kinds {
            let of = |sample: &&Sample| family_of(&sample.name, name, kind);
            let mine: Vec<_> = samples.iter().filter(of).collect();
            if kind == "histogram" {
                histogram(name, &mine)?;
            }
            if kind == "counter" && (!name.ends_with("_total") || mine.iter().any(|sample| sample.value < 0.0)) {
                return Err(format!("{name} is not a counter"));
            }
            if !helped.contains(name) {
                return Err(format!("{name} has no help"));
            }
        }
        Ok(found)
    }

    fn line(
        &mut self,
        line: &str,
        family: &mut String,
        helped: &mut BTreeSet<String>,
        samples: &mut Vec<Sample>,
    ) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or("no help")?;
            if !is_name(name, true) || help.trim().is_empty() || self.kinds.contains_key(name) {
                return Err("not a help line of its own".to_owned());
            }
            return if helped.insert(name.to_owned()) { Ok(()) } else { Err("helped twice".to_owned()) };
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("no type")?;
            if !is_name(name, true) || !["counter", "gauge", "histogram"].contains(&kind) {
                return Err("not a type".to_owned());
            }
            name.clone_into(family);
            let is_new = self.kinds.insert(name.to_owned(), kind.to_owned()).is_none();
            return if is_new { Ok(()) } else { Err("typed twice".to_owned()) };
        }
        let sample = Sample::parse(line)?;
        let kind = self.kinds.get(family.as_str()).ok_or("a sample before its type")?;
        if !family_of(&sample.name, family, kind) {
            return Err(format!("a sample among those of {family}"));
        }
        if self.values.insert(sample.series(), sample.value).is_some() {
            return Err("a series twice".to_owned());
        }
        samples.push(sample);
        Ok(())
    }
}

fn family_of(sample: &str, family: &str, kind: &str) -> bool {
    match sample.strip_prefix(family) {
        Some("") => kind != "histogram",
        Some("_bucket" | "_sum" | "_count") => kind == "histogram",
        _ => false,
    }
}

/// The buckets of each series rise, the last one is `+Inf` and equals the count, and there is a sum.
fn histogram(name: &str, samples: &[&Sample]) -> Result<(), String> {
    let mut series: BTreeMap<String, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        let others = sample.labels.iter().filter(|(label, _)| *label != "le");
        series.entry(format!("{:?}", others.collect::<Vec<_>>())).or_default().push(sample);
    }
    for samples in series.values() {
        let named = |suffix: &str| {
            let name = format!("{name}{suffix}");
            samples.iter().filter(move |sample| sample.name == name).collect::<Vec<_>>()
        };
        let (buckets, sums, counts) = (named("_bucket"), named("_sum"), named("_count"));
        let ([_], [count]) = (sums.as_slice(), counts.as_slice()) else {
            return Err(format!("{name} has no single sum and count"));
        };
        let (mut bound, mut below) = (f64::NEG_INFINITY, 0.0);
        for bucket in &buckets {
            let le = bucket.labels.get("le").and_then(|le| number(le)).ok_or_else(|| format!("{name}: no le"))?;
            if le <= bound || bucket.value < below {
                return Err(format!("{name}: bucket {le} does not rise"));
            }
            (bound, below) = (le, bucket.value);
        }
        #[expect(clippy::float_cmp, reason = "both count the same")]
        let is_whole = bound == f64::INFINITY && below == count.value;
        if !is_whole {
            return Err(format!("{name}: the last bucket is not all"));
        }
    }
    Ok(())
}

impl Sample {
    fn parse(line: &str) -> Result<Self, String> {
        let name_end = line.find(['{', ' ']).ok_or("no value")?;
        let (name, mut rest) = line.split_at(name_end);
        if !is_name(name, true) {
            return Err("not a name".to_owned());
        }
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                let (label, after) = rest.split_once("=\"").ok_or("not a label")?;
                let (value, after) = quoted(after)?;
                if !is_name(label, false) || labels.insert(label.to_owned(), value).is_some() {
                    return Err(format!("not a label of its own: {label}"));
                }
                if let Some(after) = after.strip_prefix('}') {
                    rest = after;
                    break;
                }
                rest = after.strip_prefix(',').ok_or("no comma")?;
            }
        }
        let value = rest.strip_prefix(' ').and_then(number).ok_or("not one value after one space")?;
        Ok(Self { name: name.to_owned(), labels, value })
    }

    fn series(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
        if labels.is_empty() { self.name.clone() } else { format!("{}{{{}}}", self.name, labels.join(",")) }
    }
}

/// A label's value up to its closing quote, and what comes after.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('\\' | '"'))) => value.push(c),
                _ => return Err("not an escape".to_owned()),
            },
            c => value.push(c),
        }
    }
    Err("no closing quote".to_owned())
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => text.parse().ok(),
        _ => None,
    }
}

fn is_name(name: &str, has_colons: bool) -> bool {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_' || (has_colons && c == ':');
    name.starts_with(is_start) && name.chars().all(|c| is_start(c) || c.is_ascii_digit())
}

#[test]
fn the_reader_refuses_what_is_not_in_the_format() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"c\\\"d\"} 1\na_total 2\n\n\
                # HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
    let read = Exposition::parse(good).unwrap();
    assert_eq!((read.value("a_total"), read.value("h_count")), (Some(2.0), Some(2.0)));
    for (from, to) in [
        ("h_count 2\n", "h_count 2"),
        ("h_count 2", "h_count 3"),
        ("h_sum 3\n", ""),
        ("le=\"+Inf\"", "le=\"2\""),
        ("} 1\nh", "} 3\nh"),
        ("a_total 2", "a_total two"),
        ("a_total 2", "a_total  2"),
        ("a_total 2", "a_total 2\na_total 2"),
        ("a_total 2", "b_total 2"),
        ("a_total 2", "a-total 2"),
        ("a_total 2", "a_total -2"),
        ("# HELP h H.\n", ""),
        ("# HELP h H.\n", "# HELP a_total Again.\n"),
        ("# TYPE h histogram", "# TYPE h thing"),
        ("# TYPE h histogram", "# TYPE a_total counter"),
        ("b=\"c\\\"d\"", "b=\"c\"d\""),
        ("b=\"c\\\"d\"", "b=c"),
        ("b=\"c\\\"d\"", "b=\"c\",b=\"d\""),
        ("a_total{", "h_sum{"),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(Exposition::parse(&good.replacen(from, to, 1)).is_err(), "{from} → {to}");
    }
}
