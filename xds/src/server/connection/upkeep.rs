//! When a connection is to be looked at although nothing happens, and what then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use h2::{Ping, PingPong};
use tokio::time::Instant;

use super::Times;
use crate::server::PARTING;
use crate::server::alarm::Alarm;
use crate::server::config::ServerConfig;

/// How often it is looked, in the time that a client may take nothing.
const LOOKS: u32 = 2;

/// The times of one connection.
pub(super) struct Upkeep {
    alarm: Alarm,
    pings: Option<PingPong>,
    heard: Arc<AtomicBool>,
    /// When the client must have been heard, or is asked whether it is there.
    ask: Instant,
    /// Until when it has to answer that.
    answer: Option<Instant>,
    /// When it is looked whether the client takes what it is sent.
    look: Instant,
    /// Since when it has no stream.
    idle: Option<Instant>,
    /// When it is told to go elsewhere, while it was not.
    ends: Option<Instant>,
    /// When the connection is closed, whatever is under way.
    closes: Option<Instant>,
}

/// What is to be done about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// The client shall open no further streams here.
    GoAway,
    /// It is not there any more, or has had its time.
    Close,
}

impl Upkeep {
    pub(super) fn new(
        pings: Option<PingPong>,
        heard: Arc<AtomicBool>,
        times: &Times,
        config: &ServerConfig,
        now: Instant,
    ) -> Upkeep {
        Upkeep {
            alarm: Alarm::default(),
            pings,
            heard,
            ask: now + config.keepalive_interval,
            answer: None,
            look: now + config.stall / LOOKS,
            idle: Some(now),
            ends: times.ends,
            closes: None,
        }
    }

    /// Streams came or went.
    pub(super) fn note_streams(&mut self, any: bool, now: Instant) {
        match any {
            true => self.idle = None,
            false => drop(self.idle.get_or_insert(now)),
        }
    }

    /// The client is told to go, and given this long.
    pub(super) fn leave_by(&mut self, closes: Instant) {
        self.ends = None;
        self.closes = Some(self.closes.map_or(closes, |before| before.min(closes)));
    }

    /// Whether it is time to look whether the client takes what it is sent.
    pub(super) fn is_to_look(&mut self, config: &ServerConfig, now: Instant) -> bool {
        let is_time = self.look <= now;
        if is_time {
            self.look = now + config.stall / LOOKS;
        }
        is_time
    }

    /// What is to be done now.
    pub(super) fn due(
        &mut self,
        config: &ServerConfig,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Due {
        let passed = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= now);
        self.hear_pong(context);
        self.keep_alive(config, now, context);
        if passed(self.closes) || passed(self.answer) {
            return Due::Close;
        }
        if passed(self.ends) || passed(self.idle.map(|since| since + config.idle)) {
            self.idle = None;
            self.leave_by(now + config.max_connection_age_grace + PARTING);
            return Due::GoAway;
        }
        Due::Nothing
    }

    /// Wakes the connection by the time at which something is due.
    pub(super) fn wait(&mut self, config: &ServerConfig, now: Instant, context: &mut Context<'_>) {
        let idle = self.idle.map(|since| since + config.idle);
        let times = [Some(self.ask), self.answer, Some(self.look), idle, self.ends, self.closes];
        if let Some(next) = times.into_iter().flatten().min()
            && self.alarm.poll(next, now, context).is_ready()
        {
            context.waker().wake_by_ref();
        }
    }

    fn hear_pong(&mut self, context: &mut Context<'_>) {
        if self.answer.is_some()
            && let Some(pings) = &mut self.pings
            && pings.poll_pong(context).is_ready()
        {
            self.answer = None;
        }
    }

    /// Asks a client that was not heard for a while whether it is there.
    fn keep_alive(&mut self, config: &ServerConfig, now: Instant, context: &mut Context<'_>) {
        if now < self.ask {
            return;
        }
        self.ask = now + config.keepalive_interval;
        if self.heard.swap(false, Ordering::Relaxed) || self.answer.is_some() {
            return;
        }
        let Some(pings) = &mut self.pings else { return };
        if pings.send_ping(Ping::opaque()).is_ok() {
            self.answer = Some(now + config.keepalive_timeout);
            self.hear_pong(context);
        }
    }
}
