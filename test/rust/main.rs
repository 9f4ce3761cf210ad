//! Tests of the core, no Erlang needed.

mod player;
mod properties;
mod scenarios;
mod truth;
