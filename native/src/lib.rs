//! The NIF of era_callstore.
