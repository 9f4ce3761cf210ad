//! What a call outlived, as its record says it.

use super::Out;
use super::keys::{int, text};
use crate::call::Call;

/// Ends that were taken back.
pub(super) fn reopened(call: &Call<'_>, out: &mut impl Out) {
    out.key("reopened");
    out.begin_array();
    for reopened in &call.survival.reopened {
        out.begin_object();
        int(out, "ts", Some(reopened.ts));
        text(out, "reason", Some(reopened.reason));
        int(out, "ended", reopened.ended);
        out.end_object();
    }
    out.end_array();
}

/// Owners that were lost and replaced.
pub(super) fn rescued(call: &Call<'_>, out: &mut impl Out) {
    out.key("rescued");
    out.begin_array();
    for rescue in &call.survival.rescued {
        out.begin_object();
        int(out, "ts", Some(rescue.ts));
        owner(out, "from", rescue.from);
        owner(out, "to", rescue.to);
        out.end_object();
    }
    out.end_array();
}

/// Who serves a call, as the platform names it.
pub(super) fn owner(out: &mut impl Out, key: &'static str, packed: Option<&str>) {
    out.key(key);
    match packed {
        Some(packed) => out.owner(packed),
        None => out.null(),
    }
}
