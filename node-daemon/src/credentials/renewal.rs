//! Tells while there is still time that no next certificate comes.

use node_identity::UnixTime;
use tracing::{error, info};

use super::Credentials;
use crate::enrol::Enrolment;

/// Whether the next certificate comes in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It does, or there is no certificate to be renewed.
    InTime,
    /// Half of the certificate's life is over.
    Overdue,
}

impl Credentials {
    /// Whether half of the certificate's life is over and no other has come.
    pub(crate) fn renewal(&self) -> Renewal {
        self.renewal
    }

    pub(super) fn judge_renewal(&mut self, now: UnixTime) {
        let overdue = Enrolment::is_overdue(self.certificate.as_ref(), now);
        match (self.renewal, overdue) {
            (Renewal::InTime, true) => {
                let not_after = self.certificate.as_ref().map(|it| it.terms().not_after.0);
                error!(
                    not_after,
                    "Certificate is past half of its life and no other has come, at its end this node falls silent: does the controller run, and what does its log say of this node?"
                );
                self.renewal = Renewal::Overdue;
            }
            (Renewal::Overdue, false) => {
                info!("Certificate is renewed");
                self.renewal = Renewal::InTime;
            }
            (Renewal::InTime, false) | (Renewal::Overdue, true) => {}
        }
    }
}
