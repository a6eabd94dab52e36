//! Requests and answers as they are written down: one form, and nothing else is taken.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use cluster_store::{
    DecodeError, EnrolmentRequest, PendingReason, RequestId, RequestState, TokenProof,
};
use proptest::prelude::*;

fn full() -> EnrolmentRequest {
    EnrolmentRequest {
        pkcs10: b"request".to_vec(),
        token: Some(TokenProof {
            id: [7; 16],
            mac: [9; 32],
        }),
    }
}

fn with(from: &str, to: &str) -> Result<EnrolmentRequest, DecodeError> {
    let text = String::from_utf8(full().encode()).unwrap();
    assert!(text.contains(from), "{from} is in {text}");
    EnrolmentRequest::decode(text.replacen(from, to, 1).as_bytes())
}

#[test]
fn a_request_reads_back_as_it_was_written() {
    assert_eq!(EnrolmentRequest::decode(&full().encode()), Ok(full()));
}

#[test]
fn every_answer_reads_back_as_it_was_written() {
    for state in [
        RequestState::Waiting,
        RequestState::Pending(PendingReason::NoFreePodRange),
        RequestState::Pending(PendingReason::AwaitsApproval),
        RequestState::Pending(PendingReason::RateLimited),
        RequestState::Issued,
        RequestState::Refused,
    ] {
        assert_eq!(RequestState::decode(&state.encode()), Ok(state));
    }
}

#[test]
fn bi05_unknown_fields_other_versions_and_other_spellings_are_refused() {
    assert!(matches!(
        with("\"version\":1", "\"version\":2"),
        Err(DecodeError::UnknownVersion(2))
    ));
    assert!(matches!(
        with("{\"version\"", "{ \"version\""),
        Err(DecodeError::NotCanonical)
    ));
    for (from, to) in [
        ("\"version\":1", "\"version\":1,\"colour\":\"red\""),
        ("\"version\":1", "\"version\":1,\"version\":1"),
        ("\"version\":1", "\"version\":\"1\""),
        ("\"version\":1", "\"version\":99999999999999999999999"),
        ("{\"version\"", "\u{feff}{\"version\""),
        ("\"pkcs10\":\"cmV", "\"pkcs10\":\"cm!"),
        ("\"id\":\"Bw", "\"id\":\"BwcH"),
        ("}\n", ""),
        ("}\n", "}\n}\n"),
    ] {
        let error = with(from, to).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed(_)), "{to}: {error}");
    }
}

#[test]
fn a_request_of_a_megabyte_is_refused_unread() {
    let error = EnrolmentRequest::decode(&vec![b' '; 1 << 20]).unwrap_err();

    assert!(matches!(error, DecodeError::TooLarge { .. }));
}

#[test]
fn ids_have_one_spelling() {
    let id = full().id().to_string();

    assert_eq!(id.parse::<RequestId>(), Ok(full().id()));
    for text in [
        id.to_uppercase(),
        format!("+{}", &id[1..]),
        format!("{id}0"),
        "é".repeat(16),
    ] {
        assert_eq!(text.parse::<RequestId>(), Err(DecodeError::BadId), "{text}");
    }
}

proptest! {
    #[test]
    fn i5_arbitrary_bytes_are_refused_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(EnrolmentRequest::decode(&bytes).is_err());
        prop_assert!(RequestState::decode(&bytes).is_err());
    }

    #[test]
    fn i5_a_flipped_byte_is_refused_or_another_request(at in 0usize..200, to in any::<u8>()) {
        let mut bytes = full().encode();
        let at = at % bytes.len();
        bytes[at] = to;

        if let Ok(read) = EnrolmentRequest::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn any_request_reads_back_as_it_was_written(
        pkcs10 in prop::collection::vec(any::<u8>(), 0..600),
        id in any::<[u8; 16]>(),
    ) {
        let request = EnrolmentRequest {
            pkcs10,
            token: Some(TokenProof { id, mac: [1; 32] }),
        };
        prop_assert_eq!(EnrolmentRequest::decode(&request.encode()), Ok(request));
    }
}
