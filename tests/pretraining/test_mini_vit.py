"""How mini_vit is made, and what ships of it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.composing import run_config
from wegeft import models
from wegeft.pretraining import mini_vit as build
from wegeft.tasks.mini_pictures.pretraining import questions

TINY = build.Recipe(pictures=64, held_out=16, passes=2, width=16, depth=1, heads=2, batch=16, warmup=2)


@pytest.fixture(scope="module")
def shipped(project_root: Path) -> Path:
    return project_root / "src" / "wegeft" / "models" / "mini" / "mini_vit"


def test_a_build_writes_a_backbone_its_log_and_its_card(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    build.build(tmp_path / "vit", TINY, 1, "the command")
    torch.set_num_threads(threads)
    rows = list(csv.DictReader((tmp_path / "vit" / "training_log.csv").read_text().splitlines()))
    assert rows[-1]["step"] == "8"
    assert rows[-1]["pictures"] == "128"
    card = (tmp_path / "vit" / "CARD.md").read_text()
    assert "| command | `the command` |" in card
    assert "| pictures | world seed 0, 64 pictures |" in card
    body = load_file(tmp_path / "vit" / "model.safetensors")
    assert not [name for name in body if name.startswith("head.")]
    config = run_config("task=mini_fgvc/birds", f"model.source={tmp_path / 'vit'}").model
    backbone = models.load(config, torch.device("cpu"))
    assert torch.equal(backbone.model.get_parameter("pos_embed"), body["pos_embed"])


def test_a_build_repeats_itself(tmp_path: Path) -> None:
    weights = []
    for name in ("one", "other"):
        build.build(tmp_path / name, TINY, 1, "")
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_the_loss_is_the_mean_over_the_answers_that_are_asked() -> None:
    answers = sum(map(len, questions().values()))
    logits_BA = torch.zeros(2, answers)
    answers_BQ = torch.full((2, len(questions())), build.NO_ANSWER)
    answers_BQ[0, 0] = 1  # the kind, one of four
    answers_BQ[1, 1] = 0  # the size of the beak, one of two
    expected = (torch.log(torch.tensor(4.0)) + torch.log(torch.tensor(2.0))) / 2
    assert build.loss_of(logits_BA, answers_BQ) == pytest.approx(float(expected))


def test_the_rate_warms_up_and_falls_to_its_last_fraction() -> None:
    recipe = build.Recipe(warmup=10)
    rates = [build.rate_at(step, 100, recipe) for step in range(100)]
    assert rates.index(max(rates)) == 9
    assert rates[99] == pytest.approx(recipe.final_fraction * recipe.learning_rate, rel=0.05)


def test_right_answers_count_only_the_pictures_that_are_asked() -> None:
    _, further = build.draw(TINY)
    shares = build.right_answers(build.build_model(TINY), further)
    assert set(shares) == set(questions())
    assert all(0 <= share <= 1 for share in shares.values())
    assert 0.25 < build.likelier_answer(further) < 0.9


def test_what_ships_is_small_states_its_size_and_loads(shipped: Path) -> None:
    assert sum(file.stat().st_size for file in shipped.iterdir()) < 6e6
    config = run_config("task=mini_fgvc/birds").model
    assert config.name == "mini_vit"
    model = models.load(config, torch.device("cpu")).model
    body = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("head."))
    assert f"{body:,} parameters" in (shipped / "CARD.md").read_text()
    stated = json.loads((shipped / "config.json").read_text())
    assert stated == {"architecture": build.ARCHITECTURE, "model_args": build.Recipe().architecture}


def test_the_control_has_the_architecture_and_not_the_weights() -> None:
    torch.manual_seed(0)
    trained = models.load(run_config("task=mini_fgvc/birds").model, torch.device("cpu")).model
    control = models.load(run_config("task=mini_fgvc/birds", "model=mini_vit_random").model, torch.device("cpu")).model
    assert {n: p.shape for n, p in trained.named_parameters()} == {n: p.shape for n, p in control.named_parameters()}
    assert not torch.equal(trained.get_parameter("pos_embed"), control.get_parameter("pos_embed"))


def test_the_script_offers_it(project_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/build_mini_backbones.py", "--help"],
        cwd=project_root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "mini_vit" in done.stdout
