"""What is said beside a transcript: a task that no training step showed."""

import pytest

from avsr.cautions import untrained


@pytest.mark.parametrize(
    ("trained", "task", "told"),
    [
        (["av"], "a", "trained on sound and lips, and reads sound alone untrained"),
        (["a", "v"], "av", "trained on sound alone and on lips alone, and reads sound and lips"),
        (["a", "av"], "a", None),
        (None, "a", None),  # who wrote the model did not say
    ],
)
def test_a_task_that_was_not_trained_is_said(trained, task, told):
    facts = {} if trained is None else {"trained_tasks": trained}
    found = untrained(facts, task)
    assert found is None if told is None else told in found
