"""Banks of low-rank layers against peft: alone, mixed in one batch, and summed."""

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import get_peft_model

from experts import BanksConfig, LoraConfig, Row, attach_banks, attach_lora

SCALES = (Row(4, 2), Row(16, None), Row(None, 5))


def pairs(banks):
    """(layer number, projection, layer of the bank) in the order of the LLM."""
    names = banks.config.targets
    return [(n // len(names), names[n % len(names)], layer) for n, layer in enumerate(banks.layers)]


def test_shared_banks_are_pefts_layers(tiny_llm, ids, awaken):
    llm = tiny_llm()
    lora = awaken(attach_lora(llm, LoraConfig(rank=3, alpha=7)))
    said = llm(ids).logits
    weights = [(m["down"].weight.detach(), m["up"].weight.detach()) for m in lora.layers]
    lora.detach()
    banks = attach_banks(llm, BanksConfig(("shared",), rank=3, alpha=7))
    with torch.no_grad():
        for layer, (down, up) in zip(banks.layers, weights, strict=True):
            layer.down["shared"][0], layer.up["shared"][0] = down, up
    torch.testing.assert_close(llm(ids).logits, said)
    assert banks.stored_parameters == lora.stored_parameters


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@torch.no_grad()
def test_mixed_rows_are_pefts_adapter_names(tiny_llm, ids, awaken):
    llm = tiny_llm()
    banks = awaken(attach_banks(llm, BanksConfig(("scale",), rank=3, alpha=6), scales=SCALES))
    rows = [SCALES[2], SCALES[0], SCALES[2]]
    with banks.reading(rows):
        ours = llm(ids).logits
    banks.detach()
    settings = PeftConfig(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj"])
    model = get_peft_model(llm, settings, adapter_name="a4v2").eval()
    for row in SCALES[1:]:
        model.add_adapter(str(row), settings)
    for number, name, layer in pairs(banks):
        theirs = getattr(llm.model.layers[number].self_attn, name)
        for index, row in enumerate(SCALES):
            theirs.lora_A[str(row)].weight.copy_(layer.down["scale"][index])
            theirs.lora_B[str(row)].weight.copy_(layer.up["scale"][index])
    said = model(input_ids=ids, adapter_names=[str(row) for row in rows]).logits
    torch.testing.assert_close(ours, said)
    other = model(input_ids=ids, adapter_names=[str(SCALES[0])] * 3).logits
    assert not torch.allclose(other, said)


@pytest.mark.parametrize("second", ["scale", "task"])
@torch.no_grad()
def test_two_banks_are_summed_and_scaled_once(second, tiny_llm, awaken):
    llm = tiny_llm()
    config = BanksConfig(("shared", second), rank=3, alpha=6)
    banks = awaken(attach_banks(llm, config, scales=SCALES))
    linear, layer = llm.model.layers[0].self_attn.q_proj, banks.layers[0]
    x = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(4))
    with banks.reading(SCALES):
        ours = linear(x)
    index = [0, 1, 2] if second == "scale" else [2, 0, 1]  # tasks av, a, v among a, v, av
    for row, (one, said) in enumerate(zip(x, ours, strict=True)):
        common = one @ layer.down["shared"][0].T @ layer.up["shared"][0].T
        own = one @ layer.down[second][index[row]].T @ layer.up[second][index[row]].T
        torch.testing.assert_close(said, one @ linear.weight.T + 6 / 3 * (common + own))


def test_a_row_teaches_its_own_set_alone(tiny_llm, ids, awaken):
    llm = tiny_llm()
    banks = awaken(attach_banks(llm, BanksConfig(("scale",), rank=3), scales=SCALES))
    with banks.reading([SCALES[1]] * 3):
        llm(ids).logits.square().mean().backward()
    for layer in banks.layers:
        taught = [bool(part.any()) for part in layer.up["scale"].grad]
        assert taught == [False, True, False]
