# SPDX-License-Identifier: Apache-2.0
"""The gateway's tests, with the gateway on node a and who speaks to it on node b."""

from test_gateway import (  # noqa: F401
    box, test_a_bad_authorization_is_refused_with_its_reason, test_a_document_held_is_sent_on_request,
    test_a_duplicate_moves_nothing_and_is_told_what_happened_first, test_a_lock_that_fails_says_so,
    test_a_retained_authorization_is_refused, test_a_stale_challenge_is_refused_and_the_present_one_told,
    test_an_authorization_opens_and_its_receipt_comes_back, test_events_are_numbered_and_chained,
    test_every_truncation_of_a_good_authorization_is_malformed, test_health_is_published_with_counters,
    test_one_at_a_time_per_lock, test_replay_sends_the_same_bytes_again,
    test_revoked_suspended_outside_and_foreign_lists_open_nothing, test_rubbish_is_refused_and_the_gateway_goes_on,
    test_two_locks_do_not_wait_for_each_other)
