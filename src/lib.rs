//! The core of era_callstore: what is known of calls, and when they are over.
//!
//! Pure: no process, no clock, no I/O; time comes in as an argument. One idea carries everything: *a call is the fold
//! of the set of its events*. Rooms, lower ones never know upper ones: `event` ← `call` ← `record`, `watch` ← `store`;
//! `domain` stands by itself.

pub mod call;
pub mod domain;
pub mod event;
pub mod record;
pub mod store;
pub mod watch;
