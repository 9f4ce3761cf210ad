//! The fields of events: every name of the vocabulary, in one table.
//!
//! Codes are written to logs and wires: never reused, never changed. Codes below 127 take one byte there, so they go to
//! the fields that nearly every call has. A name that is not here is no error: it is kept with its event as it is.

macro_rules! fields {
    ($( $(#[$doc:meta])* $field:ident = $code:literal, $name:literal; )*) => {
        /// A known field of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Field { $( $(#[$doc])* $field = $code, )* }

        /// The fields by code.
        static BY_CODE: [Option<Field>; 256] = {
            let mut fields = [None; 256];
            $( fields[$code] = Some(Field::$field); )*
            fields
        };

        /// All known fields with their names.
        pub const FIELDS: &[(Field, &str)] = &[ $( (Field::$field, $name), )* ];

        impl Field {
            /// The field with this code; `None` for a code of a later version.
            #[inline]
            pub fn from_code(code: u8) -> Option<Field> {
                BY_CODE[usize::from(code)]
            }
            /// The name in the event.
            pub const fn name(self) -> &'static str {
                match self { $( Field::$field => $name, )* }
            }
        }
    };
}

fields! {
    /// Identity of the b2b dialog.
    Dialogid = 1, "dialogid";
    /// Hash of the dialog's identity, as the platform computed it.
    Dialogidhash = 2, "dialogidhash";
    /// URI of the server's side of leg A (the callee as the caller sees it).
    Localuri = 3, "localuri";
    /// Tag of the server's side of leg A.
    Localtag = 4, "localtag";
    /// URI of the caller.
    Remoteuri = 5, "remoteuri";
    /// Leg A: URI of the server's side.
    Alocaluri = 6, "alocaluri";
    /// Leg A: tag of the server's side.
    Alocaltag = 7, "alocaltag";
    /// Leg A: URI of the caller.
    Aremoteuri = 8, "aremoteuri";
    /// Call-ID of leg B.
    Bcallid = 9, "bcallid";
    /// Leg B: URI of the server's side.
    Blocaluri = 10, "blocaluri";
    /// Leg B: tag of the server's side.
    Blocaltag = 11, "blocaltag";
    /// Leg B: URI of the callee.
    Bremoteuri = 12, "bremoteuri";
    /// Caller's username.
    Fromusername = 13, "fromusername";
    /// Caller's domain.
    Fromdomain = 14, "fromdomain";
    /// Whether the caller is outside the platform.
    Fromouter = 15, "fromouter";
    /// Account (trunk) of an outer leg.
    Account = 16, "account";
    /// Number that was called.
    Callednum = 17, "callednum";
    /// From of the INVITE.
    Urifrom = 18, "urifrom";
    /// To of the INVITE.
    Urito = 19, "urito";
    /// Referred-By of the INVITE.
    Urireferedby = 20, "urireferedby";
    /// Whether the call results from a transfer.
    Isreferred = 21, "isreferred";
    /// Whether the INVITE replaces a dialog.
    Isreplacing = 22, "isreplacing";
    /// Ghost mark of the platform.
    Ghost = 23, "ghost";
    /// Domain whose rule ran.
    Routedomain = 24, "routedomain";
    /// Routing rule.
    Ruleid = 25, "ruleid";
    /// What the rule does.
    Routeaction = 26, "routeaction";
    /// What the rule looked at.
    Vector = 27, "vector";
    /// Destination after the rule.
    Routeto = 28, "routeto";
    /// Source after the rule.
    Routefrom = 29, "routefrom";
    /// Request-URI of the fork.
    Forkrequesturi = 30, "forkrequesturi";
    /// URI of the device.
    Forkremoteuri = 31, "forkremoteuri";
    /// Tag of the server's side of the fork.
    Forklocaltag = 32, "forklocaltag";
    /// Call-ID of the fork.
    Forkcallid = 33, "forkcallid";
    /// Number rung by the fork.
    Forkcallednum = 34, "forkcallednum";
    /// `in` or `out`: to a subscriber or through a trunk.
    Forkdir = 35, "forkdir";
    /// SIP status code.
    Sipcode = 36, "sipcode";
    /// Reason in words.
    Reason = 37, "reason";
    /// Whether a media gateway was used.
    Mgused = 38, "mgused";
    /// Media gateway controller group.
    Mgcgroup = 39, "mgcgroup";
    /// Media context.
    Mgctxid = 40, "mgctxid";
    /// Index of the server.
    Srvidx = 41, "srvidx";
    /// Whether the dialog was recorded.
    IsRec = 42, "is_rec";
    /// Completion type.
    Stopreason = 43, "stopreason";
    /// Side that released the dialog.
    Stopside = 44, "stopside";
    /// Domain of leg A.
    Adomain = 45, "adomain";
    /// Domain of leg B.
    Bdomain = 46, "bdomain";
    /// Recording wanted by the domain of A.
    Aisrec = 47, "aisrec";
    /// Recording wanted by the domain of B.
    Bisrec = 48, "bisrec";
    /// Size of the recording, bytes.
    Size = 49, "size";
    /// Link to the recording.
    Link = 50, "link";
    /// Domain that the event speaks of.
    Domain = 51, "domain";
    /// Direction as the rule's domain sees it.
    Dir = 52, "dir";
    /// Number of the caller.
    Fromnum = 53, "fromnum";
    /// Number of the callee.
    Tonum = 54, "tonum";
    /// The other domain of a cross-domain call.
    Crossdomain = 55, "crossdomain";
    /// Whether the rule wants a recording.
    Isrec = 56, "isrec";
    /// Call-ID of the side that held.
    Xcallid = 57, "xcallid";
    /// How routing ended.
    Routefinaction = 58, "routefinaction";
    /// Context of the script, main.
    Ctxscridm = 59, "ctxscridm";
    /// Context of the script, dialog.
    Ctxscridd = 60, "ctxscridd";
    /// Related calls.
    Relates = 61, "relates";
    /// Who serves the dialog, as callstore packs it.
    Owner = 62, "owner";
    /// Who put the event.
    Producer = 63, "producer";
    /// Caller's identity.
    Fromid = 64, "fromid";
    /// Caller's number.
    Fromnumber = 65, "fromnumber";
    /// Caller's IP address.
    Fromaddress = 66, "fromaddress";
    /// Caller's port.
    Fromport = 67, "fromport";
    /// Subscriber of the fork.
    Subscriberid = 68, "subscriberid";
    /// Type of the feature code.
    Featurecodetype = 69, "featurecodetype";
    /// Feature code.
    Featurecodeid = 70, "featurecodeid";
    /// What was dialled after the code.
    Featurecodeextension = 71, "featurecodeextension";
    /// Number of the feature code.
    Featurenumber = 72, "featurenumber";
    /// Where the call goes on to.
    Redirectto = 73, "redirectto";
    /// Why.
    Redirectreason = 74, "redirectreason";
    /// Number of the rule's owner.
    Redirectnumber = 75, "redirectnumber";
    /// Label.
    Dlgbinding = 76, "dlgbinding";
    /// Set or removed.
    Dlgbindingset = 77, "dlgbindingset";
    /// Side that acts, `a` or `b`.
    Side = 78, "side";
    /// Cause.
    Cause = 79, "cause";
    /// Target of the transfer.
    Referto = 80, "referto";
    /// URI of the referring side.
    Referuri = 81, "referuri";
    /// Call-ID of leg A, where it is not the call's.
    Acallid = 82, "acallid";
    /// Identity of the call, where it is not the set's.
    Cid = 83, "cid";
    /// Time of the INVITE, where it is not the set's.
    Invitets = 84, "invitets";
    /// `cid.invitets`, where it is not that.
    Connectionid = 85, "connectionid";
    /// Recording rule.
    Recruleid = 128, "recruleid";
    /// Recording rule of A.
    Arulerec = 129, "arulerec";
    /// Recording rule of B.
    Brulerec = 130, "brulerec";
    /// Storage of the recording.
    Storage = 131, "storage";
    /// Speech recognition asked for.
    Speech = 132, "speech";
    /// Source files of the recording.
    Srcfile = 133, "srcfile";
    /// Path of the source files on the media gateway.
    Mgcpath = 134, "mgcpath";
    /// Whether the call was a fax.
    Fax = 135, "fax";
    /// Address of the gateway.
    Gatewayip4 = 136, "gatewayip4";
    /// Signalling protocol.
    Protocol = 137, "protocol";
    /// Call-ID of the outer leg of a call from outside.
    Outercallid = 138, "outercallid";
    /// Who says it.
    Origin = 139, "origin";
    /// What a verdict rests on.
    Evidence = 140, "evidence";
    /// Revision of the record.
    Revision = 141, "revision";
    /// Number of facts that a revision folds.
    Facts = 142, "facts";
    /// Sum over these facts.
    Sum = 143, "sum";
    /// Term of activity.
    Epoch = 144, "epoch";
    /// Node that decided.
    Node = 145, "node";
    /// Sink that accepted.
    Sink = 146, "sink";
    /// Number of the attempt.
    Attempt = 147, "attempt";
    /// State of an asynchronous job.
    State = 148, "state";
    /// A moment, ms.
    At = 149, "at";
    /// Last proof of life, ms.
    Lastproof = 150, "lastproof";
    /// When it was noticed, ms.
    Detected = 151, "detected";
    /// `uri` of the call whose transfer led here.
    ReferredUri = 152, "referred_uri";
    /// `acallid` of the call whose transfer led here.
    ReferredAcallid = 153, "referred_acallid";
    /// `cid` of the call whose transfer led here.
    ReferredCid = 154, "referred_cid";
    /// `invitets` of the call whose transfer led here.
    ReferredInvitets = 155, "referred_invitets";
    /// `connectionid` of the call whose transfer led here.
    ReferredConnectionid = 156, "referred_connectionid";
    /// `dialogid` of the call whose transfer led here.
    ReferredDialogid = 157, "referred_dialogid";
    /// `callid` of the call that is replaced.
    ReplacesCallid = 158, "replaces_callid";
    /// `cid` of the call that is replaced.
    ReplacesCid = 159, "replaces_cid";
    /// `acallid` of the call that is replaced.
    ReplacesAcallid = 160, "replaces_acallid";
    /// `invitets` of the call that is replaced.
    ReplacesInvitets = 161, "replaces_invitets";
    /// `connectionid` of the call that is replaced.
    ReplacesConnectionid = 162, "replaces_connectionid";
    /// `dialogid` of the call that is replaced.
    ReplacesDialogid = 163, "replaces_dialogid";
    /// `acallid` of the call that resulted from the transfer.
    ReferringAcallid = 164, "referring_acallid";
    /// `cid` of the call that resulted from the transfer.
    ReferringCid = 165, "referring_cid";
    /// `invitets` of the call that resulted from the transfer.
    ReferringInvitets = 166, "referring_invitets";
    /// `connectionid` of the call that resulted from the transfer.
    ReferringConnectionid = 167, "referring_connectionid";
    /// `dialogid` of the call that resulted from the transfer.
    ReferringDialogid = 168, "referring_dialogid";
    /// Link in A's store.
    Alink = 169, "alink";
    /// Link in B's store.
    Blink = 170, "blink";
    /// Key in A's store.
    Akey = 171, "akey";
    /// Key in B's store.
    Bkey = 172, "bkey";
    /// A's store.
    Astorage = 173, "astorage";
    /// B's store.
    Bstorage = 174, "bstorage";
    /// Caller's number after translation.
    Translatednumber = 175, "translatednumber";
    /// Caller's number before translation.
    Originalnumber = 176, "originalnumber";
    /// Callee's number.
    Bnumber = 177, "bnumber";
    /// Callee's username.
    Busername = 178, "busername";
    /// Callee's IP address.
    Baddress = 179, "baddress";
    /// Whether the callee is outside the platform.
    Bfromouter = 180, "bfromouter";
    /// Cause by Q.850.
    Q850 = 181, "q850";
    /// Media gateway controller group before the migration.
    MgcgroupOld = 182, "mgcgroup_old";
    /// Media context before the migration.
    MgctxidOld = 183, "mgctxid_old";
    /// Whether leg B is an outer leg.
    Bouter = 184, "bouter";
    /// Called number after translation.
    Btranslatednumber = 185, "btranslatednumber";
    /// Called number before translation.
    Boriginalnumber = 186, "boriginalnumber";
    /// Owner after a rescue.
    Newowner = 187, "newowner";
    /// Identity of the row of the projection that goes with a revision.
    Row = 188, "row";
}

impl Field {
    /// The code in logs and on wires.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The field with this name.
    pub fn of_name(name: &str) -> Option<Field> {
        use std::sync::LazyLock;
        type Names = std::collections::HashMap<&'static str, Field, foldhash::fast::FixedState>;
        static NAMES: LazyLock<Names> =
            LazyLock::new(|| FIELDS.iter().map(|&(field, name)| (name, field)).collect());
        NAMES.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_lead_back_to_their_field() {
        for &(field, name) in FIELDS {
            assert_eq!(Field::from_code(field.code()), Some(field));
            assert_eq!(Field::of_name(name), Some(field));
        }
    }
}
