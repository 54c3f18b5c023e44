# SPDX-License-Identifier: Apache-2.0
"""Gateways that die, both nodes that die, documents that come twice and old."""

from test_broker import (  # noqa: F401
    test_a_document_that_changes_nothing_is_answered_by_state, test_a_replay_for_another_stream_is_answered_by_state,
    test_an_older_retained_list_takes_nothing_back, test_an_oversized_message_is_dropped_and_reported,
    test_another_gateways_messages_are_not_ours, test_duplicates_and_reordering_of_documents_end_with_the_newest,
    test_the_will_of_an_earlier_connection_does_not_stay)
from test_documents import test_lists_and_policy_before_their_keys_are_kept_and_tried_again  # noqa: F401
from test_restart import (  # noqa: F401
    box, test_a_gateway_killed_between_accepting_and_the_answer, test_a_killed_gateway_is_offline_by_its_will,
    test_events_survive_an_outage_of_the_broker_and_come_in_order, test_sigterm_says_goodbye)
from test_threats import test_an_authorization_given_to_another_gateway_opens_nothing, two  # noqa: F401
