#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::eventually::TIMEOUT;
use crate::scratch::Scratch;

fn shell(scratch: &Scratch, script: &str) -> Process {
    let program = Program::new("/bin/sh").args(["-c", script]);
    Process::spawn("lesson", program, scratch.path())
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    after_name.chars().next().unwrap()
}

async fn logged(process: &Process, text: &str) {
    process
        .wait_until("logs", TIMEOUT, async || {
            let log = process.log();
            if log.contains(text) { Ok(()) } else { Err(log) }
        })
        .await;
}

#[tokio::test]
async fn output_goes_to_the_log_and_its_tail_keeps_the_end() {
    let scratch = Scratch::new("process");
    let process = shell(&scratch, "seq 1 100; echo to-stderr >&2; exec sleep 60");

    logged(&process, "to-stderr").await;

    let tail = process.log_tail();
    assert!(tail.contains("(101 lines) ---\n62\n63\n"), "{tail}");
    assert!(tail.contains("100\nto-stderr\n"), "{tail}");
}

#[tokio::test]
async fn a_restart_gives_a_new_process_and_continues_the_log() {
    let scratch = Scratch::new("process");
    let process = shell(&scratch, "echo I am $$; exec sleep 60");
    let first = process.pid();
    logged(&process, &format!("I am {first}")).await;

    process.restart();

    let second = process.pid();
    logged(&process, &format!("I am {first}\nI am {second}")).await;
    assert!(!is_alive(first));
}

#[tokio::test]
async fn a_paused_process_stands_still_until_it_is_resumed() {
    let scratch = Scratch::new("process");
    let process = shell(&scratch, "exec sleep 60");

    process.pause();
    assert_eq!(state(process.pid()), 'T');

    process.resume();
    eventually("sleeping", TIMEOUT, async || match state(process.pid()) {
        'S' => Ok(()),
        other => Err(other),
    })
    .await;
    process.pause();
    assert_eq!(state(process.pid()), 'T');
    process.kill9();
    // One that has ended cannot be waited for.
    process.pause();
}

#[tokio::test]
async fn a_signal_ends_it_and_the_status_says_so() {
    let scratch = Scratch::new("process");
    let process = shell(&scratch, "exec sleep 60");

    process.signal(Signal::SIGTERM);

    assert_eq!(process.wait_exit(TIMEOUT).await.signal(), Some(15));
}

#[tokio::test]
#[should_panic(
    expected = "it ended with exit status: 3\n--- end of the log of lesson (1 lines) ---\nno luck\n---"
)]
async fn a_process_that_ends_too_early_shows_its_log() {
    let scratch = Scratch::new("process");
    let process = shell(&scratch, "echo no luck; exit 3");

    process.wait_until("is ready", TIMEOUT, async || Err::<(), _>("not ready")).await;
}

#[test]
fn dropping_kills_also_a_stopped_process_and_also_in_a_panic() {
    let scratch = Scratch::new("process");
    let stopped = shell(&scratch, "exec sleep 60");
    let in_panic = shell(&scratch, "exec sleep 60");
    let pids = [stopped.pid(), in_panic.pid()];
    stopped.pause();

    drop(stopped);
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        let _held = in_panic;
        panic!("the test fails");
    }));

    assert!(outcome.is_err());
    assert_eq!(pids.map(is_alive), [false, false]);
}

#[test]
fn a_process_outlives_the_thread_that_started_it() {
    let scratch = Scratch::new("process");

    let process =
        thread::scope(|scope| scope.spawn(|| shell(&scratch, "exec sleep 60")).join().unwrap());

    assert_eq!(process.exit_status(), None);
}

/// The runner is this very test binary, running only `runner` below.
#[tokio::test]
async fn a_process_dies_with_a_killed_test_runner() {
    let mut runner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::tests::runner", "--nocapture"])
        .env("MAINSTEM_LESSON_RUNNER", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(runner.stdout.take().unwrap());
    let child: u32 =
        output.lines().find_map(|line| line.unwrap().split_once("child=")?.1.parse().ok()).unwrap();
    assert!(is_alive(child));

    runner.kill().unwrap();
    runner.wait().unwrap();

    eventually(
        "the child dies",
        TIMEOUT,
        async || {
            if is_alive(child) { Err("alive") } else { Ok(()) }
        },
    )
    .await;
}

#[tokio::test]
async fn runner() {
    if std::env::var_os("MAINSTEM_LESSON_RUNNER").is_none() {
        return;
    }
    let scratch = Scratch::new("process");
    let process = shell(&scratch, "echo started; exec sleep 60");
    logged(&process, "started").await;
    println!("\nchild={}", process.pid());
    let _ = process.wait_exit(2 * TIMEOUT).await;
}
