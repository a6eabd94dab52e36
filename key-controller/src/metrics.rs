//! The counts as Prometheus metrics (OpenMetrics text).

use std::fmt;

use loopback_http::openmetrics::{self, Metrics, lone};

use crate::tally::Counts;

/// Writes the counts.
///
/// # Errors
/// When a value cannot be written as text, which none of ours does.
pub(crate) fn render(counts: Counts) -> Result<String, fmt::Error> {
    openmetrics::render("sotto_controller", move |metrics| {
        encode_requests(metrics, &counts)?;
        for (name, help, value) in [
            ("certificates_issued", "Certificates granted", counts.issued),
            ("nodes_revoked", "Nodes revoked", counts.revoked),
            (
                "steps_failed",
                "Looks at the store that were not finished",
                counts.failed_steps,
            ),
            (
                "nodes_unanswered",
                "Questions whether a node is gone that got no answer",
                counts.unknown_nodes,
            ),
            (
                "writes_refused",
                "Writes that one object refused, others being written",
                counts.refused_writes,
            ),
        ] {
            metrics.counter(name, help, lone(value))?;
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
            metrics.gauge(name, help, lone(value))?;
        }
        let alarm = |name, value| (vec![("alarm", name)], value);
        let alarms = vec![
            alarm("ledger_old", u64::from(counts.ledger_old)),
            alarm("policies_missing", u64::from(counts.policies_missing)),
            alarm("revocations_held", counts.held),
            alarm("nobody_leads", u64::from(counts.vacant)),
        ];
        metrics.gauge("alarms", "Not 0 while a person is needed", alarms)
    })
}

fn encode_requests(metrics: &mut Metrics<'_>, counts: &Counts) -> fmt::Result {
    let sample = |outcome, reason, value| (vec![("outcome", outcome), ("reason", reason)], value);
    let mut samples = vec![
        sample("issued", "", counts.issued),
        sample("pending", "", counts.pending),
    ];
    let refused = counts.refused.iter();
    samples.extend(refused.map(|(reason, value)| sample("refused", *reason, *value)));
    metrics.counter(
        "requests",
        "Requests for a certificate by what became of them",
        samples,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_shown_by_reason_and_alarms_by_name() {
        let mut counts = Counts {
            issued: 3,
            held: 7,
            vacant: true,
            ..Counts::default()
        };
        counts.refused.insert("pod_gone", 2);

        let text = render(counts).unwrap();

        for line in [
            r#"sotto_controller_requests_total{outcome="refused",reason="pod_gone"} 2"#,
            r#"sotto_controller_certificates_issued_total 3"#,
            r#"sotto_controller_alarms{alarm="revocations_held"} 7"#,
            r#"sotto_controller_alarms{alarm="nobody_leads"} 1"#,
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }
}
