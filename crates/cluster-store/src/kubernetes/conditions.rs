//! A node's conditions, as the API conventions want them: each is good when it is `True`, and says
//! since when it is what it is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use node_identity::UnixTime;
use node_status::{CertificateStatus, GuardStatus, NodeStatus, RootPin};

use super::roots::time;
use super::status::cut;

/// Longest message, in bytes (a guess of what people read).
const MAX_MESSAGE: usize = 1_024;

/// Status, reason and message.
type Finding = (&'static str, &'static str, String);

/// The conditions at `now`. Those of `before` that have not turned keep their time.
pub(super) fn conditions(
    status: &NodeStatus,
    before: &[Condition],
    now: UnixTime,
) -> Vec<Condition> {
    [
        ("Ready", ready(&status.waiting_for)),
        ("GuardStands", guard(&status.guard)),
        ("NoPlaintextLeaks", leaks(&status.guard)),
        (
            "CertificateValid",
            certificate(status.certificate.as_ref(), now),
        ),
        ("RootPin", pin(status.root_pin)),
    ]
    .into_iter()
    .map(|(kind, finding)| condition(kind, finding, before, now))
    .collect()
}

fn condition(
    kind: &str,
    (status, reason, message): Finding,
    before: &[Condition],
    now: UnixTime,
) -> Condition {
    let unchanged = before
        .iter()
        .find(|old| old.type_ == kind && old.status == status);
    let since = unchanged.map(|old| old.last_transition_time.clone());
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: cut(&message, MAX_MESSAGE),
        last_transition_time: since
            .or_else(|| time(now))
            .unwrap_or(Time(Timestamp::UNIX_EPOCH)),
        observed_generation: None,
    }
}

fn ready(waiting_for: &[String]) -> Finding {
    match waiting_for {
        [] => ("True", "Serving", "pods are served".to_owned()),
        all => ("False", "Waiting", format!("waits for {}", all.join(", "))),
    }
}

fn guard(guard: &GuardStatus) -> Finding {
    if guard.stands {
        let text = "the guard keeps clear packets in";
        ("True", "Stands", text.to_owned())
    } else {
        let text = "a part of the guard is missing";
        ("False", "Broken", text.to_owned())
    }
}

fn leaks(guard: &GuardStatus) -> Finding {
    match guard.plaintext_leaks {
        0 => {
            let text = "no clear pod packet was seen leaving";
            ("True", "NoneSeen", text.to_owned())
        }
        seen => {
            let text = format!("{seen} clear pod packets were seen leaving");
            ("False", "Seen", text)
        }
    }
}

fn certificate(certificate: Option<&CertificateStatus>, now: UnixTime) -> Finding {
    let Some(certificate) = certificate else {
        return ("False", "Missing", "there is no certificate yet".to_owned());
    };
    let end = UnixTime(certificate.not_after);
    let ends = time(end).map_or_else(|| "never".to_owned(), |end| end.0.to_string());
    let text = format!("serial {}, ends {ends}", certificate.serial);
    if end <= now {
        ("False", "Expired", text)
    } else if certificate.renewal_overdue {
        ("True", "RenewalOverdue", text)
    } else {
        ("True", "Valid", text)
    }
}

fn pin(pin: RootPin) -> Finding {
    match pin {
        RootPin::Given => ("True", "Pinned", "an operator gave the pin".to_owned()),
        RootPin::FirstUse => {
            let text = "the first root that was seen is trusted";
            ("True", "TOFU", text.to_owned())
        }
        RootPin::Absent => ("False", "Absent", "no root is trusted yet".to_owned()),
    }
}
