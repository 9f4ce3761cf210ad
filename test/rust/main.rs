//! Tests of the core, no Erlang needed.
