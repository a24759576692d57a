"""Every member of every config group composes, and the paper's recipe is what the published code runs."""

import itertools
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from tests.composing import by_hydra, choices, composed, fitting_task, run_config
from tests.yaml_comments import uncommented
from wegeft.cli import CONFIG_FOLDER
from wegeft.config import RunConfig, parse
from wegeft.records.identity import run_id
from wegeft.tasks.protocol import ProtocolConfig
from wegeft.training.schedule import learning_rate, total_steps, warmup_steps

GROUPS = ("scale", "model", "task", "method", "protocol", "training", "evaluation", "logger", "tune")
MEMBERS = [(group, name) for group in GROUPS for name in choices(group)]


@pytest.mark.parametrize(("group", "name"), MEMBERS, ids=str)
def test_every_member_composes(group: str, name: str) -> None:
    task = () if group == "task" else (fitting_task(group, name),)
    words = (f"{group}={name}", *task, "model.source=some/folder")
    container = by_hydra(*words)
    assert isinstance(parse(container), RunConfig)
    assert composed(*words) == container  # what the other tests compose with


@pytest.mark.parametrize(("scale", "method"), list(itertools.product(choices("scale"), choices("method"))), ids=str)
def test_every_method_composes_at_every_scale(scale: str, method: str) -> None:
    assert run_config(f"scale={scale}", f"method={method}", fitting_task("method", method)).training.learning_rate > 0


@pytest.mark.parametrize("path", sorted(CONFIG_FOLDER.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_default_has_a_comment_that_says_why(path: Path) -> None:
    """tests/yaml_comments.py tells what counts; whether a comment gives a reason is for a reader to see."""
    assert uncommented(path.read_text(), own_names=(path.stem, path.parent.name)) == []


@pytest.mark.parametrize(
    ("text", "silent"),
    [
        ("a: 1", ["a"]),
        ("a: 1   # why", []),
        ("# heading\na: 1", ["a"]),
        ("# heading\n\n# why\na: 1", []),
        ("x: 0   # why\n# both\na: 1\nb: 2", []),
        ("x: 0   # why\n# both\na: 1\n\nb: 2", ["b"]),
        ("x: 0   # why\n# a's\na: 1\nb: 2   # own\nc: 3", ["c"]),
        ("a:   # of all\n  b: 1\n  c: {d: 2}", []),
        ("a:   # of all\n  b: 1   # own\n  c: 2", ["a.c"]),
        ("a:\n  b: 1   # own\nc: 2", ["c"]),
        ("a: '# no comment'", ["a"]),
        ("a: >-\n  text\n  # text", ["a"]),
        ("a:\n  - 1   # why\n  - 2", []),
        ("_target_: x\ndefaults: [b]\nname: me\na: ${b.${c}}${d}\nb: ???", []),
        ("a: ${oc.select:b,3}", ["a"]),
    ],
)
def test_a_default_without_a_comment_is_found(text: str, silent: list[str]) -> None:
    assert uncommented(text, own_names=("me",)) == silent


def test_no_experiment_file_is_broken() -> None:
    for path in (CONFIG_FOLDER / "experiment").glob("*.yaml"):
        assert yaml.safe_load(path.read_text())
        run_config(f"+experiment={path.stem}")


@pytest.mark.parametrize("name", choices("hydra/launcher"))
def test_every_launcher_composes(name: str) -> None:
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        composed = compose("config", overrides=[f"hydra/launcher={name}"], return_hydra_config=True)
    assert "_launcher." in composed.hydra.launcher._target_


def test_command_line_wins_over_the_scale() -> None:
    config = run_config("scale=paper", "model=mini_llama", "training.epochs=1", "protocol=clean")
    assert (config.model.name, config.training.epochs, config.protocol.name) == ("mini_llama", 1, "clean")


def test_the_paper_recipe_of_commonsense_is_the_published_one() -> None:
    """Official code, commonsense README command and Trainer defaults: 3 epochs of 170,420 rows in batches of 16."""
    config = run_config("scale=paper", "model=llama3_8b")
    training = config.training
    assert config.protocol.name == "v5"
    assert (config.method["r"], config.method["alpha"], config.method["weight_dropout"]) == (64, 128, 0.1)
    assert (training.batch_size, training.learning_rate, training.max_grad_norm) == (16, 2e-4, 1.0)
    steps = total_steps(training, 170_420)
    assert (steps, warmup_steps(training, steps)) == (31_956, 3_196)
    assert learning_rate(training, 0, steps) == 0.0
    assert learning_rate(training, 3_196, steps) == 2e-4
    assert learning_rate(training, steps, steps) == 0.0


def test_outside_the_paper_scale_no_quirk_is_on() -> None:
    for scale in ("mini", "small"):
        protocol = run_config(f"scale={scale}").protocol
        assert isinstance(protocol, ProtocolConfig)
        assert protocol.name == "clean"
        assert not any((protocol.pad_first, protocol.mask_pad_by_id, protocol.train_on_inputs))


def test_the_identity_of_a_run_ignores_places_and_keeps_everything_that_counts() -> None:
    base = run_id(run_config().plain())
    same = run_config("output_dir=elsewhere", "records_dir=there", "runtime.threads=1", "logger=wandb", "force=true")
    assert run_id(same.plain()) == base
    others = ("seed=1", "method.r=8", "training.learning_rate=7e-3", "task.max_new_tokens=8", "model=mini_llama_random")
    for override in others:
        assert run_id(run_config(override).plain()) != base, override
