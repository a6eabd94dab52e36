//! `sotto doctor` on a node: what its daemon says of itself.

use std::path::Path;

use anyhow::Result;
use node_status::NodeStatus;

use super::{Check, Outcome, answer};
use crate::daemon;
use crate::output::{Answer, Output};

/// Asks the daemon and judges what it says.
///
/// # Errors
/// When the answer cannot be printed; a daemon that cannot be asked is a failed check.
pub(crate) fn run(directory: &Path, output: Output) -> Result<Answer> {
    let status = match daemon::ask(directory) {
        Ok(status) => status,
        Err(error) => {
            let check = Check::new("the daemon answers", Outcome::Fail, &format!("{error:#}"));
            return answer(vec![check], output);
        }
    };
    let version = format!("version {}", status.daemon_version);
    let mut checks = vec![Check::new("the daemon answers", Outcome::Ok, &version)];
    checks.extend(judge(&status));
    answer(checks, output)
}

fn judge(status: &NodeStatus) -> Vec<Check> {
    let waits = format!(
        "it waits for {}: the daemon's log says why",
        status.waiting_for.join(", ")
    );
    let leaks = format!(
        "{} did: look at the daemon's log",
        status.guard.plaintext_leaks
    );
    let mut checks = vec![
        holds("the node is ready", status.is_ready(), &waits),
        holds(
            "the node has a certificate",
            status.certificate.is_some(),
            "the controller has not granted one: see its log",
        ),
        holds(
            "the guard stands",
            status.guard.stands,
            "it is broken: the daemon's log says why",
        ),
        holds(
            "no pod packet left in clear",
            status.guard.plaintext_leaks == 0,
            &leaks,
        ),
    ];
    let what = "every published node is believed";
    checks.push(match status.refused.as_slice() {
        [] => Check::new(what, Outcome::Ok, ""),
        [first, ..] => Check::new(
            what,
            Outcome::Warn,
            &format!(
                "{} are refused, the first is {}: {}",
                status.refused.len(),
                first.node,
                first.reason
            ),
        ),
    });
    checks
}

fn holds(what: &str, is_so: bool, otherwise: &str) -> Check {
    if is_so {
        Check::new(what, Outcome::Ok, "")
    } else {
        Check::new(what, Outcome::Fail, otherwise)
    }
}

#[cfg(test)]
mod tests {
    use node_status::NodeStatus;

    use super::{Outcome, judge, run};
    use crate::output::{Output, Verdict};

    #[test]
    fn a_node_that_is_not_well_fails_with_what_it_waits_for() {
        let mut status = NodeStatus {
            waiting_for: vec!["a certificate".to_owned()],
            ..NodeStatus::default()
        };
        status.guard.plaintext_leaks = 3;

        let checks = judge(&status);

        let found: Vec<&str> = checks
            .iter()
            .filter(|check| check.outcome == Outcome::Fail)
            .map(|check| check.found.as_str())
            .collect();
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].contains("waits for a certificate"), "{found:?}");
        assert!(found[3].contains("3 did"), "{found:?}");
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_a_failed_check() {
        let directory = tempfile::tempdir().unwrap();

        let answer = run(directory.path(), Output::Table).unwrap();

        assert_eq!(answer.verdict, Verdict::Wrong);
        assert!(answer.text.contains("the daemon is not running"));
    }
}
