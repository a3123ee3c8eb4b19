use std::{fs, sync::Arc};

use super::*;
use crate::clock::ManualClock;

/// 2027-01-15, and a pair that is valid for 30 days around it.
const NOW: i64 = 1_800_000_000;

fn write(files: &Files) -> (String, String) {
    let time = |seconds| time::OffsetDateTime::from_unix_timestamp(NOW + seconds).unwrap();
    let mut params = rcgen::CertificateParams::new(["kickout.test".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (time(-86_400), time(30 * 86_400));
    let key = rcgen::KeyPair::generate().unwrap();
    let (certificate, key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
    put(files, &certificate, &key);
    (certificate, key)
}

fn put(files: &Files, certificate: &str, key: &str) {
    fs::write(&files.certificate, certificate).unwrap();
    fs::write(&files.key, key).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn what_cannot_be_used_is_told_at_the_second_look_once_and_what_can_is_used_at_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { certificate: folder.path().join("server.pem"), key: folder.path().join("server.key") };
    write(&files);
    let clock = ManualClock::at(NOW * 1000);
    let metrics = Metrics::new();
    let tls = Tls::open(files.clone(), Clock::Manual(Arc::clone(&clock)), metrics.clone()).unwrap();
    let first = tls.config.get_inner();
    let look = |is_asked| {
        tls.look(&files.read(), is_asked);
        let text = metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix("kickout_tls_reload_failures_total "));
        line.unwrap().parse::<u32>().unwrap()
    };
    let is_first = || Arc::ptr_eq(&tls.config.get_inner(), &first);

    assert_eq!((look(false), look(true)), (0, 0), "nothing is new");
    let (certificate, _) = write(&files);
    put(&files, &certificate, "no key");
    assert_eq!([look(false), look(false), look(false), look(false)], [0, 1, 1, 1]);
    assert_eq!([look(true), look(false)], [2, 2], "whoever asks is told");
    fs::remove_file(&files.key).unwrap();
    assert_eq!([look(false), look(false), look(false)], [2, 3, 3], "another trouble");
    assert!(is_first(), "the old pair stays");
    let (certificate, key) = write(&files);
    assert_eq!(look(false), 3);
    assert!(!is_first(), "the new pair is used");

    // A pair whose time has not come is taken up when it has.
    let used = tls.config.get_inner();
    clock.step_wall(-2 * 86_400 * 1000);
    write(&files);
    assert_eq!([look(false), look(false)], [3, 4]);
    clock.step_wall(2 * 86_400 * 1000);
    assert_eq!(look(false), 4);
    assert!(!Arc::ptr_eq(&tls.config.get_inner(), &used));
    put(&files, &certificate, &key);
    assert_eq!(look(false), 4);
}

#[test]
fn the_end_is_warned_of_two_weeks_before_and_once_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { certificate: folder.path().join("server.pem"), key: folder.path().join("server.key") };
    write(&files);
    let clock = ManualClock::at(NOW * 1000);
    let tls = Tls::open(files, Clock::Manual(Arc::clone(&clock)), Metrics::new()).unwrap();
    let warned = || {
        tls.warn();
        tls.state().warned.map(Timestamp::as_secs)
    };
    let hour = Duration::from_hours(1);
    clock.advance((16 * 24 - 1) * hour);
    assert_eq!(warned(), None);
    clock.advance(2 * hour);
    let first = warned();
    assert!(first.is_some());
    clock.advance(23 * hour);
    assert_eq!(warned(), first);
    clock.advance(hour);
    assert_ne!(warned(), first);
}
