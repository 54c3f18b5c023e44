# SPDX-License-Identifier: Apache-2.0
"""The story of the demo, and a fleet whose keys change, with the gateways on one node and the desk on both."""

from test_demo import test_every_step_of_the_demo_holds_and_nothing_is_left_behind  # noqa: F401
from test_fleet import test_a_changed_lock_is_read_on, test_every_key_rotated_and_doors_still_open  # noqa: F401
