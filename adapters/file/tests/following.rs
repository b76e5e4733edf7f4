//! How files are followed, against a real directory: whatever way they change,
//! events alone bring it, and nothing that cannot be read goes.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use mainstem_file::{FileAdapter, FileConfig, PROVIDER};
use mainstem_model::{Condition, ObjectRef, RegistryId, ServiceKey, TimeSpan};
use mainstem_test_support::Scratch;
use mainstem_test_support::battery::{View, Watch};

fn follow(path: impl Into<PathBuf>) -> Watch {
    let mut config = FileConfig::new("static", path);
    // So that only events can bring a change in time.
    config.rescan = TimeSpan::from_secs(3600);
    Watch::start(RegistryId::new(PROVIDER, "static"), Box::new(FileAdapter::new(config)))
}

fn key(host: &str) -> ServiceKey {
    ServiceKey::new(host, "default")
}

fn service(host: &str, last: u8) -> String {
    format!(
        "services:\n- hostname: {host}\n  ports: [{{ number: 80 }}]\n  endpoints: [{{ address: 10.0.0.{last} }}]\n"
    )
}

/// Whether these services are served from these last bytes, and no others are there.
fn serving(view: &View, expected: &[(&str, u8)]) -> Result<(), String> {
    view.live()?;
    for (host, last) in expected {
        let is: Vec<String> =
            view.serving(&key(host)).iter().map(|(ip, _)| ip.to_string()).collect();
        if is != [format!("10.0.0.{last}")] {
            return Err(format!("{host} is at {is:?}, not {last}"));
        }
    }
    // Each has a definition and endpoints.
    match view.values.len() == 2 * expected.len() {
        true => Ok(()),
        false => Err(format!("{:?} instead of {expected:?}", view.values.keys())),
    }
}

/// A directory with a file for host `a`, and its follower, synced.
async fn followed() -> (Scratch, Watch) {
    let scratch = Scratch::new("following");
    scratch.write("a.yaml", service("a", 1));
    let mut watch = follow(scratch.path());
    watch.until("the first sync", |view| serving(view, &[("a", 1)])).await;
    (scratch, watch)
}

fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

#[tokio::test]
async fn a_file_that_is_rewritten_in_place_is_read_again() {
    let (scratch, mut watch) = followed().await;
    scratch.write("a.yaml", service("a", 2));
    watch.until("the new content", |view| serving(view, &[("a", 2)])).await;
}

#[tokio::test]
async fn an_editors_rename_never_loses_the_service() {
    let (scratch, mut watch) = followed().await;
    for last in 2..6 {
        let (file, backup, draft) = (
            scratch.path().join("a.yaml"),
            scratch.path().join("a.yaml~"),
            scratch.path().join("4913"),
        );
        fs::write(&draft, service("a", last)).unwrap();
        rename(&file, &backup);
        rename(&draft, &file);
        let stays = |view: &View| view.service(&key("a")).map(drop).ok_or("a went".to_owned());
        watch.until_while("the new content", |view| serving(view, &[("a", last)]), stays).await;
    }
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_through_its_links() {
    let scratch = Scratch::new("config-map");
    let mount = scratch.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let version = |name: &str, files: &[(&str, String)]| {
        fs::create_dir(mount.join(name)).unwrap();
        for (file, text) in files {
            fs::write(mount.join(name).join(file), text).unwrap();
        }
        symlink(name, mount.join("..data_tmp")).unwrap();
        rename(&mount.join("..data_tmp"), &mount.join("..data"));
    };
    version("..1", &[("a.yaml", service("a", 1)), ("b.yaml", service("b", 1))]);
    symlink("..data/a.yaml", mount.join("a.yaml")).unwrap();
    symlink("..data/b.yaml", mount.join("b.yaml")).unwrap();
    let mut directory = follow(&mount);
    let mut file = follow(mount.join("a.yaml"));
    directory.until("both", |view| serving(view, &[("a", 1), ("b", 1)])).await;
    file.until("one", |view| serving(view, &[("a", 1)])).await;

    version("..2", &[("a.yaml", service("a", 2)), ("b.yaml", service("b", 2))]);
    fs::remove_dir_all(mount.join("..1")).unwrap();

    directory.until("both anew", |view| serving(view, &[("a", 2), ("b", 2)])).await;
    file.until("one anew", |view| serving(view, &[("a", 2)])).await;
}

#[tokio::test]
async fn a_link_to_a_directory_may_turn_to_another() {
    let scratch = Scratch::new("link");
    for (name, last) in [("one", 1), ("two", 2)] {
        fs::create_dir(scratch.path().join(name)).unwrap();
        fs::write(scratch.path().join(name).join("a.yaml"), service("a", last)).unwrap();
    }
    let current = scratch.path().join("current");
    symlink("one", &current).unwrap();
    let mut watch = follow(&current);
    watch.until("the first", |view| serving(view, &[("a", 1)])).await;

    symlink("two", scratch.path().join("next")).unwrap();
    rename(&scratch.path().join("next"), &current);
    watch.until("the second", |view| serving(view, &[("a", 2)])).await;

    fs::write(scratch.path().join("two/a.yaml"), service("a", 3)).unwrap();
    watch.until("a change in the second", |view| serving(view, &[("a", 3)])).await;
}

#[tokio::test]
async fn files_come_and_go_in_subdirectories() {
    let (scratch, mut watch) = followed().await;
    let deep = scratch.path().join("team/shop");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("b.json"), r#"{"services": [{"hostname": "b", "ports": [{"number": 80}], "endpoints": [{"address": "10.0.0.2"}]}]}"#).unwrap();
    watch.until("the deep file", |view| serving(view, &[("a", 1), ("b", 2)])).await;

    fs::write(deep.join("c.yml"), service("c", 3)).unwrap();
    watch.until("its neighbour", |view| serving(view, &[("a", 1), ("b", 2), ("c", 3)])).await;

    fs::remove_dir_all(scratch.path().join("team")).unwrap();
    watch.until("only the first", |view| serving(view, &[("a", 1)])).await;
}

#[tokio::test]
async fn what_is_no_registry_file_is_left_alone() {
    let (scratch, mut watch) = followed().await;
    for name in [".a.yaml.swp", ".hidden.yaml", "a.yaml~", "notes.txt"] {
        scratch.write(name, service("x", 9));
    }
    make_pipe(&scratch.path().join("pipe.yaml"));
    symlink(".", scratch.path().join("loop")).unwrap();
    symlink("nowhere", scratch.path().join("dangling.yaml")).unwrap();
    scratch.write("b.yaml", service("b", 2));
    watch.until("the only other file", |view| serving(view, &[("a", 1), ("b", 2)])).await;
}

fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success(), "mkfifo {}", path.display());
}

#[tokio::test]
async fn a_file_that_becomes_unreadable_keeps_what_it_held() {
    let (scratch, mut watch) = followed().await;
    let file = ObjectRef { kind: "File", name: "a.yaml".into() };
    let still = |view: &View| match view.serving(&key("a")).is_empty() {
        false => Ok(()),
        true => Err("a went".to_owned()),
    };

    // Not UTF-8, as a file is that was saved in another encoding.
    scratch.write("a.yaml", b"services: # caf\xe9\n");
    watch.until_while("the rejection", |view| view.rejects(&file), still).await;
    let reason = &watch.view.rejected[&file].reason;
    assert!(reason.starts_with("a.yaml:1:16: is not UTF-8 text"), "{reason}");

    scratch.write("a.yaml", service("a", 2));
    let mended = |view: &View| view.accepts(&file).and(serving(view, &[("a", 2)]));
    watch.until_while("the mended file", mended, still).await;
}

#[tokio::test]
async fn a_file_that_is_too_large_keeps_what_it_held() {
    let scratch = Scratch::new("large");
    scratch.write("a.yaml", service("a", 1));
    let mut config = FileConfig::new("static", scratch.path());
    config.max_file_bytes = 200;
    let adapter = Box::new(FileAdapter::new(config));
    let mut watch = Watch::start(RegistryId::new(PROVIDER, "static"), adapter);
    watch.until("the first sync", |view| serving(view, &[("a", 1)])).await;

    scratch.write("a.yaml", format!("{}{}", "#".repeat(200), service("a", 2)));
    let file = ObjectRef { kind: "File", name: "a.yaml".into() };
    watch.until("the rejection", |view| view.rejects(&file)).await;
    serving(&watch.view, &[("a", 1)]).unwrap();
}

#[tokio::test]
async fn a_path_that_is_not_there_yet_is_awaited() {
    let scratch = Scratch::new("later");
    let path = scratch.path().join("services/a.yaml");
    let mut watch = follow(&path);
    watch.until("the failure", View::failed).await;
    let Condition::Failed(reason) = &watch.view.condition else { unreachable!("just seen") };
    assert!(reason.contains("services/a.yaml") && reason.contains("No such file"), "{reason}");

    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, service("a", 1)).unwrap();
    watch.until("the first sync", |view| serving(view, &[("a", 1)])).await;
}

#[tokio::test]
async fn the_only_file_may_go_and_return() {
    let scratch = Scratch::new("single");
    let path = scratch.write("a.yaml", service("a", 1));
    let mut watch = follow(&path);
    watch.until("the first sync", |view| serving(view, &[("a", 1)])).await;
    let held = |view: &View| match view.values.len() {
        2 => Ok(()),
        n => Err(format!("{n} values")),
    };

    fs::remove_file(&path).unwrap();
    watch.until_while("the failure", View::failed, held).await;

    fs::write(&path, service("a", 2)).unwrap();
    watch.until_while("its return", |view| serving(view, &[("a", 2)]), held).await;
}

#[tokio::test]
async fn an_empty_directory_in_place_of_another_is_a_lost_volume() {
    let (scratch, mut watch) = {
        let scratch = Scratch::new("volume");
        let path = scratch.path().join("mount");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("a.yaml"), service("a", 1)).unwrap();
        let mut watch = follow(path);
        watch.until("the first sync", |view| serving(view, &[("a", 1)])).await;
        (scratch, watch)
    };
    let mount = scratch.path().join("mount");

    fs::create_dir(scratch.path().join("empty")).unwrap();
    rename(&mount, &scratch.path().join("mounted"));
    rename(&scratch.path().join("empty"), &mount);
    let lost = |view: &View| match &view.condition {
        Condition::Failed(reason) if reason.contains("is its volume mounted?") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    watch.until("the failure", lost).await;
    assert_eq!(watch.view.values.len(), 2, "nothing went");

    fs::remove_dir(&mount).unwrap();
    rename(&scratch.path().join("mounted"), &mount);
    watch.until("the volume's return", |view| serving(view, &[("a", 1)])).await;
}

#[tokio::test]
async fn the_last_file_of_a_directory_may_go() {
    let (scratch, mut watch) = followed().await;
    fs::remove_file(scratch.path().join("a.yaml")).unwrap();
    watch.until("nothing", |view| serving(view, &[])).await;
}

#[tokio::test]
async fn a_file_in_place_of_a_directory_replaces_it() {
    let scratch = Scratch::new("replaced");
    let path = scratch.path().join("services");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), service("a", 1)).unwrap();
    let mut watch = follow(&path);
    watch.until("the directory", |view| serving(view, &[("a", 1)])).await;

    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, service("b", 2)).unwrap();
    watch.until("the file", |view| serving(view, &[("b", 2)])).await;
}

#[tokio::test]
async fn more_files_than_allowed_are_a_failure() {
    let scratch = Scratch::new("many");
    scratch.write("a.yaml", service("a", 1));
    let mut config = FileConfig::new("static", scratch.path());
    config.max_files = 1;
    let adapter = Box::new(FileAdapter::new(config));
    let mut watch = Watch::start(RegistryId::new(PROVIDER, "static"), adapter);
    watch.until("the first sync", |view| serving(view, &[("a", 1)])).await;

    let second = scratch.write("b.yaml", service("b", 2));
    watch.until("the failure", View::failed).await;
    assert_eq!(watch.view.values.len(), 2, "nothing came and nothing went");

    fs::remove_file(second).unwrap();
    watch.until("its end", |view| serving(view, &[("a", 1)])).await;
}
