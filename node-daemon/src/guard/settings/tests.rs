use super::*;
use crate::guard::sample::plan;

fn setting(key: &str, value: &str) -> Setting {
    Setting::new(key, value)
}

#[test]
fn the_tun_device_generates_no_address_and_takes_no_advice() {
    let settings = tun_settings(&plan());

    for (key, value) in [
        ("net/ipv4/conf/sotto0/rp_filter", "1"),
        ("net/ipv6/conf/sotto0/addr_gen_mode", "1"),
        ("net/ipv6/conf/sotto0/accept_ra", "0"),
        ("net/ipv4/conf/sotto0/accept_redirects", "0"),
    ] {
        assert!(settings.contains(&setting(key, value)), "{key}");
    }
    assert!(
        !settings
            .iter()
            .any(|setting| setting.key.contains("route_localnet"))
    );
}

#[test]
fn only_uplinks_that_listen_to_advertisements_are_told_to_go_on_listening() {
    let present = [("eth0", "1"), ("eth1", "0"), ("eth2", "2")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));

    assert_eq!(
        advertisement_settings(&present),
        [setting("net/ipv6/conf/eth0/accept_ra", "2")]
    );
}

#[test]
fn the_journal_keeps_what_was_there_before_the_first_change() {
    let mut journal = Journal::default();
    let forwarding = setting(FORWARDING_V4, "1");

    journal.note(&forwarding, "0");
    journal.note(&forwarding, "1");

    let back = journal.restorations(|_| Some("1".to_owned()));
    assert_eq!(back, [setting(FORWARDING_V4, "0")]);
}

#[test]
fn a_setting_that_somebody_changed_since_is_left_alone() {
    let mut journal = Journal::default();
    journal.note(&setting("net/ipv6/conf/eth0/accept_ra", "2"), "1");

    assert!(journal.restorations(|_| Some("0".to_owned())).is_empty());
    assert!(
        journal.restorations(|_| None).is_empty(),
        "the interface is gone"
    );
}

#[test]
fn the_newest_change_is_taken_back_first() {
    let mut journal = Journal::default();
    journal.note(&setting("net/ipv6/conf/eth0/accept_ra", "2"), "1");
    journal.note(&setting(FORWARDING_V6, "1"), "0");

    let current = |key: &str| Some(if key == FORWARDING_V6 { "1" } else { "2" }.to_owned());
    let back = journal.restorations(current);

    assert_eq!(back.first(), Some(&setting(FORWARDING_V6, "0")));
    assert_eq!(back.len(), 2);
}

#[test]
fn a_journal_with_unknown_fields_is_refused() {
    let text = r#"{"settings": [], "extra": 1}"#;

    assert!(serde_json::from_str::<Journal>(text).is_err());
}
