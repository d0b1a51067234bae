"""With gradient checkpointing, a pass done again took the rows of the last pass with gradients.

Two passes at other rates before one `backward`, or a `backward` while other rows were announced,
gave wrong gradients without a word.
"""

import pytest
import torch

from experts import METHODS, Common, LoraConfig, MomeConfig, Row, widen
from tests.tiny import awaken, tiny_llm

COMMON = Common(MomeConfig(routed=4, top_k=2, rank=3), LoraConfig(rank=3, alpha=6))
ROWS = (Row(4, None), Row(None, 2), Row(4, 2))
CASES = [("mtsk-ss", {}), ("omni-st", {}), ("mome", {"routers": "scale"})]


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("inside", [None, ROWS[::-1]])
def test_every_pass_is_done_again_with_its_own_rows(case, inside):
    name, settings = case
    llm = tiny_llm("llama")
    adapter = awaken(widen(llm, name, METHODS[name].sizes(COMMON, settings), scales=ROWS))
    ids = torch.randint(3, 40, (3, 6), generator=torch.Generator().manual_seed(1))

    def gradients():
        adapter.zero_grad()
        total = torch.zeros(())
        for rows in (ROWS[::-1], ROWS, (ROWS[1], ROWS[1], ROWS[0])):
            with adapter.reading(rows):
                total = total + llm(ids).logits.square().mean()
        if inside is None:
            total.backward()
        else:
            with adapter.reading(inside):
                total.backward()
        return [p.grad.clone() for p in adapter.parameters()]

    llm.train()
    plain = gradients()
    llm.gradient_checkpointing_enable({"use_reentrant": False})
    for one, other in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(one, other)
