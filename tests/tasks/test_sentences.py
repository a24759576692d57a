"""Sentence classification: whole runs on a tiny RoBERTa, the choice of the epoch, exact counts, real files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import RobertaConfig, RobertaForSequenceClassification, RobertaModel

from tests.composing import run_config
from tests.tasks.tiny import tiny_tokenizer
from wegeft import experiment, models
from wegeft.errors import UserError
from wegeft.methods import build_method
from wegeft.planning.show import describe
from wegeft.records.identity import run_id
from wegeft.records.store import read_record
from wegeft.tables.rows import make_rows
from wegeft.tasks import build_task
from wegeft.tasks.glue import SentencePair
from wegeft.tasks.sentence_encoding import SentenceEncoder
from wegeft.tasks.sentence_sources import MiniSentences, MiniSentencesConfig
from wegeft.tasks.sentences import SentenceTask
from wegeft.training.epoch_choice import CANDIDATE, BestEpoch
from wegeft.training.logger import silent
from wegeft.training.sentence_objective import SentenceObjective

SHORT = (
    "training.epochs=3",
    "training.batch_size=8",
    "runtime.threads=1",
    "evaluation.batch_size=8",
    "protocol.max_length=64",
)


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a RoBERTa of two layers of width 32, fp32, and its tokenizer."""
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=140,
        type_vocab_size=1,
        pad_token_id=3,
        bos_token_id=1,
        eos_token_id=2,
    )
    folder = tmp_path_factory.mktemp("roberta")
    RobertaModel(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """RTE and STS-B with a few rows, in the official columns."""
    for folder, header, label in (("RTE", 4, "entailment\tnot_entailment"), ("STS-B", 10, "1.5\t4.25")):
        path = tmp_path / "data" / "glue" / folder
        path.mkdir(parents=True)
        labels = label.split("\t")
        for split, rows in (("train", 24), ("dev", 16)):
            lines = ["\t".join(f"column{n}" for n in range(header))]
            for number in range(rows):
                first, second = f"is it {number}?", f"it is {'true' if number % 2 else 'false'}"
                lines.append("\t".join([*[str(number)] * (header - 3), first, second, labels[number % 2]]))
            (path / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path / "data"


def finished(root: Path, source: Path, *overrides: str) -> dict[str, Any]:
    config = run_config(*SHORT, f"data.root={root}", f"model.source={source}", "model.architecture=null", *overrides)
    experiment.run(config)
    return read_record(Path(config.records_dir) / f"{run_id(config.plain())}.json")


@pytest.mark.parametrize("method", ["wegeft", "lora", "red", "none"])
def test_a_run_reports_the_half_that_chose_nothing(root: Path, tiny_roberta: Path, method: str) -> None:
    record = finished(root, tiny_roberta, "task=glue/rte", f"method={method}")
    score = record["evaluation"]["scores"]["rte"]
    assert score["metric"] == "accuracy"
    assert 0 < score["n"] < 16
    assert record["data"]["test_examples"] == {"rte": 16}
    assert record["data"]["remarks"]["reported_rows"] == {"rte": score["n"]}
    remarks = record["data"]["remarks"]
    assert len(remarks["metric_by_epoch"]) == 3
    assert remarks["chosen_on"] == "half"
    assert remarks["chosen_epoch"] == 1 + remarks["metric_by_epoch"].index(max(remarks["metric_by_epoch"]))
    assert record["parameters"]["head"] == 32 * 32 + 32 + 32 * 2 + 2


def test_a_search_scores_under_a_name_that_no_table_takes(root: Path, tiny_roberta: Path) -> None:
    record = finished(root, tiny_roberta, "task=glue/rte", "method=none", "protocol.choose_epoch=search")
    assert set(record["evaluation"]["scores"]) == {"rte/search"}
    for run in (record, record | {"status": "diverged", "evaluation": None}):
        (row,) = make_rows([run])
        assert row.held_out
        assert not row.limited


def test_the_published_way_reports_the_rows_that_chose(root: Path, tiny_roberta: Path) -> None:
    record = finished(root, tiny_roberta, "task=glue/stsb", "protocol=glue_v3", "evaluation.merge=false")
    score, remarks = record["evaluation"]["scores"]["stsb"], record["data"]["remarks"]
    assert (score["metric"], score["n"]) == ("pearson", 16)
    assert 0 < score["stderr"] < 0.5
    assert score["value"] == pytest.approx(max(remarks["metric_by_epoch"]), abs=1e-5)
    samples = (Path("runs") / record["run_id"] / "samples.jsonl").read_text().splitlines()
    first = json.loads(samples[0])
    assert (first["uid"], first["gold"]) == ("stsb/dev/0", "1.5")
    assert first["score"] == pytest.approx(1 - abs(float(first["text"]) - 1.5) / 5, abs=1e-4)


def test_the_adapter_of_the_record_is_the_best_epoch(root: Path, tiny_roberta: Path) -> None:
    record = finished(root, tiny_roberta, "task=glue/rte", "protocol=glue_v3", "training.learning_rate=3e-2")
    folder = Path("runs") / record["run_id"]
    (best,) = folder.glob(CANDIDATE)
    assert (folder / "adapter.safetensors").read_bytes() == best.read_bytes()


def test_a_choice_that_was_interrupted_goes_on(tmp_path: Path, tiny_roberta: Path) -> None:
    """After a kill an epoch is judged again; the choice is that of a training that was never stopped."""
    config = run_config("task=glue/rte", f"model.source={tiny_roberta}", "model.architecture=null", "method=red")
    backbone = models.load(config.model, torch.device("cpu"))
    method = build_method(config.method)
    method.attach(backbone.model, config.model.head_modules)
    weight = next(iter(method.trainable().values()))

    class Script:
        def __init__(self, values: list[float]) -> None:
            self.values = values
            self.found: tuple[int, list[float]] | None = None

        def judge(self, model: torch.nn.Module) -> float:
            assert not model.training
            return self.values.pop(0)

        def chosen(self, epoch: int, values: Any) -> None:
            self.found = (epoch, list(values))

    def chosen(folder: str, values: list[float]) -> tuple[int, list[float]] | None:
        """The choice where a kill after epoch 3 repeats all but the first; weights are the last step."""
        script = Script(values)
        best = BestEpoch(method, script, 2, tmp_path / folder, silent)
        for step in (0, 1, 2, 3, 4, 5, 2, 3, 4, 5):
            with torch.no_grad():
                weight.fill_(step)
            best(step, {})
        with torch.no_grad():
            weight.fill_(-1)
        best.restore_best(6)
        return script.found

    assert chosen("the same", [0.2, 0.5, 0.9, 0.5, 0.9]) == (3, [0.2, 0.5, 0.9])
    assert torch.all(weight == 5)
    assert chosen("other last digits", [0.7, 0.5, 0.9, 0.5, 0.6]) == (1, [0.7, 0.5, 0.6])
    assert torch.all(weight == 1)


def test_the_choice_is_made_on_other_rows_than_the_report(root: Path) -> None:
    config = run_config("task=glue/rte", f"data.root={root}")
    task = build_task(config.task)
    assert isinstance(task, SentenceTask)
    choose, report = task.development(config.protocol)  # type: ignore[arg-type]
    assert {pair.uid for pair in choose}.isdisjoint(pair.uid for pair in report)
    assert len(choose) + len(report) == 16


@pytest.mark.parametrize(
    ("method", "model", "count"),
    [
        ("wegeft", "roberta_base", 98_304),
        ("wegeft", "roberta_large", 131_072),
        ("lora", "roberta_base", 294_912),
        ("red", "roberta_base", 18_432),
    ],
)
def test_counts_are_the_published_ones(method: str, model: str, count: int) -> None:
    found = describe(run_config("task=glue/rte", "scale=paper", f"model={model}", f"method={method}"))
    assert found["trainable parameters"] == count
    assert found["trained head parameters"] == {"roberta_base": 592_130, "roberta_large": 1_051_650}[model]


def test_batch_and_length_are_the_published_ones() -> None:
    base = run_config("task=glue/cola", "scale=paper", "protocol=glue_v3")
    large = run_config("task=glue/cola", "scale=paper", "protocol=glue_v3", "model=roberta_large")
    assert (base.training.batch_size, base.protocol.model_dump()["max_length"]) == (64, 512)
    assert (large.training.batch_size, large.protocol.model_dump()["max_length"]) == (128, 128)
    assert base.training.warmup_ratio == 0.06


def test_a_checkpoint_with_another_head_is_refused(tiny_roberta: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_roberta, tmp_path / "headed")
    config = RobertaConfig.from_pretrained(tiny_roberta)
    config.num_labels = 3
    RobertaForSequenceClassification(config).save_pretrained(tmp_path / "headed")
    stated = run_config("task=glue/rte", f"model.source={tmp_path / 'headed'}", "model.architecture=null")
    with pytest.raises(UserError, match="a head of other than 2 outputs"):
        models.load(stated.model, torch.device("cpu"))


def test_a_wrong_number_of_classes_is_refused() -> None:
    with pytest.raises(UserError, match=r"task\.classes=3 and task\.subset=rte has \('entailment', 'not_entailment'\)"):
        build_task(run_config("task=glue/rte", "model.classes=2").task | {"classes": 3})


def test_missing_files_are_named_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"RTE/train\.tsv does not exist"):
        experiment.check_fit(run_config("task=glue/rte", f"data.root={tmp_path}"))
    with pytest.raises(UserError, match=r"data\.root is not set: give the folder that holds glue/"):
        experiment.check_fit(run_config("task=glue/rte"))


def test_the_loss_is_the_sum_over_examples(tiny_roberta: Path) -> None:
    config = run_config("task=glue/rte", f"model.source={tiny_roberta}", "model.architecture=null")
    model = models.load(config.model, torch.device("cpu")).model
    encoder = SentenceEncoder(tiny_tokenizer(), 64)
    pairs = [SentencePair(f"rte/train/{n}", "is it " * n, "it is", float(n % 2)) for n in range(1, 5)]
    items, objective = encoder.encode(pairs), SentenceObjective(encoder)
    whole = objective.loss_sum(model, objective.collate(items, "padded"))
    parts = [objective.loss_sum(model, objective.collate([item], "padded")) for item in items]
    assert torch.stack(parts).sum().item() == pytest.approx(whole.item(), rel=1e-5)
    assert (objective.units(items), objective.tokens(items)) == (4, sum(len(item.input_ids) for item in items))


def test_long_examples_are_cut_and_counted() -> None:
    encoder = SentenceEncoder(tiny_tokenizer(), 12)
    encoded = encoder.encode([SentencePair("a", "why " * 30, "no", 0.0), SentencePair("b", "a", None, 1.0)])
    assert len(encoded[0].input_ids) == 12
    assert encoder.cut == 1


def test_a_length_beyond_the_positions_of_the_backbone_is_refused(root: Path, tiny_roberta: Path) -> None:
    with pytest.raises(UserError, match=r"protocol\.max_length=512 and the backbone has 136 positions"):
        finished(root, tiny_roberta, "task=glue/rte", "protocol.max_length=512")


def test_the_mini_sentences_are_balanced_and_new_in_development() -> None:
    source = MiniSentences(MiniSentencesConfig(world_seed=0))
    train, dev = source.pairs("train"), source.pairs("dev")
    assert (len(train), len(dev)) == (2000, 400)
    assert sum(pair.label for pair in dev) == 200
    assert {pair.first for pair in train}.isdisjoint(pair.first for pair in dev)
    for asked, swapped in zip(dev[::2], dev[1::2], strict=True):
        assert asked.first != swapped.first
        assert sorted(asked.first.split()) == sorted(swapped.first.split())


def test_the_shipped_language_model_classifies() -> None:
    config = run_config("task=mini_acceptability", "training.max_steps=3", "evaluation.limit=8")
    experiment.run(config)
    record = read_record(Path(config.records_dir) / f"{run_id(config.plain())}.json")
    assert record["evaluation"]["scores"]["mini_acceptability"]["n"] == 8
    assert record["parameters"]["head"] > 0


def test_the_published_files_run(real_data: Path, tiny_roberta: Path) -> None:
    record = finished(real_data, tiny_roberta, "task=glue/rte", "training.max_steps=2", "evaluation.limit=16")
    assert record["data"]["expected_rows"] == {"rte/train": 2490, "rte/test": 277}
    assert record["data"]["train_examples"] == 2490
    assert record["data"]["remarks"]["examples_cut"] > 0
