//! Numbers as OpenMetrics text. Which there are is the program's.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// A metric's labels and value.
pub type Sample<'a> = (Vec<(&'static str, &'a str)>, u64);

/// The text, as far as it is written.
#[derive(Debug)]
pub struct Metrics<'a>(DescriptorEncoder<'a>);

/// The samples of a metric without labels.
#[must_use]
pub fn lone(value: u64) -> Vec<Sample<'static>> {
    vec![(Vec::new(), value)]
}

/// Writes what `write` does, each name with the prefix.
///
/// # Errors
/// When a value cannot be written as text, which none of ours does.
pub fn render<F>(prefix: &str, write: F) -> Result<String, fmt::Error>
where
    F: Fn(&mut Metrics<'_>) -> fmt::Result + Send + Sync + 'static,
{
    let mut registry = Registry::with_prefix(prefix);
    registry.register_collector(Box::new(Written(write)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Metrics<'_> {
    /// Writes what goes up and down.
    ///
    /// # Errors
    /// As [`render`].
    pub fn gauge(&mut self, name: &str, help: &str, samples: Vec<Sample<'_>>) -> fmt::Result {
        let value = |value| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        self.write((name, help, MetricType::Gauge), samples, value)
    }

    /// Writes what only goes up.
    ///
    /// # Errors
    /// As [`render`].
    pub fn counter(&mut self, name: &str, help: &str, samples: Vec<Sample<'_>>) -> fmt::Result {
        self.write(
            (name, help, MetricType::Counter),
            samples,
            ConstCounter::new,
        )
    }

    fn write<M: EncodeMetric>(
        &mut self,
        (name, help, kind): (&str, &str, MetricType),
        samples: Vec<Sample<'_>>,
        metric: impl Fn(u64) -> M,
    ) -> fmt::Result {
        let mut descriptor = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                return metric(value).encode(descriptor);
            }
            metric(value).encode(descriptor.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

struct Written<F>(F);

impl<F> fmt::Debug for Written<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").finish_non_exhaustive()
    }
}

impl<F> Collector for Written<F>
where
    F: Fn(&mut Metrics<'_>) -> fmt::Result + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Metrics(encoder))
    }
}
