"""The script that pretrains the mini backbones: it runs from end to end, and what ships is what it writes."""

import csv
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from scripts import build_mini_backbones as build
from wegeft.tasks.mini_world.corpus import documents
from wegeft.tasks.mini_world.world import build_world


@pytest.fixture(scope="module")
def shipped(project_root: Path) -> Path:
    return project_root / "src" / "wegeft" / "models" / "mini" / "mini_llama"


@pytest.fixture(scope="module")
def model(shipped: Path) -> LlamaForCausalLM:
    loaded = AutoModelForCausalLM.from_pretrained(shipped)
    assert isinstance(loaded, LlamaForCausalLM)
    return loaded


@pytest.fixture(scope="module")
def tokenizer(shipped: Path) -> TokenizersBackend:
    loaded = AutoTokenizer.from_pretrained(shipped)
    assert isinstance(loaded, TokenizersBackend)
    return loaded


def test_the_script_writes_a_backbone_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "LOG_EVERY", 3)
    threads = torch.get_num_threads()
    build.main(["--only", "mini_llama", "--out", str(tmp_path), "--threads", "2", "--documents", "150"])
    torch.set_num_threads(threads)
    folder = tmp_path / "mini_llama"
    rows = list(csv.DictReader((folder / "training_log.csv").read_text().splitlines()))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert AutoTokenizer.from_pretrained(folder).bos_token_id == 1
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.float32
    assert "| corpus | world seed 0, corpus seed 0, 150 documents |" in (folder / "CARD.md").read_text()


def test_an_unknown_backbone_is_refused_with_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        build.parse(["--only", "mini_gpt"])
    assert "choose from" in capsys.readouterr().err


def test_batches_hold_whole_documents_and_all_of_them() -> None:
    texts = [([1] + [i] * (i % 7 + 1) + [2], [False] + [True] * (i % 7 + 2)) for i in range(10, 1000)]
    groups = build.batched(texts, budget=40)
    assert all(build.padded(group)[0].numel() <= 40 for group in groups)
    assert sorted(text for group in groups for text in group) == sorted(texts)
    # A curriculum: nothing leaves its window of the corpus.
    first = [text for group in groups for text in group][:256]
    assert sorted(first) == sorted(texts[:256])


def test_a_document_longer_than_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="30 tokens"):
        build.batched([([5] * 30, [True] * 30)], budget=20)


def test_what_is_read_is_not_learned(tokenizer: TokenizersBackend) -> None:
    world = build_world(0)
    drawn = list(documents(world, 0, 2000))
    for document, (ids, learned) in zip(drawn, build.encode(drawn, tokenizer), strict=True):
        assert ids[1:-1] == tokenizer.encode(document.text, add_special_tokens=False)
        kept = tokenizer.decode([i for i, counts in zip(ids, learned, strict=True) if counts])
        assert kept == "".join(document.parts[1::2]) + "<eos>"
    ids_BL, learned_BL = build.padded([([1, 5, 6, 2], [False, False, True, True]), ([1, 5, 2], [False, True, True])])
    assert ids_BL.tolist() == [[1, 5, 6, 2], [1, 5, 2, 0]]
    assert learned_BL.tolist() == [[False, False, True, True], [False, True, True, False]]


def test_matching_heads_look_for_their_own_token_and_copy_it() -> None:
    recipe = build.Recipe(width=32, layers=2, heads=4, kv_heads=2, feed_forward=32, vocabulary=50)
    for layer in build.build_model(recipe).model.layers:
        attention = layer.self_attn
        for key in (0, 1):
            head, kept = slice(16 * key, 16 * key + 8), slice(8 * key, 8 * key + 8)
            assert torch.equal(attention.k_proj.weight[kept], attention.q_proj.weight[head])
            assert torch.equal(attention.o_proj.weight[:, head], attention.v_proj.weight[kept].T)
            other = slice(16 * key + 8, 16 * key + 16)
            assert not torch.equal(attention.k_proj.weight[kept], attention.q_proj.weight[other])


def test_two_replicas_have_the_gradients_of_one() -> None:
    recipe = build.Recipe(width=24, layers=2, heads=4, kv_heads=2, feed_forward=32, vocabulary=50)
    ids_BL = torch.randint(3, 50, (4, 12), generator=torch.Generator().manual_seed(0))
    learned_BL = ids_BL % 3 > 0
    found = []
    for count in (1, 2):
        replicas = build.Replicas(build.build_model(recipe), count)
        loss = replicas.backward(ids_BL, learned_BL)
        found.append((loss, [p.grad for p in replicas.models[0].parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for one, two in zip(found[0][1], found[1][1], strict=True):
        assert one is not None
        assert two is not None
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_the_rate_warms_up_and_falls_to_its_last_fraction() -> None:
    recipe = build.Recipe(warmup=10)
    rates = [build.rate_at(step, 101, recipe) for step in range(101)]
    assert max(rates) == rates[10] == recipe.learning_rate
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(recipe.final_fraction * recipe.learning_rate, rel=0.05)


def test_what_ships_is_small_and_loads_in_fp32(shipped: Path, model: LlamaForCausalLM) -> None:
    assert sum(file.stat().st_size for file in shipped.iterdir()) < 12e6
    assert model.dtype == torch.float32
    heads = model.config.num_key_value_heads
    assert heads is not None
    assert heads < model.config.num_attention_heads
    assert f"{model.num_parameters():,} parameters" in (shipped / "CARD.md").read_text()


def test_the_special_tokens_are_dedicated_and_none_is_added(tokenizer: TokenizersBackend) -> None:
    assert [tokenizer.convert_tokens_to_ids(t) for t in build.SPECIAL_TOKENS] == [0, 1, 2, 3]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert min(tokenizer("Is it true? 42 <b>")["input_ids"]) > 3


@pytest.mark.parametrize("text", ["Zürich, 12.5 %\t\n\n  x", "漢字 and 🙂", "3 + 14 = 17.", " two  spaces "])
def test_any_text_survives_the_tokenizer(tokenizer: TokenizersBackend, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text), clean_up_tokenization_spaces=False) == text


def test_digits_stand_alone(tokenizer: TokenizersBackend) -> None:
    assert [tokenizer.decode(i) for i in tokenizer.encode("10 + 234")] == ["1", "0", " +", " 2", "3", "4"]


def test_the_shipped_model_knows_the_facts_that_its_card_says_it_knows(
    shipped: Path, model: LlamaForCausalLM, tokenizer: TokenizersBackend
) -> None:
    card = (shipped / "CARD.md").read_text()
    stated = {who: float(x) / 100 for who, x in re.findall(r"facts completed, ([\w-]+) entities \| ([\d.]+)%", card)}
    world = build_world(0)
    for who, held_out in (("fine-tuning", False), ("test", True)):
        known = build.knows(model, tokenizer, world.facts(held_out))
        assert known == pytest.approx(stated[who], abs=0.005)
        assert known > 0.7
