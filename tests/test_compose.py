"""Many configurations at once are the configurations that Hydra composes."""

import pytest
from hydra import initialize_config_dir

from tests.composing import by_hydra, choices, composed
from wegeft.cli import CONFIG_FOLDER
from wegeft.compose import Composer, split
from wegeft.errors import UserError

WORDS = [
    (),
    ("scale=paper", "method=peft"),
    ("method=peft", "method.peft_type=OFT"),  # whose name is a part of a reference
    ("method=peft", "method.options_of_scale.mini.r=4", "method.peft_type=LORA"),
    ("method=peft", "method.peft_type=VERA", "method.options={r:8}"),  # of a choice that would be exchanged
    ("scale=paper", "protocol=v3", "training=v3", "method.recipe=v3", "seed=44", "training.learning_rate=2.5e-4"),
    ("scale=paper", "method.target_modules=[q_proj,v_proj]", "method.r=64"),
    ("scale=small", "data.root=/somewhere", "protocol=v5", "method=lora"),  # the scale itself touches the protocol
    ("scale=small", "task=math10k", "seed=1"),
    ("+experiment=mini_learning_rates", "method=lora", "training.learning_rate=1e-3", "seed=0"),
    ("model=mini_llama_random", "protocol.max_length=300", "logger=wandb"),
    ("data.root=/somewhere", "task=code", "scale=small"),  # referred to from elsewhere
    ("training.max_steps=null", "evaluation.merge=false"),
]


def test_equals_hydra() -> None:
    composer = Composer()
    for words in WORDS:
        assert composer.compose(words) == by_hydra(*words), words


@pytest.mark.parametrize("method", choices("method"))
def test_every_method_at_the_paper_scale_equals_hydra(method: str) -> None:
    words = (f"method={method}", "scale=paper", "model=llama3_8b", "seed=7")
    assert composed(*words) == by_hydra(*words)


def test_a_sweep_has_the_order_of_hydra_and_the_sweep_of_an_experiment() -> None:
    assert split(["method=lora,red", "seed=1,2"]) == [
        ("method=lora", "seed=1"),
        ("method=lora", "seed=2"),
        ("method=red", "seed=1"),
        ("method=red", "seed=2"),
    ]
    runs = split(["+experiment=mini_commonsense", "seed=1"])
    assert len(runs) == 12
    assert all("seed=1" in run and "+experiment=mini_commonsense" in run for run in runs)


def test_what_is_shared_is_not_changed_by_one_run() -> None:
    composer = Composer()
    first = composer.compose(("seed=1", "method.r=4"))
    second = composer.compose(("seed=2",))
    assert (first["seed"], first["method"]["r"]) == (1, 4)
    assert (second["seed"], second["method"]["r"]) == (2, 16)


def test_configurations_are_composed_where_hydra_has_been_started() -> None:
    words = ("method=lora", "seed=3")
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        assert Composer().compose(words) == composed(*words)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("method=lorra", r"method=lorra is not known \(did you mean lora\?\)"),
        ("method.rr=4", r"method\.rr is not a key of method \(did you mean r\?\)"),
        ("+rank=4", "rank is not a key of the configuration"),
        ("seed=-1", "seed=-1"),
        ("method.r=${method.nothing}", "nothing"),
    ],
)
def test_what_is_refused_is_one_sentence(word: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Composer().checked((word,))


def test_a_missing_value_is_named() -> None:
    with pytest.raises(UserError, match=r"model\.source must be given"):
        Composer().compose(("model=local_llama",))
    assert Composer().compose(("model=local_llama", "model.source=/x"))["model"]["source"] == "/x"
