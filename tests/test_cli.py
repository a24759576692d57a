"""Every way to mistype ends in one sentence that names the key and the choices, exit code 2, and nothing written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from wegeft.cli import ROOT, main
from wegeft.exits import BAD_INPUT, STORAGE

PAPER = ("scale=paper", "mode=plan")


def refusal(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> str:
    """What `run.py` says on stderr to ``arguments``; checks the exit code and that nothing was written."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == BAD_INPUT
    assert list(folder.iterdir()) == []
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ")
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("method=wegft",), ("method=wegft", "did you mean wegeft", "dora")),
        (("scale=tiny",), ("scale=tiny", "mini, paper, small")),
        (("task=nothing",), ("task=nothing is not known", "wizardlm, fgvc/cars, fgvc/cub", "glue/rte", "vtab1k/svhn")),
        (("task=fgvc/cubb",), ("task=fgvc/cubb is not known (did you mean fgvc/cub?)",)),
        (("task=fgvc/base",), ("task=fgvc/base is only what others share; choices: fgvc/cars, fgvc/cub, fgvc/dogs",)),
        (("-m", "task=glue/rte,glue/base"), ("task=glue/base is only", "choices: glue/cola, glue/mrpc")),
        (("task=own/base", "--cfg", "job"), ("task=own/base is only", "choices: own/arrays, own/files.")),
        (("seed=${oc.env:NO_SUCH_NAME}",), ("cannot be composed", "'NO_SUCH_NAME' not found")),
        (("hydra/launcher=slurmm",), ("hydra/launcher=slurmm", "did you mean slurm?")),
        (("model=nothing",), ("model=nothing", "llama3_8b")),
        (("mode=walk",), ("mode='walk'", "'run'")),
        (("method.rr=3",), ("method.rr", "did you mean r?", "target_modules")),
        (("training.lr=3",), ("training.lr", "learning_rate")),
        (("method.rr=3", "--cfg", "job", "-p", "method"), ("method.rr is not a key of method (did you mean r?)",)),
        (("method=peft", "method.options.r=5", "--cfg", "job", "-p", "method"), ("method.options.r cannot be set",)),
        (("sead=3",), ("sead", "did you mean seed?")),
        (("metod=lora",), ("metod is not a key", "did you mean method?")),
        (("~metod",), ("metod is not a key", "did you mean method?")),
        (("experment=mini_vision",), ("experment is not a key", "did you mean +experiment?")),
        (("+experment=mini_vision",), ("experment is not a key", "did you mean +experiment?")),
        (("hydra/lancher=slurm",), ("hydra/lancher is not a key", "did you mean hydra/launcher?")),
        (("trainng.max_step=5",), ("trainng.max_step is not a key", "did you mean training.max_steps?")),
        (("trainng.steps_at_most=5",), ("did you mean training?", "its keys are adapter")),
        (("optim.lr=5",), ("optim.lr is not a key of the configuration; its keys are adapter",)),
        (("task.sources.smal.test_rows=3",), ("not a key of task.sources", "did you mean small.test_rows?")),
        (("training.learning_rate.x=3",), ("training.learning_rate.x is not a key of training.learning_rate.",)),
        (("+extra=1",), ("extra", "seed")),
        (("method.r=0",), ("method.r=0", "greater than or equal to 1")),
        (("training.learning_rate=-1",), ("training.learning_rate=-1", "greater than 0")),
        (("training.learning_rate=fast",), ("training.learning_rate='fast'", "number")),
        (
            ("training.schedule=steps",),
            ("training.schedule='steps'", "'constant' or 'cosine_by_epoch'"),
        ),
        (("training.learning_rate=inf",), ("training.learning_rate=inf", "finite number")),
        (("training.betas=[0.9,1.5]",), ("training.betas.1=1.5", "less than 1")),
        (("task.train_subsets=[]",), ("task.train_subsets", "at least 1 item")),
        (("task.test_subsets=[boolq,nope]",), ("task.test_subsets", "nope", "boolq, piqa")),
        (("task.test_subsets=[boolq,boolq]",), ("task.test_subsets", "it names boolq twice")),
        (("task.train_subsets=[piqa,boolq,piqa]",), ("task.train_subsets", "it names piqa twice")),
        (("task=mini_fgvc/birds", "task.train_splits=[train,train]"), ("task.train_splits", "it names train twice")),
        (("task.test_subsets=boolq",), ("task.test_subsets='boolq'", "must be a list", "task.test_subsets=[boolq]")),
        (("task=code", "task.test_subsets=[mbpp]"), ("task.test_subsets", "mbpp", "one_line")),
        (("method.sharing=[]",), ("method.sharing=[]", "per_type", "at least one regular expression")),
        (("method.sharing=3",), ("method.sharing=3", "per_type")),
        (("method.target_modules=q_proj",), ("'q_proj'", "must be a list", "method.target_modules=[q_proj]")),
        (("method.target_modules=null",), ("method.target_modules=None", "method.target_modules=[ONE,ANOTHER]")),
        (("method.target_modules=[]",), ("method.target_modules=[]", "list should have at least 1 item")),
        (("task.prompt=hello",), ("task.prompt='hello'", "must use {instruction}")),
        (("task=wizardlm", "scale=paper", "task.prompt=hello"), ("task.prompt='hello'", "must use {instruction}")),
        (
            ("task=wizardlm", "scale=paper", "task.next_turn=hello"),
            ("task.next_turn='hello'", "must use {instruction}"),
        ),
        (("task.target=hello",), ("task.target='hello'", "must use {output} or {answer}")),
        (("task.prompt='{instruction:d}'",), ("task.prompt=", "cannot be filled in")),
        (("experiment=mini_commonsense",), ("write +experiment=NAME", "efficiency, efficiency_compiled")),
        (("method.zero=chi",), ("method.zero='chi'", "'phi' or 'psi'")),
        (("seed=-1",), ("seed=-1", "greater than or equal to 0")),
        (("model=local_llama",), ("model.source", "must be given")),
        (("model.source=packaged:none",), ("model.source=packaged:none", "mini_llama")),
        (("task.source.test_rows=3",), ("task.source.test_rows", "task.sources.${scale.name}", "set it there")),
        (("adapter=mine.safetensors",), ("adapter=mine.safetensors", "mode=evaluate")),
        (("method.recipe=v9",), ("method.recipes.v9", "v9 is none of v5, v3, glue, vision")),
        (("method=wegeft,lora",), ("method=wegeft,lora",)),
        ((*PAPER, "method.r=4097"), ("method.r=4097", "at most 4096")),
        ((*PAPER, "method.target_modules=[q_proy]"), ("method.target_modules=q_proy", "q_proj")),
        (("scale=paper",), ("data.root", "fetch_data.py")),
        (("scale=paper", "data.root=/nowhere"), ("/nowhere", "does not exist")),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    said = refusal(arguments, monkeypatch, capsys, tmp_path)
    for word in words:
        assert word in said


def test_a_method_for_images_is_refused_on_a_language_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = refusal(("model.family=image_classifier",), monkeypatch, capsys, tmp_path)
    assert "does not fit model=mini_llama" in said
    assert "image_classifier" in said


def test_help_and_cfg_answer_without_slow_imports() -> None:
    code = (
        "import sys; sys.argv = ['run.py', '--cfg', 'job']\n"
        "from wegeft.cli import main\nmain()\n"
        "print([name for name in ('torch', 'transformers', 'lm_eval', 'peft') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.rstrip().endswith("[]")
    assert "learning_rate: 0.00" in done.stdout  # interpolations are resolved
    assert "${" not in done.stdout


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} run.py --help | head -n 1", shell=True, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no folder here that nobody may write to")
@pytest.mark.parametrize("key", ["output_dir", "records_dir"])
def test_a_folder_that_cannot_be_written_to_ends_the_run_in_one_sentence(
    key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even root may write below /proc."""
    monkeypatch.setattr(sys, "argv", ["run.py", "method=none", "evaluation.limit=1", f"{key}=/proc/elsewhere"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == STORAGE
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert re.fullmatch(rf"error: {key}=/proc/elsewhere cannot be written to \(.*\); name another folder\.", said)
