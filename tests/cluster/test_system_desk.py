# SPDX-License-Identifier: Apache-2.0
"""The desk's tests: both nodes are in its set; the gateways on paper are on node b."""

from test_desk import (  # noqa: F401
    city, served, test_a_gateway_that_is_offline_is_sent_nothing, test_a_lock_counts_only_by_a_receipt_that_it_signed,
    test_a_repeated_authorization_is_no_refusal, test_a_restored_desk_asks_a_gateway_for_a_list_that_no_broker_has,
    test_a_restored_desk_takes_over_the_list_from_the_broker, test_a_revocation_without_a_broker_is_kept_and_sent_by_serve,
    test_a_rotated_key_is_obeyed_and_the_old_one_is_not, test_a_second_serve_refuses_to_start,
    test_a_stale_challenge_is_signed_again_once_with_a_new_cti,
    test_accepted_and_then_silence_is_unknown_until_a_receipt_says_more,
    test_change_lock_kills_what_was_issued_and_not_what_comes_after, test_no_answer_after_ten_seconds,
    test_no_broker_is_no_answer, test_policy_set_reaches_the_fleet_as_it_was_meant,
    test_revoke_by_person_takes_all_their_phones, test_revoke_names_who_is_missing,
    test_revoke_suspend_restore_reach_every_gateway_and_lock, test_serve_asks_for_events_that_were_lost_and_files_each_once,
    test_serve_gives_each_gateway_a_reader_for_its_own_locks_only, test_serve_hears_what_was_said_while_it_was_down,
    test_serve_replaces_a_foreign_list_and_an_empty_one, test_serve_replaces_an_older_list_that_came_back,
    test_serve_sends_to_a_gateway_that_is_behind, test_serve_survives_kill_and_works_beside_commands,
    test_the_second_gateway_of_a_lock_is_taken_when_the_first_is_away)
