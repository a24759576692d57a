"""Image tasks from the configuration to the record, on small pictures and a tiny vision transformer."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from tests.composing import run_config
from tests.tasks.pictures import picture_run, write_pictures
from wegeft import experiment, models
from wegeft.errors import UserError
from wegeft.methods.linear import AdaptedLinear
from wegeft.planning.show import describe
from wegeft.records.identity import run_id
from wegeft.records.store import Record, read_record
from wegeft.tasks import build_task
from wegeft.tasks.image import ImageTask
from wegeft.training.schedule import learning_rate, steps_per_epoch, total_steps


def record_of(*overrides: str) -> tuple[Record, Path]:
    """The record and the folder of a run."""
    config = run_config(*overrides)
    experiment.run(config)
    identity = run_id(config.plain())
    return read_record(Path(config.records_dir) / f"{identity}.json"), Path(config.output_dir) / identity


def test_a_run_learns_scores_and_records(tmp_path: Path) -> None:
    more = ("method=full", "training.epochs=20", "method.vision_learning_rates.mini=3e-3")
    command = picture_run(write_pictures(tmp_path), *more)
    record, folder = record_of(*command)
    assert record["data"]["test_examples"] == {"cub": 12}
    score = record["evaluation"]["scores"]["cub"]
    assert (score["metric"], score["n"]) == ("accuracy", 12)
    assert score["value"] > 0.9
    assert score["chance"] == pytest.approx(1 / 3)
    assert record["training"]["steps"] == 60
    assert record["training"]["label_tokens"] == 20 * 24
    assert record["training"]["tokens"] == 20 * 24 * 17
    assert record["data"]["remarks"]["normalisation"]["mean"] == [0.5, 0.5, 0.5]
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert {sample["gold"] for sample in samples} == {"003.Red", "007.Green", "010.Blue"}
    assert sum(sample["score"] for sample in samples) == score["value"] * 12


def test_the_head_is_trained_and_not_counted(tmp_path: Path) -> None:
    record, _ = record_of(*picture_run(write_pictures(tmp_path), "method=none"))
    backbone = models.count_parameters(models.skeleton(run_config(*picture_run(tmp_path)).model))
    assert (record["parameters"]["trainable"], record["parameters"]["head"]) == (0, 33 * 3)
    assert record["parameters"]["backbone"] == backbone - 33 * 3
    assert record["training"]["steps"] == 6


def test_micro_batches_change_neither_crops_nor_result(tmp_path: Path) -> None:
    command = picture_run(write_pictures(tmp_path), "method=wegeft", "model.drop_path=0.0")
    one, _ = record_of(*command)
    other, _ = record_of(*command, "training.micro_batch_size=3", "force=true")
    losses = [[loss for _, loss in record["training"]["loss_curve"]] for record in (one, other)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_evaluating_the_saved_adapter_gives_the_same_predictions(tmp_path: Path) -> None:
    command = picture_run(write_pictures(tmp_path), "method=lora")
    _, folder = record_of(*command)
    before = (folder / "samples.jsonl").read_bytes()
    (folder / "samples.jsonl").unlink()
    experiment.evaluate(run_config(*command, "mode=evaluate"))
    assert (folder / "samples.jsonl").read_bytes() == before


@pytest.mark.parametrize("method", ["wegeft", "lora", "dora", "bitfit", "red"])
def test_evaluation_is_merged_and_in_inference_mode(tmp_path: Path, method: str) -> None:
    seen: dict[bool, set[tuple[bool, bool]]] = {True: set(), False: set()}

    def listen(module: torch.nn.Module, _inputs: object) -> None:
        if isinstance(module, AdaptedLinear):
            seen[module.training].add((module.view.is_folded, torch.is_inference_mode_enabled()))

    with register_module_forward_pre_hook(listen):
        record_of(*picture_run(write_pictures(tmp_path), f"method={method}", "training.max_steps=1"))
    assert seen[True] == {(False, False)}
    assert seen[False] == {(True, True)}


def test_validation_scores_bear_their_name(tmp_path: Path) -> None:
    record, _ = record_of(*picture_run(write_pictures(tmp_path), "method=none", "task.test_split=val"))
    assert list(record["evaluation"]["scores"]) == ["cub/val"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("task.classes=4",), "task.classes=4, but the data has 3 classes"),
        (("task.test_split=train",), "task.test_split=train is also trained on"),
        (("task.test_transform.crop=24",), "task.test_transform makes images of 24 pixels and the backbone sees 32"),
        (("model.architecture.name=vit_huge_error",), "timm knows no such model"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, overrides: tuple[str, ...], words: str) -> None:
    command = picture_run(write_pictures(tmp_path / "data"), *overrides)
    with pytest.raises(UserError, match=words):
        experiment.run(run_config(*command))
    assert not Path("results").exists()


def test_a_backbone_for_text_is_refused() -> None:
    with pytest.raises(UserError, match="task=fgvc does not fit model=mini_llama: it works on image_classifier"):
        run_config("task=fgvc/cub", "model=mini_llama")
    with pytest.raises(UserError, match="task=commonsense does not fit model=vit_b16_in21k"):
        run_config("task=commonsense", "model=vit_b16_in21k")


def test_a_truncated_image_stops_the_run_before_it_starts(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data")
    path = next(root.rglob("test_0.jpg"))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"1 of 12 image files are cut short or broken: .*test_0\.jpg"):
        experiment.run(run_config(*picture_run(root)))
    shutil.rmtree(root / "CUB_200_2011")
    with pytest.raises(UserError, match=r"24 of 24 image files are missing"):
        experiment.run(run_config(*picture_run(root)))
    assert not Path("runs").exists()


def test_the_official_schedule_and_step_counts() -> None:
    """Steps as in the released checkpoints (optimiser counters): 100 × ceil(images / 32); rates as timm's scheduler."""
    steps = {"cub": 16_900, "flowers": 3_200, "cars": 23_000, "dogs": 33_800}
    for name, count in steps.items():
        assert describe(run_config(f"task=fgvc/{name}", "scale=paper"))["optimiser steps"] == count
    training = run_config("task=fgvc/cub", "scale=paper").training
    per_epoch, total = steps_per_epoch(training, 5_394), total_steps(training, 5_394)
    rates = [learning_rate(training, epoch * per_epoch, total, per_epoch) for epoch in range(100)]
    assert rates[0] == 1e-7
    assert rates == [learning_rate(training, (e + 1) * per_epoch - 1, total, per_epoch) for e in range(100)]
    assert rates == pytest.approx(timm_rates(training.learning_rate), abs=1e-15)
    assert (training.batch_size, training.max_grad_norm, training.learning_rate) == (32, None, 1e-4)


def timm_rates(peak: float) -> list[float]:
    """The scheduler of timm with the official arguments."""
    from timm.scheduler.cosine_lr import CosineLRScheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = CosineLRScheduler(optimizer, t_initial=100, lr_min=1e-6, warmup_t=10, warmup_lr_init=1e-7)
    rates = []
    for epoch in range(100):
        scheduler.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def test_a_search_stops_the_same_schedule_early() -> None:
    long, short = (run_config("task=fgvc/cub", *more).training for more in ((), ("training.max_steps=4225",)))
    assert total_steps(short, 5_394) == 25 * 169
    assert learning_rate(short, 4_000, 4_225, 169) == learning_rate(long, 4_000, 16_900, 169)


def test_the_paper_recipe_is_the_published_one() -> None:
    config = run_config("task=fgvc/cub", "scale=paper")
    task = build_task(config.task)
    assert isinstance(task, ImageTask)
    method = config.method
    assert (method["r"], method["zero"], method["scaling"], method["weight_dropout"]) == (16, "psi", "one", 0.0)
    assert (method["target_modules"], method["sharing"]) == (["attn.proj"], "per_type")
    assert (config.model.name, config.model.drop_path, config.model.classes) == ("vit_b16_in21k", 0.1, 200)
    lora = run_config("task=fgvc/cub", "scale=paper", "method=lora").method
    assert (lora["r"], lora["alpha"], lora["dropout"]) == (8, 1, 0.0)
    small = run_config("task=fgvc/cub", "scale=small", "method=lora").method
    assert small["alpha"] / small["r"] == 1
