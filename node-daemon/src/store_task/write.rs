//! Writing: what the control task wants most lately of each kind, however often it said so.
//!
//! While the store is away the control task repeats itself. Once it is back, each thing is written
//! once, not once for each time it was asked for.

use std::collections::VecDeque;

use cluster_store::{ClusterStore, EnrolmentRequest, RequestId, RequestState, StoreError};
use node_identity::SpiffeId;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep_until};

use super::trouble::Trouble;
use super::{StoreCommand, StoreNews};
use crate::enrol::Ask;

/// Requests to be taken away that are remembered; there is one at a time.
const MOST_WITHDRAWALS: usize = 4;

/// Writes until nobody listens any more. A failure delays what is written next and nothing else.
pub(super) async fn write<S: ClusterStore>(
    store: &S,
    own: &SpiffeId,
    commands: &mut Receiver<StoreCommand>,
    news: &Sender<StoreNews>,
) {
    let mut wanted = Wanted::default();
    let mut submitted = None;
    let mut trouble = Trouble::of("write");
    let mut not_before = Instant::now();
    loop {
        let command = tokio::select! {
            command = commands.recv() => {
                let Some(command) = command else { return };
                wanted.add(command);
                continue;
            }
            command = next(&mut wanted, not_before) => command,
        };
        let told = match carry_out(store, own, command, &mut submitted).await {
            Ok(None) => {
                trouble.ends();
                continue;
            }
            Ok(Some(answer)) => {
                trouble.ends();
                answer
            }
            Err(error) => {
                not_before = Instant::now() + trouble.begins(&error);
                StoreNews::Failed
            }
        };
        if news.send(told).await.is_err() {
            return;
        }
    }
}

/// The next command once it may be carried out; waits for ever without one.
async fn next(wanted: &mut Wanted, not_before: Instant) -> StoreCommand {
    if wanted.is_empty() {
        return std::future::pending().await;
    }
    sleep_until(not_before).await;
    match wanted.take() {
        Some(command) => command,
        None => std::future::pending().await,
    }
}

/// What is still to be written.
#[derive(Debug, Default)]
struct Wanted {
    ask: Option<Ask>,
    withdrawals: VecDeque<RequestId>,
    publish: Option<Vec<Vec<u8>>>,
    published_last: bool,
}

impl Wanted {
    fn add(&mut self, command: StoreCommand) {
        match command {
            StoreCommand::Ask(Ask::Withdraw(id)) => {
                // What is given up is not asked about.
                self.ask = None;
                self.withdrawals.push_back(id);
                self.withdrawals.truncate(MOST_WITHDRAWALS);
            }
            StoreCommand::Ask(ask) => self.ask = Some(ask),
            StoreCommand::Publish(envelopes) => self.publish = Some(envelopes),
        }
    }

    fn is_empty(&self) -> bool {
        self.ask.is_none() && self.withdrawals.is_empty() && self.publish.is_none()
    }

    /// Envelopes first: peers wait for them. But not always: where they cannot be published, they are
    /// wanted again each time.
    fn take(&mut self) -> Option<StoreCommand> {
        let is_turn_of_ask = self.published_last && self.ask.is_some();
        let publish = self.publish.take_if(|_| !is_turn_of_ask);
        self.published_last = publish.is_some();
        publish
            .map(StoreCommand::Publish)
            .or_else(|| self.ask.take().map(StoreCommand::Ask))
            .or_else(|| {
                let id = self.withdrawals.pop_front()?;
                Some(StoreCommand::Ask(Ask::Withdraw(id)))
            })
    }
}

/// A request that the store has, so that asking twice leaves it there once.
type Submitted = Option<(EnrolmentRequest, RequestId)>;

async fn carry_out<S: ClusterStore>(
    store: &S,
    own: &SpiffeId,
    command: StoreCommand,
    submitted: &mut Submitted,
) -> Result<Option<StoreNews>, StoreError> {
    match command {
        StoreCommand::Ask(Ask::Submit(request)) => {
            let id = match submitted {
                Some((known, id)) if *known == request => *id,
                Some(_) | None => store.submit_request(&request).await?,
            };
            *submitted = Some((request.clone(), id));
            Ok(Some(StoreNews::Submitted(request, id)))
        }
        StoreCommand::Ask(Ask::State(id)) => {
            let state = store.request_state(&id).await?;
            if matches!(state, None | Some(RequestState::Refused)) {
                *submitted = None;
            }
            Ok(Some(StoreNews::State(id, state)))
        }
        StoreCommand::Ask(Ask::Withdraw(id)) => {
            *submitted = None;
            store.withdraw_request(&id).await.map(|()| None)
        }
        StoreCommand::Publish(envelopes) => {
            store.publish_envelopes(&own.uid, &envelopes).await?;
            Ok(Some(StoreNews::EnvelopesPublished(envelopes)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cp12_an_hour_of_wishes_without_a_store_is_one_of_each_kind_when_it_is_back() {
        let mut wanted = Wanted::default();
        let id = RequestId::from_bytes([1; 16]);

        for second in 0..3600_u16 {
            wanted.add(StoreCommand::Publish(vec![second.to_be_bytes().to_vec()]));
            wanted.add(StoreCommand::Ask(Ask::Withdraw(id)));
            wanted.add(StoreCommand::Ask(Ask::State(id)));
        }

        let newest = vec![3599_u16.to_be_bytes().to_vec()];
        assert!(matches!(wanted.take(), Some(StoreCommand::Publish(it)) if it == newest));
        assert!(matches!(
            wanted.take(),
            Some(StoreCommand::Ask(Ask::State(_)))
        ));
        for _ in 0..MOST_WITHDRAWALS {
            assert!(matches!(
                wanted.take(),
                Some(StoreCommand::Ask(Ask::Withdraw(_)))
            ));
        }
        assert!(wanted.is_empty() && wanted.take().is_none());
    }

    #[test]
    fn envelopes_that_cannot_be_published_keep_no_request_back() {
        let mut wanted = Wanted::default();
        let id = RequestId::from_bytes([1; 16]);
        let mut asked = 0;

        for _ in 0..10 {
            wanted.add(StoreCommand::Publish(vec![vec![1]]));
            wanted.add(StoreCommand::Ask(Ask::State(id)));
            asked += u32::from(matches!(wanted.take(), Some(StoreCommand::Ask(_))));
        }

        assert_eq!(asked, 5);
    }
}
