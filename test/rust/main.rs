//! Tests of the core, no Erlang needed.

// A test that cannot go on says so by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod deaths;
mod domain;
mod fixtures;
mod listening;
mod malformed;
mod passive;
mod player;
mod projection;
mod properties;
mod scenarios;
mod split;
mod trimmed;
mod truth;
mod watch;
