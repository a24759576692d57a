"""Backbones: counts from the architecture alone, weights from the package, a folder or a hub."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.composing import run_config
from tests.models.hub import COMMIT, hub
from wegeft import models
from wegeft.errors import UserError
from wegeft.models.transformers_source import resolve_source

COUNTS = {
    "llama1_7b": 6_738_415_616,
    "llama2_7b": 6_738_415_616,
    "llama3_8b": 8_030_261_248,
    "llama3_2_1b": 1_235_814_400,
    "smollm2_135m": 134_515_008,
    "smollm2_360m": 361_821_120,
}
LOAD = """
import json, sys, time, torch
time.sleep = lambda seconds: None  # the hub's client waits for up to a minute between its tries
from wegeft import models
from wegeft.config import ModelConfig
from wegeft.errors import UserError
try:
    backbone = models.load(ModelConfig(**json.loads(sys.argv[1])), torch.device("cpu"))
    print(models.count_parameters(backbone.model), len(backbone.processor), models.content_hashes(backbone.config))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_a_skeleton_has_the_published_size_and_no_storage(name: str, count: int) -> None:
    model = models.skeleton(run_config(f"model={name}").model)
    assert models.count_parameters(model) == count
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_the_packaged_backbone_loads_with_its_tokenizer() -> None:
    config = run_config().model
    backbone = models.load(config, torch.device("cpu"))
    assert models.count_parameters(backbone.model) == models.count_parameters(models.skeleton(config))
    text = "Any text at all, 12 + 30 = 42!"
    ids = backbone.processor(text, add_special_tokens=False)["input_ids"]
    assert backbone.processor.decode(ids) == text
    assert not backbone.model.training


def test_the_control_has_the_same_architecture_and_other_weights() -> None:
    torch.manual_seed(0)
    trained = models.load(run_config().model, torch.device("cpu")).model.state_dict()
    untrained = models.load(run_config("model=mini_llama_random").model, torch.device("cpu")).model.state_dict()
    assert {name: value.shape for name, value in trained.items()} == {n: v.shape for n, v in untrained.items()}
    differing = [name for name in trained if trained[name].ndim > 1 and not torch.equal(trained[name], untrained[name])]
    assert len(differing) == sum(value.ndim > 1 for value in trained.values())


def load_elsewhere(source: str, endpoint: str, cache: Path) -> str:
    """What a process says that may use the network, where the hub is at ``endpoint``."""
    config = run_config().model.model_copy(update={"source": source})
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    typed = [sys.executable, "-c", LOAD, json.dumps(config.model_dump())]
    done = subprocess.run(typed, capture_output=True, text=True, env=environment, check=True)
    return done.stdout.strip()


def test_a_hub_id_is_fetched(tmp_path: Path) -> None:
    packaged = run_config().model
    folder = Path(resolve_source(packaged))
    with hub("someone/mini", folder) as endpoint:
        said = load_elsewhere("someone/mini", endpoint, tmp_path)
    backbone = models.load(packaged, torch.device("cpu"))
    made_of = {"commit": COMMIT}
    assert said == f"{models.count_parameters(backbone.model)} {len(backbone.processor)} {made_of}"


def test_a_hub_out_of_reach_is_one_sentence(tmp_path: Path) -> None:
    said = load_elsewhere("someone/mini", "http://127.0.0.1:9", tmp_path)
    assert said.startswith("model.source=someone/mini could not be loaded")
    assert "\n" not in said


def test_a_folder_without_a_model_is_one_sentence(tmp_path: Path) -> None:
    config = run_config("model=local_llama", f"model.source={tmp_path}").model
    with pytest.raises(UserError, match=r"could not be loaded .*config\.json"):
        models.load(config, torch.device("cpu"))


def test_a_damaged_folder_is_one_sentence(tmp_path: Path) -> None:
    shutil.copytree(resolve_source(run_config().model), tmp_path, dirs_exist_ok=True)
    config, weights = run_config("model=local_llama", f"model.source={tmp_path}").model, tmp_path / "model.safetensors"
    whole = load_file(weights)
    save_file({name: tensor for name, tensor in whole.items() if "1.mlp.up_proj" not in name}, weights)
    with pytest.raises(UserError, match=r"lacks 1 of the model's weights, model\.layers\.1\.mlp\.up_proj\.weight"):
        models.load(config, torch.device("cpu"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="could not be loaded"):
        models.load(config, torch.device("cpu"))
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": "wide"}')
    with pytest.raises(UserError, match="could not be loaded"):
        models.skeleton(config)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    packaged = Path(resolve_source(run_config().model))
    for file in packaged.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({"model.embed_tokens.weight": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="could not be loaded"):
        models.load(run_config("model=local_llama", f"model.source={tmp_path}").model, torch.device("cpu"))


def test_an_unknown_architecture_is_refused() -> None:
    config = run_config("model=llama2_7b", "model.architecture.model_type=lama").model
    with pytest.raises(UserError, match="model_type=lama"):
        models.skeleton(config)
