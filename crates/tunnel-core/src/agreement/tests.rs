mod hostile;

use std::collections::BTreeSet;

use chacha20::ChaCha12Rng;
use chacha20::rand_core::{Rng, SeedableRng};

use super::*;
use crate::plane::{Role, Suite};

/// Alice has the lower key, so her offers win over Bob's when they cross.
const ALICE: usize = 0;
const BOB: usize = 1;

struct Side {
    agreement: Agreement,
    names: TransportNames,
    rng: ChaCha12Rng,
    /// Every receiving key ever installed, with its base.
    installed: Vec<(IndexBase, Vec<u8>)>,
    initiations: usize,
    gave_up: usize,
    messages: VecDeque<Collected>,
}

/// Two agreements whose sessions always work; what they say waits until a test delivers it.
struct Two {
    sides: [Side; 2],
    now: Moment,
}

fn ends(own: u8, peer: u8) -> Ends {
    Ends {
        own_statement: [own; 32],
        peer_statement: [peer; 32],
        own_key: [own; 32],
        peer_key: [peer; 32],
        own_lanes: 2,
        peer_lanes: 2,
        suites: [Suite::ChaCha20Poly1305].into(),
    }
}

fn side(own: u8, peer: u8) -> Side {
    Side {
        agreement: Agreement::new(ends(own, peer)),
        names: TransportNames::default(),
        rng: ChaCha12Rng::seed_from_u64(own.into()),
        installed: Vec::new(),
        initiations: 0,
        gave_up: 0,
        messages: VecDeque::new(),
    }
}

impl Side {
    fn context(&mut self, now: Moment) -> (&mut Agreement, Context<'_>) {
        let context = Context {
            now,
            rng: &mut self.rng,
            names: &mut self.names,
        };
        (&mut self.agreement, context)
    }

    fn run(&mut self, now: Moment) {
        while let Some(step) = self.agreement.poll_step() {
            match step {
                Step::Initiate | Step::InitiateOnce => {
                    self.initiations += 1;
                    let (agreement, mut context) = self.context(now);
                    agreement.handle_session_complete(&mut context);
                }
                Step::Send(message) => self.messages.push_back(message),
                Step::Install(it) => {
                    let keys = it.keys.iter().map(|key| (it.base, key.1.to_vec()));
                    self.installed.extend(keys);
                }
                Step::GaveUp => self.gave_up += 1,
                Step::Abandon | Step::Confirmed | Step::Forget(_) => {}
            }
        }
    }

    fn handle(&mut self, message: &Collected, pair: PairIs, now: Moment) {
        let (agreement, mut context) = self.context(now);
        agreement.handle_message(message, pair, &mut context);
        self.run(now);
    }

    fn send_keys(&self) -> BTreeSet<Vec<u8>> {
        let held = self.agreement.held().iter();
        let confirmed = held.filter(|it| it.is_confirmed());
        let keys = confirmed.flat_map(|it| it.send.iter().flatten());
        keys.map(|it| it.1.to_vec()).collect()
    }

    fn receive_keys(&self) -> BTreeSet<Vec<u8>> {
        self.installed.iter().map(|it| it.1.clone()).collect()
    }
}

impl Two {
    fn new() -> Self {
        Self {
            sides: [side(1, 2), side(2, 1)],
            now: Moment::since_boot(Duration::from_secs(500)),
        }
    }

    fn want(&mut self, who: usize) {
        self.sides[who].agreement.handle_want(self.now);
        self.sides[who].run(self.now);
    }

    fn say(&mut self, from: usize) -> Collected {
        self.sides[from].messages.pop_front().unwrap()
    }

    fn hear(&mut self, at: usize, message: &Collected) {
        self.sides[at].handle(message, PairIs::Allowed, self.now);
    }

    /// Delivers everything until nobody says anything more.
    fn settle(&mut self) {
        loop {
            let Some(from) = (0..2).find(|it| !self.sides[*it].messages.is_empty()) else {
                return;
            };
            let message = self.say(from);
            self.hear(1 - from, &message);
        }
    }

    fn advance(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            for side in &mut self.sides {
                let (agreement, mut context) = side.context(self.now);
                agreement.handle_timeout(Initiation::None, &mut context);
                side.run(self.now);
            }
        }
    }

    fn confirmed(&self, who: usize) -> usize {
        let held = self.sides[who].agreement.held().iter();
        held.filter(|it| it.is_confirmed()).count()
    }
}

#[test]
fn offer_accept_and_confirm_give_both_ends_equal_keys() {
    let mut two = Two::new();

    two.want(ALICE);
    two.settle();

    let [alice, bob] = &two.sides;
    assert_eq!(alice.send_keys(), bob.receive_keys());
    assert_eq!(bob.send_keys(), alice.receive_keys());
    assert_eq!(alice.send_keys().len(), 2, "a key per lane");
    assert_eq!((two.confirmed(ALICE), two.confirmed(BOB)), (1, 1));
}

#[test]
fn p02_repeated_and_reordered_messages_install_each_transcript_once() {
    let mut two = Two::new();
    two.want(ALICE);
    let offer = two.say(ALICE);

    let mut accepts = Vec::new();
    for _ in 0..100 {
        two.hear(BOB, &offer);
        accepts.push(two.say(BOB));
    }
    let mut confirms = Vec::new();
    for accept in accepts.iter().rev() {
        two.hear(ALICE, accept);
        confirms.push(two.say(ALICE));
        two.hear(BOB, &offer);
    }
    for confirm in &confirms {
        two.hear(BOB, confirm);
        two.hear(BOB, &offer);
    }

    for side in &two.sides {
        assert_eq!(side.installed.len(), 2, "two lanes, once");
    }
    assert!(accepts.windows(2).all(|it| it[0] == it[1]), "same bytes");
    assert!(confirms.windows(2).all(|it| it[0] == it[1]), "same bytes");
    assert_eq!(two.sides[ALICE].send_keys(), two.sides[BOB].receive_keys());
}

#[test]
fn p02_send_keys_leave_once() {
    let mut two = Two::new();
    two.want(ALICE);
    two.settle();
    let id = two.sides[ALICE].agreement.held()[0].id;

    let agreement = &mut two.sides[ALICE].agreement;

    assert!(agreement.take_send_keys(id).is_some());
    assert!(agreement.take_send_keys(id).is_none());
}

#[test]
fn p02_a_second_accept_of_one_offer_is_ignored() {
    let mut two = Two::new();
    two.want(ALICE);
    let offer = two.say(ALICE);
    two.hear(BOB, &offer);
    let first = two.say(BOB);
    let mut other_bob = side(2, 1);
    other_bob.rng = ChaCha12Rng::seed_from_u64(77);
    other_bob.handle(&offer, PairIs::Allowed, two.now);
    let second = other_bob.messages.pop_front().unwrap();
    assert_ne!(first, second);

    two.hear(ALICE, &first);
    two.hear(ALICE, &second);

    assert_eq!(two.sides[ALICE].installed.len(), 2);
    assert_eq!(two.sides[ALICE].messages.len(), 1, "one confirmation");
}

#[test]
fn crossed_offers_end_in_one_transport() {
    let mut two = Two::new();

    two.want(ALICE);
    two.want(BOB);
    two.settle();
    two.advance(100);
    two.settle();

    assert_eq!((two.confirmed(ALICE), two.confirmed(BOB)), (1, 1));
    assert_eq!(two.sides[ALICE].agreement.held()[0].role(), Role::Offerer);
    assert_eq!(two.sides[ALICE].send_keys(), two.sides[BOB].receive_keys());
}

#[test]
fn an_offer_while_shaking_drops_the_own_wish() {
    let mut two = Two::new();
    two.want(ALICE);
    let offer = two.say(ALICE);
    let now = two.now;
    two.sides[BOB].agreement.handle_want(now);
    assert!(matches!(
        two.sides[BOB].agreement.poll_step(),
        Some(Step::Initiate)
    ));

    two.hear(BOB, &offer);
    let (agreement, mut context) = two.sides[BOB].context(now);
    agreement.handle_session_complete(&mut context);
    two.sides[BOB].run(now);

    let kinds: Vec<_> = two.sides[BOB].messages.iter().map(|it| it.kind).collect();
    assert_eq!(
        kinds,
        [MessageKind::KeyAccept],
        "a late session offers nothing"
    );
}

#[test]
fn a_lost_confirmation_is_made_good_by_the_accepters_repeats() {
    let mut two = Two::new();
    two.want(ALICE);
    let offer = two.say(ALICE);
    two.hear(BOB, &offer);
    let accept = two.say(BOB);
    two.hear(ALICE, &accept);
    two.say(ALICE);
    assert_eq!(two.confirmed(BOB), 0);

    two.advance(1);
    two.settle();

    assert_eq!(two.confirmed(BOB), 1);
}

#[test]
fn an_accept_is_repeated_for_ten_seconds_then_rests_then_is_forgotten() {
    let mut two = Two::new();
    two.want(ALICE);
    let offer = two.say(ALICE);
    two.hear(BOB, &offer);
    two.sides[BOB].messages.clear();

    let mut repeats = Vec::new();
    for second in 1..=88 {
        two.advance(1);
        let said = two.sides[BOB].messages.drain(..).count();
        repeats.extend((said > 0).then_some(second));
        two.sides[ALICE].messages.clear();
    }
    assert_eq!(repeats, [1, 2, 3, 4, 5, 6, 7, 8, 9]);

    two.want(BOB);
    assert_eq!(
        two.sides[BOB].initiations, 1,
        "a resting accept is no obstacle"
    );
    two.sides[BOB].messages.clear();
    two.hear(BOB, &offer);
    assert_eq!(two.say(BOB).kind, MessageKind::KeyAccept, "it wakes");
    let accept = two.sides[BOB].installed.len();
    assert_eq!(accept, 2, "and is no new one");
    two.advance(91);
    assert_eq!(two.sides[BOB].agreement.held().len(), 1);
    two.advance(100);
    assert!(two.sides[BOB].agreement.held().is_empty(), "270 s are over");
}

#[test]
fn a_want_waits_for_an_unconfirmed_accept() {
    let mut two = Two::new();
    two.want(ALICE);
    let offer = two.say(ALICE);
    two.hear(BOB, &offer);

    two.want(BOB);

    assert_eq!(two.sides[BOB].initiations, 0);
}

#[test]
fn an_unanswered_offer_is_repeated_then_given_up() {
    let mut two = Two::new();

    two.want(ALICE);
    two.advance(91);

    let alice = &two.sides[ALICE];
    assert!(alice.messages.len() >= 89);
    assert!(alice.messages.iter().all(|it| *it == alice.messages[0]));
    assert!((15..=19).contains(&alice.initiations), "each five seconds");
    assert_eq!(alice.gave_up, 1);
    assert!(alice.agreement.is_idle());
    assert_eq!(alice.agreement.poll_timeout(), None);
}

#[test]
fn a_superseded_pair_answers_no_offer() {
    let mut two = Two::new();
    two.want(ALICE);
    let offer = two.say(ALICE);

    let now = two.now;
    two.sides[BOB].handle(&offer, PairIs::Superseded, now);

    assert!(two.sides[BOB].messages.is_empty());
    assert!(two.sides[BOB].agreement.held().is_empty());
}

#[test]
fn a_fifth_transport_displaces_the_unused_before_the_confirmed() {
    let mut two = Two::new();
    for _ in 0..3 {
        two.want(ALICE);
        two.settle();
    }
    let offer = |seed| {
        let mut alice = side(1, 2);
        alice.rng = ChaCha12Rng::seed_from_u64(seed);
        alice.agreement.handle_want(Moment::default());
        alice.run(Moment::default());
        alice.messages.pop_front().unwrap()
    };
    let ids = |two: &Two| -> Vec<u64> {
        let held = two.sides[BOB].agreement.held().iter();
        held.map(|it| it.id.0).collect()
    };

    two.hear(BOB, &offer(50));
    assert_eq!(ids(&two), [1, 2, 3, 4]);
    two.hear(BOB, &offer(51));
    assert_eq!(ids(&two), [1, 2, 3, 5], "the unused goes");
    two.sides[BOB].agreement.handle_first_opened(TransportId(5));
    two.hear(BOB, &offer(52));

    assert_eq!(ids(&two), [2, 3, 5, 6], "then the oldest confirmed");
}

#[test]
fn index_bases_return_when_their_transports_are_gone() {
    let mut two = Two::new();
    let mut random = ChaCha12Rng::seed_from_u64(3);
    for _ in 0..20 {
        two.want(ALICE);
        two.want(BOB);
        if random.next_u32().is_multiple_of(3) {
            two.sides[ALICE].messages.clear();
        }
        two.settle();
        two.advance(95);
    }
    two.advance(300);

    for side in &two.sides {
        assert!(side.agreement.held().is_empty());
        assert_eq!(format!("{:?}", side.names).matches("IndexBase").count(), 0);
    }
}
