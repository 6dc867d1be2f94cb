"""The state machine under random events: never two processes for one instrument, every ticket ends once.

The machines are those of tests/front_proc, where their everyday runs are; here they are part of the fault suite, and
run for long in the full one.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.front_proc.serving.test_exchange_machine import Exchanges
from tests.front_proc.serving.test_resource_machine import Histories

pytestmark = pytest.mark.fault(58)

FULL = pytest.param(5000, 50, marks=[pytest.mark.full, pytest.mark.timeout(1200)])


def run(machine, histories, steps):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(("histories", "steps"), [(60, 40), FULL])
def test_promises_hold_whatever_a_process_says_and_whoever_does_what(histories, steps):
    """Crashes, hangs, garbage, aborts, restarts, closes, in any order and at any moment."""
    run(Histories, histories, steps)


@pytest.mark.parametrize(("histories", "steps"), [(60, 40), FULL])
def test_answers_reach_who_asked_whatever_is_aborted_or_killed(histories, steps):
    """Late answers, aborts, device clears, new processes, in any order and at any moment."""
    run(Exchanges, histories, steps)
