//! The scenarios of `test/scenarios/` against the core: one test per file, and one that no file is left out.

mod format;
pub mod matching;
mod run;

macro_rules! scenarios {
    ($( $test:ident = $file:literal; )*) => {
        $( #[test] fn $test() { run::play($file); } )*

        #[test]
        fn every_file_is_played() {
            let listed = [ $( $file, )* ].map(str::to_owned);
            let there = std::fs::read_dir(format::folder()).expect("the folder of scenarios");
            let names = there.map(|file| file.expect("a file").file_name().into_string().expect("a name"));
            let mut names: Vec<String> =
                names.filter(|name| name.starts_with(|first: char| first.is_ascii_digit())).collect();
            names.retain(|name| !listed.contains(name));
            assert_eq!(names, [""; 0], "files that no test plays");
        }
    };
}

scenarios! {
    s01_answered_caller_hangs_up = "01-answered-caller-hangs-up.json";
    s02_answered_callee_hangs_up = "02-answered-callee-hangs-up.json";
    s03_busy_declined_not_found = "03-busy-declined-not-found.json";
    s04_no_answer_until_timeout = "04-no-answer-until-timeout.json";
    s05_caller_cancels_while_ringing = "05-caller-cancels-while-ringing.json";
    s06_parallel_forks = "06-parallel-forks.json";
    s07_serial_forks = "07-serial-forks.json";
    s08_pickup = "08-pickup.json";
    s09_hold_by_both_sides = "09-hold-by-both-sides.json";
    s10_on_hold_at_the_end = "10-on-hold-at-the-end.json";
    s11_blind_and_aborted_transfer = "11-blind-and-aborted-transfer.json";
    s12_attended_transfer = "12-attended-transfer.json";
    s13_media_gateway_migration = "13-media-gateway-migration.json";
    s14_cross_domain_recording_rules = "14-cross-domain-recording-rules.json";
    s15_every_event_twice = "15-every-event-twice.json";
    s16_any_order = "16-any-order.json";
    s17_start_lost = "17-start-lost.json";
    s18_cancel_and_answer_cross = "18-cancel-and-answer-cross.json";
    s19_two_forks_answer = "19-two-forks-answer.json";
    s20_owner_killed_in_conversation = "20-owner-killed-in-conversation.json";
    s20_ended_then_killed_before_its_last_word = "20-ended-then-killed-before-its-last-word.json";
    s20_recording_of_a_dead_dialog = "20-recording-of-a-dead-dialog.json";
    s21_owner_killed_before_conversation = "21-owner-killed-before-conversation.json";
    s22_node_down_and_back = "22-node-down-and-back.json";
    s23_node_with_10000_dialogs_dies = "23-node-with-10000-dialogs-dies.json";
    s24_probe_unknown_media_flows = "24-probe-unknown-media-flows.json";
    s25_probe_says_gone = "25-probe-says-gone.json";
    s25_gone_then_found_alive = "25-gone-then-found-alive.json";
    s25_gone_while_the_end_is_on_its_way = "25-gone-while-the-end-is-on-its-way.json";
    s25_inventory_of_nobody = "25-inventory-of-nobody.json";
    s25_rescued_before_it_is_declared_dead = "25-rescued-before-it-is-declared-dead.json";
    s26_media_silent_owner_alive = "26-media-silent-owner-alive.json";
    s27_media_silent_on_hold = "27-media-silent-on-hold.json";
    s28_two_say_dead = "28-two-say-dead.json";
    s29_real_end_after_synthetic = "29-real-end-after-synthetic.json";
    s30_end_without_stop = "30-end-without-stop.json";
    s31_stop_without_end = "31-stop-without-end.json";
    s32_recording_links_an_hour_later = "32-recording-links-an-hour-later.json";
    s33_midnight_and_clock_stepped_back = "33-midnight-and-clock-stepped-back.json";
    s34_unknown_types_fields_aliases = "34-unknown-types-fields-aliases.json";
    s35_malformed = "35-malformed.json";
    s36_cdr_disabled = "36-cdr-disabled.json";
    s36_projection_disabled = "36-projection-disabled.json";
    s37_never_further_than_invite = "37-never-further-than-invite.json";
    s47_fifty_thousand_events = "47-fifty-thousand-events.json";
    s48_call_changes_its_cid = "48-call-changes-its-cid.json";
    s49_uuid_call_ids = "49-uuid-call-ids.json";
}
