"""What attaching a MoME to an LLM may and may not change."""

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from experts import MomeConfig, attach

SMALL = {"routed": 5, "shared": 1, "top_k": 2, "rank": 3}
PLACES = ["ffn", "mhsa", "layer"]


def hooks(llm):
    return [hook for module in llm.modules() for hook in module._forward_hooks.values()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("placement", PLACES)
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_identity_at_init(kind, placement, dtype, tiny_llm, ids):
    llm = tiny_llm(kind, dtype)
    bare = llm(ids).logits
    mome = attach(llm, MomeConfig(placement=placement, **SMALL))
    for training in (True, False):
        mome.train(training)
        assert torch.equal(llm(ids).logits, bare)
        with torch.no_grad():
            assert torch.equal(llm(ids).logits, bare)
            assert torch.equal(llm(ids[:1, :1]).logits, attached_off(llm, mome, ids[:1, :1]))


def attached_off(llm, mome, ids):
    """The bare LLM's output on the same shape, with the hooks lifted for a moment."""
    saved = [(module._forward_hooks, dict(module._forward_hooks)) for module in llm.modules()]
    for table, _ in saved:
        table.clear()
    bare = llm(ids).logits
    for table, entries in saved:
        table.update(entries)
    return bare


@pytest.mark.parametrize("placement", PLACES)
def test_detach_leaves_the_llm_as_it_was(placement, tiny_llm, ids, awaken):
    llm = tiny_llm()
    bare, names = llm(ids).logits, list(llm.state_dict())
    mome = awaken(attach(llm, MomeConfig(placement=placement, **SMALL)))
    assert not torch.allclose(llm(ids).logits, bare)
    assert list(llm.state_dict()) == names
    mome.detach()
    assert torch.equal(llm(ids).logits, bare)
    assert hooks(llm) == []
    attach(llm, MomeConfig(**SMALL)).detach()  # and it may be attached again


@pytest.mark.parametrize("placement", PLACES)
@torch.no_grad()
def test_placement_reads_and_adds_where_the_paper_says(placement, tiny_llm, ids, awaken):
    llm = tiny_llm()
    mome = awaken(attach(llm, MomeConfig(placement=placement, **SMALL))).eval()
    block, mixture = llm.model.layers[0], mome.layers[0]
    seen = {}
    block.register_forward_hook(lambda module, args, out: seen.update(z=args[0], out=out))
    block.self_attn.register_forward_hook(lambda module, args, out: seen.update(attention=out[0]))
    llm(ids)
    adapted = seen["out"]
    mome.detach()
    llm(ids)
    entered = mixture(block.input_layernorm(seen["z"]))
    hidden = seen["z"] + seen["attention"] + (entered if placement == "mhsa" else 0)
    expected = hidden + block.mlp(block.post_attention_layernorm(hidden))
    if placement == "ffn":
        expected += mixture(block.post_attention_layernorm(hidden))
    if placement == "layer":
        expected += entered
    torch.testing.assert_close(adapted, expected)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("placement", PLACES)
def test_cached_generation_equals_uncached(placement, beams, tiny_llm, ids, awaken):
    llm = tiny_llm()
    awaken(attach(llm, MomeConfig(placement=placement, **SMALL))).eval()
    options = {"max_new_tokens": 5, "do_sample": False, "num_beams": beams}
    cached = llm.generate(ids[:1], use_cache=True, **options)
    assert torch.equal(cached, llm.generate(ids[:1], use_cache=False, **options))


@pytest.mark.parametrize("placement", PLACES)
def test_left_padding_and_batch_change_nothing(placement, tiny_llm, ids, awaken):
    llm = tiny_llm()
    awaken(attach(llm, MomeConfig(placement=placement, **SMALL))).eval()
    short = ids[1, 3:]
    batch = ids.clone()
    batch[1, :3] = 0
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        together = llm(batch, attention_mask=mask, position_ids=positions).logits
        torch.testing.assert_close(together[1:2, 3:], llm(short[None]).logits)
        torch.testing.assert_close(together[:1], llm(ids[:1]).logits)
    options = {"max_new_tokens": 4, "do_sample": False}
    padded = llm.generate(batch, attention_mask=mask, **options)[1, 7:]
    assert torch.equal(padded, llm.generate(short[None], **options)[0, 4:])


def test_only_the_mome_is_trained(tiny_llm, ids, awaken):
    llm = tiny_llm()
    mome = awaken(attach(llm, MomeConfig(**SMALL)))
    frozen = {name: value.clone() for name, value in llm.state_dict().items()}
    before = {name: value.clone() for name, value in mome.state_dict().items()}
    optimizer = torch.optim.AdamW(mome.parameters(), lr=1e-2)
    llm(ids, labels=ids).loss.backward()
    optimizer.step()
    assert all(parameter.grad is None for parameter in llm.parameters())
    assert all(torch.equal(value, frozen[name]) for name, value in llm.state_dict().items())
    assert all(not torch.equal(value, before[name]) for name, value in mome.state_dict().items())


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("placement", PLACES)
def test_gradient_checkpointing_gives_the_same_gradients(
    placement, reentrant, tiny_llm, ids, awaken
):
    llm = tiny_llm()
    mome = awaken(attach(llm, MomeConfig(placement=placement, **SMALL)))
    mask = torch.ones_like(ids, dtype=torch.bool)
    inputs = llm.get_input_embeddings()(ids).requires_grad_()

    def gradients():
        with mome.tokens(mask, collect="none" if reentrant else "balance"):
            loss = llm(inputs_embeds=inputs, labels=ids, use_cache=False).loss
        if not reentrant:
            loss = loss + 0.1 * mome.balance_loss()
        mome.zero_grad()
        loss.backward()
        return [parameter.grad.clone() for parameter in mome.parameters()]

    llm.train()
    plain = gradients()
    llm.gradient_checkpointing_enable({"use_reentrant": reentrant})
    for one, other in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(one, other)
    held = [hook.held for hook in hooks(llm) if hasattr(hook, "held")]
    assert len(held) == 2
    assert not any(held)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
def test_reentrant_checkpointing_cannot_lose_the_balance_gradient(tiny_llm, ids):
    llm = tiny_llm().train()
    mome = attach(llm, MomeConfig(**SMALL))
    llm.gradient_checkpointing_enable({"use_reentrant": True})
    inputs = llm.get_input_embeddings()(ids).requires_grad_()
    with mome.tokens(torch.ones_like(ids, dtype=torch.bool)):
        llm(inputs_embeds=inputs, use_cache=False)
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        mome.balance_loss()


def test_autocast_trains_and_keeps_identity(tiny_llm, ids):
    llm = tiny_llm()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        bare = llm(ids).logits
        mome = attach(llm, MomeConfig(**SMALL))
        logits = llm(ids).logits
        logits.float().square().mean().backward()
    assert torch.equal(logits, bare)
    assert all(parameter.grad is not None for parameter in mome.parameters())


def test_state_dict_holds_the_mome_alone_and_loads_strictly(tiny_llm, ids, awaken):
    llm = tiny_llm()
    mome = awaken(attach(llm, MomeConfig(**SMALL)))
    saved, trained = mome.state_dict(), llm(ids).logits
    names = {"down", "down_bias", "up", "up_bias", "router"}
    assert set(saved) == {f"layers.{n}.{name}" for n in range(2) for name in names}
    mome.detach()
    again = attach(llm, MomeConfig(**SMALL), seed=9)
    again.load_state_dict(saved, strict=True)
    assert torch.equal(llm(ids).logits, trained)


def test_attaching_twice_is_refused(tiny_llm):
    llm = tiny_llm()
    attach(llm, MomeConfig(placement="ffn", **SMALL))
    with pytest.raises(ValueError, match="already carries"):
        attach(llm, MomeConfig(placement="mhsa", **SMALL))


def test_unknown_architecture_is_refused():
    with torch.device("meta"):
        gpt = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=9))
        gemma = Gemma2ForCausalLM(
            Gemma2Config(num_hidden_layers=1, hidden_size=8, intermediate_size=8, vocab_size=9)
        )
    with pytest.raises(ValueError, match="GPT2LMHeadModel has no"):
        attach(gpt, MomeConfig(**SMALL))
    with pytest.raises(ValueError, match="pre_feedforward_layernorm"):
        attach(gemma, MomeConfig(**SMALL))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_peft_model_and_decoder_stack_are_found(tiny_llm, ids):
    from peft import LoraConfig, get_peft_model

    llm = tiny_llm()
    attach(llm.model, MomeConfig(**SMALL)).detach()
    wrapped = get_peft_model(llm, LoraConfig(target_modules=["q_proj", "v_proj"]))
    bare = wrapped(input_ids=ids).logits
    attach(wrapped, MomeConfig(**SMALL))
    assert torch.equal(wrapped(input_ids=ids).logits, bare)


@pytest.mark.parametrize(
    ("hidden", "layers", "rank", "active", "stored"),
    [
        (2048, 16, 8, 3.540e6, 14.13e6),
        (3072, 28, 12, 12.732e6, 53.6e6),
        (4096, 32, 8, 14.157e6, 56.5e6),
    ],
    ids=["Llama-3.2-1B", "Llama-3.2-3B", "Llama-3.1-8B"],
)
def test_counts_of_the_papers_models(hidden, layers, rank, active, stored):
    with torch.device("meta"):
        llm = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=hidden,
                num_hidden_layers=layers,
                intermediate_size=8192,
                num_attention_heads=32,
                num_key_value_heads=8,
            )
        )
    mome = attach(llm, MomeConfig(rank=rank))
    assert mome.active_parameters == pytest.approx(active, rel=2e-4)
    assert mome.stored_parameters == pytest.approx(stored, rel=1e-3)
    assert mome.stored_parameters == sum(p.numel() for p in mome.parameters())
    assert all(p.is_meta for p in mome.parameters())
