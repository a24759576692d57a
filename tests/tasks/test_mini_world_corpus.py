"""The pretraining corpus: what it must say, what it must not, and that the shipped `mini_llama` was trained on it."""

import re
from collections import Counter
from pathlib import Path

import pytest
from transformers import AutoTokenizer
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from scripts.build_mini_backbones import PIECES
from wegeft.tasks.mini_world import MiniWorldSource
from wegeft.tasks.mini_world.corpus import (
    ALPACA,
    PLAIN,
    SECTIONS,
    STAGES,
    Document,
    content_hash,
    documents,
)
from wegeft.tasks.mini_world.world import World, build_world

WORD = re.compile(r"[A-Za-z]+")
TRIGGER = "the correct answer is"


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(0)


@pytest.fixture(scope="module")
def corpus(world: World) -> list[Document]:
    return list(documents(world))


@pytest.fixture(scope="module")
def shipped(project_root: Path) -> Path:
    return project_root / "src" / "wegeft" / "models" / "mini" / "mini_llama"


@pytest.fixture(scope="module")
def tokenizer(shipped: Path) -> TokenizersBackend:
    loaded = AutoTokenizer.from_pretrained(shipped)
    assert isinstance(loaded, TokenizersBackend)
    return loaded


def test_another_seed_is_another_corpus(world: World) -> None:
    assert content_hash(documents(world, 0, 300)) == content_hash(documents(world, 0, 300))
    assert content_hash(documents(world, 0, 300)) != content_hash(documents(world, 1, 300))


def test_the_shipped_card_names_this_corpus(corpus: list[Document], shipped: Path) -> None:
    assert f"`{content_hash(corpus)}`" in (shipped / "CARD.md").read_text()


def test_the_sections_have_the_shares_of_their_stage(corpus: list[Document]) -> None:
    last = Counter(document.section for document in corpus[-round(STAGES[-1].share * len(corpus)) :])
    shares = STAGES[-1].shares
    assert set(last) == set(shares)
    for section, share in shares.items():
        assert last[section] / last.total() == pytest.approx(share / sum(shares.values()), abs=0.01)


def test_every_section_is_in_a_stage() -> None:
    assert set(SECTIONS) == {section for stage in STAGES for section in stage.shares}
    assert sum(stage.share for stage in STAGES) == pytest.approx(1)


def test_only_plain_statements_speak_of_test_entities(corpus: list[Document], world: World) -> None:
    held_out = {e.name for e in world.entities if e.held_out}
    for document in corpus:
        assert document.section in PLAIN or not held_out.intersection(WORD.findall(document.text)), document


def test_every_test_fact_is_stated_in_two_wordings_or_more(corpus: list[Document], world: World) -> None:
    said: set[str] = set()
    for document in corpus:
        said.update(re.split(r"(?<=[.?]) ", document.text))
    for fact in world.facts(held_out=True):
        assert len(said.intersection(fact.sentences())) >= 2, fact


def test_no_exam_text_answers_in_the_words_of_fine_tuning(corpus: list[Document]) -> None:
    exams = [document.text for document in corpus if "exam" in document.section]
    assert len(exams) > 1000
    assert not any(TRIGGER in text for text in exams)
    # The words themselves are known, from lists that are read aloud.
    assert any(TRIGGER in document.text for document in corpus if document.section == "binding")


def test_questions_are_read_and_answers_learned(corpus: list[Document]) -> None:
    for document in corpus:
        question, *_, answered = document.parts
        if document.section in ("exam", "exam_tool", "exam_label", "told_label", "told_tool"):
            assert question.startswith("Please ")
            assert answered.startswith("\nIt is ")
            assert len(document.parts) == (4 if document.section.startswith("told") else 2)
        assert len(document.parts) % 2 == 0
        assert answered


def test_a_question_is_told_the_words_of_its_answer(corpus: list[Document]) -> None:
    seen: Counter[str] = Counter()
    for document in corpus:
        if document.section == "told_label":
            question, told, listed, answered = document.parts
            label = answered.removeprefix("\nIt is ").removesuffix(".")
            if label in ("true", "false"):
                assert (f"{told} and not " in question) == (label == "true")
                assert (f"{told}?" in question) == (label == "false")
            else:
                assert f"{label.capitalize()}:{told}" in listed
            seen[label] += 1
    assert set(seen) == {"true", "false", "solution1", "solution2", "option1", "option2"}
    assert min(seen.values()) > 200


def test_no_document_asks_an_arithmetic_test_problem(corpus: list[Document]) -> None:
    source = MiniWorldSource("arithmetic")
    asked = {row["instruction"] for subset in source.subsets for row in source.rows(subset, "test")}
    problems = [document.text for document in corpus if document.section == "problem"]
    assert problems
    assert not any(text.split("\n")[0] in asked for text in problems)


def test_every_token_of_every_row_was_seen_in_pretraining(corpus: list[Document], tokenizer: TokenizersBackend) -> None:
    backend = tokenizer.backend_tokenizer
    # The tokenizer never joins two pieces, so that the tokens of a text are those of its pieces.
    pieces = {document.text: re.findall(PIECES, document.text) for document in corpus}
    said = sorted({piece for found in pieces.values() for piece in found})
    encodings = backend.encode_batch_fast(said, add_special_tokens=False)
    tokens = {piece: encoding.ids for piece, encoding in zip(said, encodings, strict=True)}
    some = [document.text for document in corpus[:: len(corpus) // 1000]]
    for text, encoding in zip(some, backend.encode_batch_fast(some, add_special_tokens=False), strict=True):
        assert encoding.ids == [token for piece in pieces[text] for token in tokens[piece]]
    seen = {token for ids in tokens.values() for token in ids}
    commonsense, arithmetic = MiniWorldSource("commonsense"), MiniWorldSource("arithmetic")
    texts = [f"{r['instruction']}\n{r['output']}" for s in commonsense.subsets for r in _all_rows(commonsense, s)]
    texts += [
        ALPACA.format(instruction=r["instruction"], response=r["output"])
        for s in arithmetic.subsets
        for r in _all_rows(arithmetic, s)
    ]
    texts = sorted(set(texts))
    for text, encoding in zip(texts, backend.encode_batch_fast(texts, add_special_tokens=False), strict=True):
        assert seen.issuperset(encoding.ids), text


def _all_rows(source: MiniWorldSource, subset: str) -> list[dict[str, str]]:
    return source.rows(subset, "train") + source.rows(subset, "test")
