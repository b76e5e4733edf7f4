use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use mainstem_model::Value;
use pretty_assertions::assert_eq;
use rstest::rstest;

use super::*;
use crate::fixtures::{endpoints, service};

const WEB: &str = "shop/web.shop.svc";

fn registry() -> RegistryId {
    "consul/dc1".into()
}

fn values() -> Vec<Value> {
    vec![
        Value::Service(Arc::new(service("consul/dc1", WEB, &["80 http"]))),
        Value::Endpoints(endpoints("consul/dc1", WEB, &["80 10.0.0.1:80", "80 10.0.0.2:80"])),
    ]
}

/// A directory with the last good state of consul/dc1.
fn kept() -> (tempfile::TempDir, LastGood) {
    let directory = tempfile::tempdir().unwrap();
    let files = LastGood::new(directory.path());
    let at = UNIX_EPOCH + Duration::from_secs(1_000_000);
    let bytes = files.write(&registry(), values(), at).unwrap();
    assert_eq!(fs::metadata(files.path(&registry())).unwrap().len(), bytes);
    (directory, files)
}

#[test]
fn a_state_is_read_as_it_was_written_with_its_time() {
    let (_directory, files) = kept();
    let restored = files.read(&registry()).unwrap().unwrap();
    let json = |values: &[Value]| serde_json::to_value(values).unwrap();
    assert_eq!(json(&restored.values), json(&values()));
    assert_eq!(restored.live_at, UNIX_EPOCH + Duration::from_secs(1_000_000));
    let later = UNIX_EPOCH + Duration::from_secs(2_000_000);
    files.confirm(&registry(), later).unwrap();
    assert_eq!(files.read(&registry()).unwrap().unwrap().live_at, later);
}

#[test]
fn only_its_owner_may_read_it_and_nothing_else_is_left_there() {
    let (_directory, files) = kept();
    files.write(&registry(), values(), UNIX_EPOCH).unwrap();
    let path = files.path(&registry());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let directory = path.parent().unwrap();
    assert_eq!((mode(&path), mode(directory)), (0o600, 0o700));
    assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
}

#[test]
fn what_is_not_there_or_forgotten_is_nothing() {
    let (_directory, files) = kept();
    assert!(files.read(&"consul/dc2".into()).unwrap().is_none());
    files.forget(&registry()).unwrap();
    files.forget(&registry()).unwrap();
    assert!(files.read(&registry()).unwrap().is_none());
}

#[rstest]
#[case::empty(|_: Vec<u8>| Vec::new(), "is no last good state of a mainstem")]
#[case::foreign(|_: Vec<u8>| b"{\"apiVersion\": \"v1\"}".to_vec(), "is no last good state of a mainstem")]
#[case::newer(|mut bytes: Vec<u8>| { bytes[8] = 9; bytes }, "written by a newer mainstem (version 9")]
#[case::truncated(|bytes: Vec<u8>| bytes[..bytes.len() - 7].to_vec(), "it was cut off or torn")]
#[case::header_alone(|bytes: Vec<u8>| bytes[..20].to_vec(), "it was cut off or torn")]
#[case::appended(|mut bytes: Vec<u8>| { bytes.push(0); bytes }, "it was cut off or torn")]
#[case::torn(|mut bytes: Vec<u8>| { let half = bytes.len() / 2; bytes[half..].fill(0); bytes }, "it is damaged: its checksum")]
#[case::flipped(|mut bytes: Vec<u8>| { bytes[60] ^= 1; bytes }, "is damaged: its checksum")]
fn a_file_that_is_not_whole_is_refused_with_its_reason(
    #[case] damage: fn(Vec<u8>) -> Vec<u8>,
    #[case] reason: &str,
) {
    let (_directory, files) = kept();
    let path = files.path(&registry());
    fs::write(&path, damage(fs::read(&path).unwrap())).unwrap();
    let before = fs::read(&path).unwrap();
    let refused = files.read(&registry()).unwrap_err().to_string();
    let reason = reason.trim_start_matches("it ");
    assert!(refused.contains(reason) && refused.contains("is not used"), "{refused}");
    assert!(refused.contains(&path.display().to_string()), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn the_file_of_another_registry_is_refused() {
    let (_directory, files) = kept();
    let other = RegistryId::from("consul/dc2");
    fs::rename(files.path(&registry()), files.path(&other)).unwrap();
    let refused = files.read(&other).unwrap_err().to_string();
    assert!(refused.contains("is of \"consul/dc1\", another registry"), "{refused}");
}

#[test]
fn a_state_beyond_the_bound_is_neither_written_nor_read() {
    let (_directory, files) = kept();
    let small = files.clone().with_most(100);
    let refused = small.write(&registry(), values(), UNIX_EPOCH).unwrap_err().to_string();
    assert!(refused.contains("bytes are more than 100"), "{refused}");
    assert!(small.read(&registry()).is_err());
    assert!(files.read(&registry()).unwrap().is_some());
}
