"""Laws of the direct loader: the same model as transformers' own, bit for bit, and its tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from avsr import language_model
from avsr.errors import ModelError
from avsr.language_model import load_llm, load_tokenizer

KINDS = ("llama", "qwen2", "qwen3")


def make_tokenizer(folder: Path, **settings: Any) -> None:
    words = {"<s>": 0, "</s>": 1, "bin": 2, "blue": 3, "<unk>": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    folder.mkdir(exist_ok=True, parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def make_llm(folder: Path, kind: str, *, tied: bool, **settings: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
    )
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder, **settings)
    make_tokenizer(folder, bos_token="<s>", eos_token="</s>")
    return model


def same(ours: Any, theirs: Any) -> None:
    """Both have the same class, tensors, buffers and outputs, cached and not."""
    assert type(ours) is type(theirs)
    a, b = ours.state_dict(), theirs.state_dict()
    assert a.keys() == b.keys()
    for name, tensor in b.items():
        assert a[name].dtype == tensor.dtype
        assert torch.equal(a[name], tensor)
    buffers = dict(theirs.named_buffers())
    assert dict(ours.named_buffers()).keys() == buffers.keys()
    assert all(torch.equal(got, buffers[name]) for name, got in ours.named_buffers())
    assert ours.config._attn_implementation == theirs.config._attn_implementation
    ids = torch.arange(24).reshape(2, 12)
    mask = torch.ones_like(ids)
    mask[1, :5] = 0
    with torch.inference_mode():
        one, two = ours(ids, attention_mask=mask), theirs(ids, attention_mask=mask)
        assert torch.equal(one.logits, two.logits)
        one = ours(ids[:, -1:], past_key_values=one.past_key_values)
        two = theirs(ids[:, -1:], past_key_values=two.past_key_values)
    assert torch.equal(one.logits, two.logits)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_direct_loader_is_transformers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, tied: bool
) -> None:
    from transformers import AutoModelForCausalLM

    make_llm(tmp_path, kind, tied=tied)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    monkeypatch.setattr(language_model, "_load_any", None)  # the direct way must do it
    ours, tokenizer = load_llm(tmp_path, torch.float32)
    same(ours, theirs)
    assert (ours.lm_head.weight is ours.model.embed_tokens.weight) == tied
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    assert not any(module.training for module in ours.modules())
    assert not any(parameter.is_meta for parameter in ours.parameters())
    assert (tokenizer.bos_id, tokenizer.eos_id) == (0, 1)


def test_shards_are_read_together(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    make_llm(tmp_path, "llama", tied=False, max_shard_size="10KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    same(
        load_llm(tmp_path, torch.float32)[0],
        AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval(),
    )


def test_the_dtype_asked_for_is_given(tmp_path: Path) -> None:
    make_llm(tmp_path, "llama", tied=True)
    llm, _ = load_llm(tmp_path)
    assert {parameter.dtype for parameter in llm.parameters()} == {torch.bfloat16}
    assert llm.config.dtype == torch.bfloat16
    assert llm.model.rotary_emb.inv_freq.dtype == torch.float32


def test_another_architecture_goes_through_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=32, n_layer=1, n_head=2)).save_pretrained(
        tmp_path
    )
    make_tokenizer(tmp_path, eos_token="</s>")
    llm, _ = load_llm(tmp_path, torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = torch.arange(5)[None]
    assert torch.equal(llm(ids).logits, theirs.eval()(ids).logits)
    assert not any(parameter.requires_grad for parameter in llm.parameters())


def edit(path: Path, change: Any) -> None:
    state = load_file(path / "model.safetensors")
    change(state)
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})


def test_rotary_tables_in_older_files_are_passed_over(tmp_path: Path) -> None:
    make_llm(tmp_path, "llama", tied=False)
    before = load_llm(tmp_path, torch.float32)[0]
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    edit(tmp_path, lambda state: state.update({name: torch.ones(4)}))
    same(load_llm(tmp_path, torch.float32)[0], before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.norm.weight"), r"1 tensors missing.*model\.norm\.weight"),
        (lambda s: s.pop("lm_head.weight"), r"1 tensors missing.*lm_head\.weight"),
        (lambda s: s.update(odd=torch.ones(1)), "1 not known.*odd"),
        (lambda s: s.update({"model.norm.weight": torch.ones(3)}), "unreadable weights"),
    ],
    ids=["missing", "missing head", "unknown", "another shape"],
)
def test_weights_that_do_not_fit_are_one_line(tmp_path: Path, change: Any, message: str) -> None:
    make_llm(tmp_path, "llama", tied=False)
    edit(tmp_path, change)
    with pytest.raises(ModelError, match=message) as caught:
        load_llm(tmp_path, torch.float32)
    assert "\n" not in str(caught.value)


def test_cut_weights_are_one_line(tmp_path: Path) -> None:
    make_llm(tmp_path, "llama", tied=False)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match="unreadable weights"):
        load_llm(tmp_path, torch.float32)


@pytest.mark.parametrize("text", ["", "[]", "{", "3"])
def test_a_damaged_config_is_one_line(tmp_path: Path, text: str) -> None:
    make_llm(tmp_path, "llama", tied=False)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"unreadable config\.json"):
        load_llm(tmp_path, torch.float32)


@pytest.mark.parametrize(
    ("told", "config", "wanted"),
    [
        ({"bos_token": "<s>", "eos_token": "</s>"}, {}, (0, 1)),
        ({"bos_token": {"content": "<s>"}, "eos_token": {"content": "</s>"}}, {}, (0, 1)),
        # Qwen: the tokenizer says "none", whatever config.json counts as the first token.
        ({"bos_token": None, "eos_token": "</s>"}, {"bos_token_id": 3}, (None, 1)),
        # The same folder saved again by transformers: what is none is left out.
        ({"eos_token": "</s>"}, {"bos_token_id": 3}, (None, 1)),
        ({}, {"bos_token_id": 0, "eos_token_id": 1}, (0, 1)),
        ({}, {"bos_token_id": None, "eos_token_id": [1, 2]}, (None, 1)),
        ({"eos_token": "</s>"}, {"eos_token_id": 3}, (None, 1)),
    ],
)
def test_which_tokens_open_and_end_a_text(
    tmp_path: Path, told: dict, config: dict, wanted: tuple[int | None, int]
) -> None:
    make_tokenizer(tmp_path, **told)
    (tmp_path / "config.json").write_text(json.dumps(config))
    got = load_tokenizer(tmp_path)
    assert (got.bos_id, got.eos_id) == wanted


def test_a_qwen_tokenizer_saved_by_transformers_has_no_bos(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    make_tokenizer(tmp_path / "raw")
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "raw" / "tokenizer.json"), eos_token="</s>", bos_token=None
    )
    fast.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_text('{"bos_token_id": 3, "eos_token_id": 2}')
    got = load_tokenizer(tmp_path / "saved")
    assert (got.bos_id, got.eos_id) == (None, 1)


@pytest.mark.parametrize("config", [{}, {"eos_token_id": None}, {"eos_token_id": []}])
def test_no_end_of_text_is_an_error(tmp_path: Path, config: dict) -> None:
    make_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="no end-of-text token"):
        load_tokenizer(tmp_path)


def test_a_damaged_or_absent_tokenizer_is_an_error(tmp_path: Path) -> None:
    make_tokenizer(tmp_path, eos_token="</s>")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="unreadable tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="unreadable tokenizer"):
        load_tokenizer(tmp_path)


def test_text_goes_there_and_back_whole(tmp_path: Path) -> None:
    make_tokenizer(tmp_path, bos_token="<s>", eos_token="</s>")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.enable_truncation(2)  # as it was saved after someone's batch
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    got = load_tokenizer(tmp_path)
    assert got.encode("bin blue bin") == [2, 3, 2]
    assert got.decode([0, 2, 3, 1]) == "bin blue"
    assert got.vocab_size == 5
