//! An owner of a dialog as role code said it: the term again that `era_callstore_owner` packed.
//!
//! Called by the record as a term. Must never: make an atom. What names a node or process that this node has never heard
//! of stays as it is packed.

use callstore::watch::owner::pid_bytes;
use rustler::{Atom, Encoder, Env, NewBinary, Term};

use crate::atoms;

/// The term; `None` for what is none here.
pub fn term<'a>(env: Env<'a>, packed: &str) -> Option<Term<'a>> {
    if let Some(id) = packed.strip_prefix("external:") {
        let id = Term::from(NewBinary::from_slice(env, id.as_bytes()));
        return Some((atoms::external(), id).encode(env));
    }
    if let Some(named) = packed.strip_prefix("name:") {
        let (name, node) = named.split_once(' ')?;
        return Some((known(env, name)?, known(env, node)?).encode(env));
    }
    if let Some(node) = packed.strip_prefix("node:") {
        return Some(known(env, node)?.encode(env));
    }
    let (term, _) = env.binary_to_term(&pid_bytes(packed)?)?;
    term.is_pid().then_some(term)
}

/// OTP 25 reads the bytes as Latin-1: of other names only those in ASCII are found.
fn known(env: Env<'_>, name: &str) -> Option<Atom> {
    let name = name.is_ascii().then_some(name.as_bytes())?;
    Atom::existing_from_bytes(env, name).ok()
}
