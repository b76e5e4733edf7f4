//! What every registry adapter speaks: the channel to the aggregate, and the
//! parts that all adapters share.
//!
//! ```text
//! adapter ─ UpdateSender ─▶ [one mailbox per registry, merged by key] ─ UpdateReceiver ─▶ aggregate
//! ```
//!
//! What flows back is one value: the [`Interest`], which services anybody needs, for
//! adapters that load no more.
//!
//! A registry's own rules ([`ExportSettings`]: what it gives to the mesh, under which
//! names) are applied by its sender, the same for every adapter.
//!
//! [`own`] converts Mainstem's own documents, [`serviceentry`] Istio's ServiceEntry and
//! WorkloadEntry: more than one registry holds them.
//!
//! Invariants:
//! - Sending never waits and never fails. What is not read yet is merged by key,
//!   so a mailbox holds at most one pending value per key of its registry,
//!   however long the reader is away.
//! - Updates of one key arrive in order, the latest wins; a replacement swallows
//!   what came before it.
//! - An adapter whose sender was replaced (its registry restarted) says nothing
//!   any more: late words of a cancelled adapter reach nobody.

mod adapter;
mod backoff;
mod export;
mod field;
mod interest;
pub mod own;
pub mod serviceentry;
mod updates;

pub use adapter::Adapter;
pub use backoff::Backoff;
pub use export::{Export, ExportFault, ExportSettings, LabelRules, Rewrite, Verdict};
pub use field::{FieldPath, Invalid, Problems, Step};
pub use interest::{Demand, Interest, NewInterest};
pub use updates::{Batch, Churn, UpdateReceiver, UpdateSender, Updates, channel};
