//! What is asked of the file system so often that a dirty scheduler for each question would cost more than the answer.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use rustler::{Binary, Encoder, Env, Term};

use crate::atoms;

/// `{Inode, Bytes}` of a file on a local disc, or `none`.
#[rustler::nif]
fn file_size<'a>(env: Env<'a>, path: Binary<'a>) -> Term<'a> {
    match std::fs::metadata(OsStr::from_bytes(path.as_slice())) {
        Ok(found) => (found.ino(), found.len()).encode(env),
        Err(_) => atoms::none().encode(env),
    }
}
