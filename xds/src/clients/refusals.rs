//! What a client refuses of one type.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::stamp::Stamp;
use super::status::{Answer, Nack, Refused};
use crate::names::Name;
use crate::protocol::{Answered, Nonce, Rejection};
use crate::version::Version;

/// So many of the resources refused at a time keep what the client said of them.
const MESSAGES: usize = 100;
/// Bytes of that which are kept; the latest refusal keeps all that was read.
const MESSAGE_BYTES: usize = 1 << 10;

/// The refusals of one type by one client; most clients never have any.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    latest: Option<(Nonce, Stamp, Rejection)>,
    /// The resources that the client refuses as they are now.
    standing: BTreeMap<Name, Standing>,
}

#[derive(Debug)]
struct Standing {
    version: Version,
    at: Stamp,
    /// Shared by those that were refused together.
    message: Arc<str>,
}

impl Refusals {
    /// After a further refusal, these are refused: those that were not before, because
    /// of it.
    pub(super) fn note<'a>(
        &mut self,
        answered: &Answered,
        rejection: &Rejection,
        refused: impl Iterator<Item = (&'a Name, Version)>,
        at: Stamp,
    ) {
        let text = &rejection.message;
        let message: Arc<str> = text[..text.floor_char_boundary(MESSAGE_BYTES)].into();
        for (name, version) in refused {
            if self.standing.get(name).is_some_and(|standing| standing.version == version) {
                continue;
            }
            let kept = self.standing.len() < MESSAGES;
            let message = if kept { message.clone() } else { Arc::default() };
            self.standing.insert(name.clone(), Standing { version, at, message });
        }
        self.latest = Some((answered.nonce, at, rejection.clone()));
    }

    /// Others are not refused any more.
    pub(super) fn retain(&mut self, still: impl Fn(&Name, Version) -> bool) {
        self.standing.retain(|name, standing| still(name, standing.version));
    }

    /// How many resources are refused.
    pub(super) fn len(&self) -> usize {
        self.standing.len()
    }

    /// The nonce of the latest response that was refused.
    pub(super) fn nonce(&self) -> Option<Nonce> {
        self.latest.as_ref().map(|(nonce, ..)| *nonce)
    }

    pub(super) fn latest(&self) -> Option<Nack> {
        let (nonce, at, rejection) = self.latest.clone()?;
        Some(Nack { answer: Answer { nonce, at: at.time() }, rejection })
    }

    /// In order of names.
    pub(super) fn list(&self) -> Vec<Refused> {
        let refused = |(name, standing): (&Name, &Standing)| Refused {
            name: name.clone(),
            version: standing.version,
            at: standing.at.time(),
            message: standing.message.clone(),
        };
        self.standing.iter().map(refused).collect()
    }
}
