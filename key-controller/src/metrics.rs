//! The counts as Prometheus metrics (OpenMetrics text).

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::tally::Counts;

/// A metric's labels and value.
type Sample = (Vec<(&'static str, &'static str)>, u64);

/// Writes the counts.
///
/// # Errors
/// When a value cannot be written as text, which none of ours does.
pub(crate) fn render(counts: Counts) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("sotto_controller");
    registry.register_collector(Box::new(Snapshot(counts)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot(Counts);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counts = &self.0;
        encode_requests(&mut encoder, counts)?;
        let lone = |value| vec![(Vec::new(), value)];
        for (name, help, value) in [
            ("certificates_issued", "Certificates granted", counts.issued),
            ("nodes_revoked", "Nodes revoked", counts.revoked),
            (
                "steps_failed",
                "Looks at the store that were not finished",
                counts.failed_steps,
            ),
        ] {
            counter(&mut encoder, name, help, lone(value))?;
        }
        for (name, help, value) in [
            (
                "leader",
                "1 while this controller leads",
                u64::from(counts.leads),
            ),
            (
                "ledger_version",
                "Version of the ledger",
                counts.ledger_version,
            ),
            (
                "ledger_bytes",
                "Size of the ledger as it is stored",
                counts.ledger_bytes,
            ),
            ("ledger_nodes", "Nodes in the ledger", counts.ledger_nodes),
        ] {
            gauge(&mut encoder, name, help, lone(value))?;
        }
        let alarm = |name, value| (vec![("alarm", name)], value);
        let alarms = vec![
            alarm("ledger_old", u64::from(counts.ledger_old)),
            alarm("policies_missing", u64::from(counts.policies_missing)),
            alarm("revocations_held", counts.held),
        ];
        gauge(
            &mut encoder,
            "alarms",
            "Not 0 while a person is needed",
            alarms,
        )
    }
}

fn encode_requests(encoder: &mut DescriptorEncoder, counts: &Counts) -> fmt::Result {
    let sample = |outcome, reason, value| (vec![("outcome", outcome), ("reason", reason)], value);
    let mut samples = vec![
        sample("issued", "", counts.issued),
        sample("pending", "", counts.pending),
    ];
    let refused = counts.refused.iter();
    samples.extend(refused.map(|(reason, value)| sample("refused", *reason, *value)));
    counter(
        encoder,
        "requests",
        "Requests for a certificate by what became of them",
        samples,
    )
}

fn gauge(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    samples: Vec<Sample>,
) -> fmt::Result {
    let value = |value| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    encode(encoder, (name, help, MetricType::Gauge), samples, value)
}

fn counter(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    samples: Vec<Sample>,
) -> fmt::Result {
    encode(
        encoder,
        (name, help, MetricType::Counter),
        samples,
        ConstCounter::new,
    )
}

fn encode<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder,
    (name, help, kind): (&str, &str, MetricType),
    samples: Vec<Sample>,
    metric: impl Fn(u64) -> M,
) -> fmt::Result {
    let mut descriptor = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in samples {
        if labels.is_empty() {
            return metric(value).encode(descriptor);
        }
        metric(value).encode(descriptor.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_shown_by_reason_and_alarms_by_name() {
        let mut counts = Counts {
            issued: 3,
            held: 7,
            ..Counts::default()
        };
        counts.refused.insert("pod_gone", 2);

        let text = render(counts).unwrap();

        for line in [
            r#"sotto_controller_requests_total{outcome="refused",reason="pod_gone"} 2"#,
            r#"sotto_controller_certificates_issued_total 3"#,
            r#"sotto_controller_alarms{alarm="revocations_held"} 7"#,
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }
}
