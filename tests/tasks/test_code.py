"""Programming as a task: the questions, their sandbox, and an evaluation in which some answers pass."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.composing import run_config
from tests.evaluation.test_evaluate import Parrot
from tests.evaluation.tiny import tiny_encoder
from tests.tasks.tiny import text_task
from wegeft import experiment
from wegeft.errors import UserError
from wegeft.evaluation.checks import check_gold
from wegeft.evaluation.code import judge as programs
from wegeft.evaluation.code import sandbox
from wegeft.evaluation.code.judge import problem_of
from wegeft.evaluation.code.later import run_kept
from wegeft.evaluation.code.problems import Problem, code_of
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.evaluate import evaluate_text
from wegeft.evaluation.extractors import decided_for_all
from wegeft.evaluation.generate import LOOK_EVERY
from wegeft.evaluation.judging.run import judge
from wegeft.evaluation.rescore import rescore, rescore_run
from wegeft.evaluation.samples import read_samples, write_samples
from wegeft.records.identity import run_id
from wegeft.records.store import read_record
from wegeft.tasks.text import TextTask

isolated = pytest.mark.skipif(
    sandbox.why_not_isolated() is not None, reason=f"no sandbox here: {sandbox.why_not_isolated()}"
)


def paper_task(root: Path, *overrides: str) -> TextTask:
    return text_task("task=code", "scale=paper", f"data.root={root}", *overrides)


@isolated
def test_every_small_function_passes_its_own_tests_and_none_is_asked_twice() -> None:
    task = text_task("task=code")
    sets = task.test_examples()
    check_gold(task, sets)
    train = {example.prompt for example in task.train_examples()}
    tests = {example.prompt for example in sets["one_line"]}
    assert train.isdisjoint(tests)
    assert len(train) + len(tests) == 3 * 38
    assert len(tests) == 19


def test_the_published_problems_are_questions(real_data: Path) -> None:
    sets = paper_task(real_data).test_examples()
    assert {subset: len(examples) for subset, examples in sets.items()} == {"humaneval": 164, "mbpp": 974}
    first = sets["humaneval"][0]
    assert first.uid == "humaneval/test/0"
    assert problem_of(first.gold).uid == "HumanEval/0"
    assert problem_of(first.gold).head in first.prompt


@isolated
def test_the_first_published_problems_can_be_scored_right(real_data: Path) -> None:
    task = paper_task(real_data)
    check_gold(task, {subset: examples[:5] for subset, examples in task.test_examples().items()})


@isolated
def test_a_model_that_always_adds_two_passes_where_that_is_asked(tmp_path: Path) -> None:
    task = text_task("task=code", "task.max_new_tokens=60")
    examples = task.test_examples()["one_line"]
    wanted = problem_of(examples[3].gold).solution
    encoder = tiny_encoder("clean", "max_length=400")
    config = EvaluationConfig(batch_size=4, merge=False, limit=6)
    found = evaluate_text(Parrot(f"```python\n{wanted}```"), encoder, task, config, tmp_path)
    assert found.scores["one_line"].value == pytest.approx(1 / 6)
    samples = read_samples(tmp_path / "samples.jsonl")
    assert [sample.score for sample in samples] == [0, 0, 0, 1, 0, 0]
    assert rescore(samples, task).flips == ()


@isolated
@pytest.mark.parametrize("ways", ["{greedy: {}}", "{sampled: {temperature: 1.0, samples: 2, pass_at: [2]}}"])
def test_an_answer_ends_soon_after_its_block_and_scores_as_the_whole_one(
    ways: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = text_task("task=code", "task.max_new_tokens=200", f"+task.decodings={ways}")
    wanted = problem_of(task.test_examples()["one_line"][3].gold).solution
    begun = f"```python\n{wanted}```"
    encoder = tiny_encoder("clean", "max_length=400")
    config = EvaluationConfig(batch_size=4, merge=False, limit=4)
    model = Parrot(begun + "\nIt adds, é ```\n1\n``` and so on." * 4)
    short = evaluate_text(model, encoder, task, config, tmp_path / "short")
    monkeypatch.setattr("wegeft.evaluation.evaluate.decided_for_all", lambda _rules: None)
    whole = evaluate_text(model, encoder, task, config, tmp_path / "whole")
    assert short.scores == whole.scores
    assert short.scores["one_line"].value == 0.25
    answers = [read_samples(tmp_path / name / "samples.jsonl") for name in ("short", "whole")]
    for ours, theirs in zip(*answers, strict=True):
        assert theirs.text.startswith(ours.text)
        assert ours.extracted == theirs.extracted == begun
        assert ours == replace(theirs, text=ours.text)
    tokens = encoder._tokenise([begun])[0]
    assert short.tokens_generated == len(answers[0]) * LOOK_EVERY * -(-len(tokens) // LOOK_EVERY)
    assert whole.tokens_generated > 2 * short.tokens_generated


def test_only_sets_whose_rules_all_read_the_first_block_are_decided_early(real_data: Path, tmp_path: Path) -> None:
    write_feedback(tmp_path, FEEDBACK)
    shutil.copytree(real_data / "code", tmp_path / "code", ignore=shutil.ignore_patterns("*alpaca*"))
    task = text_task("+experiment=code_paper", f"data.root={tmp_path}")
    decided = {subset: decided_for_all(task.extractors(subset).values()) for subset in ("humaneval", "mbpp")}
    assert decided["humaneval"] is None  # its official rule mends the whole text
    assert decided["mbpp"] is not None
    assert decided_for_all(text_task("task=code").extractors("one_line").values()) is not None
    for other in ("commonsense", "math10k", "metamath"):
        task = text_task(f"task={other}")
        assert {decided_for_all(task.extractors(subset).values()) for subset in task.config.test_subsets} == {None}


def test_without_a_sandbox_the_task_is_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "why_not_isolated", lambda: "no namespaces")
    with pytest.raises(UserError, match=r"no namespaces.*allow_code_execution=unsandboxed"):
        text_task("task=code").check_data()
    text_task("task=code", "task.allow_code_execution=unsandboxed").check_data()


def test_unsandboxed_is_another_comparison() -> None:
    assert text_task("task=code").rules("one_line")["clean"][1] == "program_sandboxed"
    risky = text_task("task=code", "task.allow_code_execution=unsandboxed")
    assert risky.rules("one_line")["clean"][1] == "program_unsandboxed"
    with pytest.raises(UserError, match="'program_sandboxed', 'program_unsandboxed', 'program_elsewhere'"):
        text_task("task=code", "task.allow_code_execution=yes")


FEEDBACK = [
    {"query": "Add.", "answer": "So:\n```python\n1 + 1\n```\nAnd also:\n```python\n2\n```\n", "lang": "python"},
    {"query": "Why?", "answer": "Because.", "lang": "python"},
    {"query": "Open?", "answer": "```python\n3", "lang": "python"},
]


def write_feedback(root: Path, rows: Sequence[object]) -> None:
    path = root / "code_feedback" / "CodeFeedback-Filtered-Instruction.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_answers_with_code_are_trained_on_up_to_the_end_of_their_first_block(tmp_path: Path) -> None:
    write_feedback(tmp_path, FEEDBACK)
    task = paper_task(tmp_path)
    examples = task.train_examples()
    assert [example.uid for example in examples] == ["train/train/0", "train/train/2"]
    assert [example.target for example in examples] == ["So:\n```python\n1 + 1\n```", "```python\n3```"]
    assert examples[0].prompt.endswith("### Instruction:\nAdd.\n\n### Response:\n")
    assert task.source.left_out("train", "train") == 1


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"answer": "```1```"}, "row 3 has no text field `query`"),
        ({"query": "?"}, "row 3 has no text field `answer`"),
    ],
)
def test_a_broken_training_row_is_named(tmp_path: Path, row: object, sentence: str) -> None:
    write_feedback(tmp_path, [*FEEDBACK, row])
    with pytest.raises(UserError, match=sentence):
        paper_task(tmp_path).train_examples()
    write_feedback(tmp_path / "other", FEEDBACK[1:2])
    with pytest.raises(UserError, match="holds no answer with a code block"):
        paper_task(tmp_path / "other").train_examples()


def test_the_recipe_of_the_paper_asks_and_trains_as_published(real_data: Path, tmp_path: Path) -> None:
    write_feedback(tmp_path, FEEDBACK)
    shutil.copytree(real_data / "code", tmp_path / "code", ignore=shutil.ignore_patterns("*alpaca*"))
    task = text_task("+experiment=code_paper", f"data.root={tmp_path}")
    assert task.train_examples()[1].target == " ```python\n3```"
    prompt = task.test_examples()["humaneval"][0].prompt
    assert prompt.startswith("Below is an instruction that describes a task.\n Write a response")
    assert prompt.endswith("\n```\n\n### Response:\n```python\n ")
    assert task.counted(["humaneval", "mbpp"]) == ["humaneval"]
    assert task.config.accept is not None
    assert (task.config.accept.below_tokens, task.config.accept.rows) == (1024, 100_000)
    sampled = task.config.decodings["sampled"]
    assert (sampled.samples, sampled.temperature, sampled.top_p, sampled.pass_at) == (5, 0.8, 0.95, (5,))
    assert list(task.rules("humaneval")) == ["official", "clean"]


@pytest.mark.slow
@isolated
def test_every_published_problem_can_be_solved_in_the_form_the_recipe_asks_for(real_data: Path) -> None:
    """Both rules, every fourth problem and those with several functions or texts in their heads."""
    task = text_task("+experiment=code_paper", f"data.root={real_data}")
    examples = task.test_examples()["humaneval"]
    numbers = sorted({*range(0, 164, 4), 10, 38, 50, 64})
    check_gold(task, {"humaneval": [examples[number] for number in numbers]})


def test_what_follows_the_opened_block_is_not_code() -> None:
    rule = text_task("+experiment=code_paper", "data.root=x").extractors("humaneval")["clean"]
    head = "def add(a, b):\n"
    problem = Problem("t/0", head, head, "", "assert add(1, 2) == 3", "    return a + b\n")
    read = rule.extract("def add(a, b):\n    return a + b\n```\nDone.\n```\nno code\n```")
    assert code_of(problem, read or "") == "\n    pass\n\ndef add(a, b):\n    return a + b\n"


def test_unknown_sets_name_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no benchmark apps; choices: humaneval, mbpp"):
        paper_task(tmp_path, "task.test_subsets=[apps]").test_examples()
    with pytest.raises(UserError, match="has no humaneval; it has one_line"):
        text_task("task=code", "task.test_subsets=[humaneval]").test_examples()
    with pytest.raises(UserError, match=r"data\.root is not set"):
        text_task("task=code", "scale=paper").test_examples()


@isolated
def test_official_mending_is_a_choice() -> None:
    task = text_task("task=code", "task.scoring.default.extractors.clean.mending=official")
    check_gold(task, {"one_line": task.test_examples()["one_line"][:3]})


def test_programs_written_on_one_machine_are_run_on_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first machine has no sandbox and runs nothing; the second has neither data nor weights."""
    if sandbox.why_not_isolated() is not None:
        pytest.skip(f"no sandbox here: {sandbox.why_not_isolated()}")
    config = run_config(
        "task=code", "task.allow_code_execution=elsewhere", "training.max_steps=2", "evaluation.limit=4",
        "runtime.threads=1",
    )  # fmt: skip
    identity = run_id(config.plain())
    with monkeypatch.context() as here:
        here.setattr(sandbox, "why_not_isolated", lambda: "no namespaces")
        here.setattr(programs, "run_program", lambda *_: pytest.fail("a program was run"))
        experiment.run(config)
    command = f"python run.py mode=judge run={identity}"
    record = read_record(Path("results/records") / f"{identity}.json")
    assert record["evaluation"] is None
    assert record["data"]["remarks"]["not_judged"] == command
    assert f"answers kept and not scored yet: {command}" in capsys.readouterr().out
    written = read_samples(Path("runs") / identity / "samples.jsonl")
    assert [sample.score for sample in written] == [None] * 4

    solution = f"```python\n{problem_of(written[2].gold).solution}```"
    write_samples([*written[:2], replace(written[2], text=solution), written[3]], Path("runs") / identity)
    shutil.copytree("runs", tmp_path / "there" / "runs")
    shutil.copytree("results", tmp_path / "there" / "results")
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(UserError, match=f"no rule scores the answers in .*; mode=judge run={identity} does"):
        rescore_run(Path("runs") / identity)
    judge(run_config("mode=judge", f"run={identity}"))
    record = read_record(Path("results/records") / f"{identity}.json")
    score = record["evaluation"]["scores"]["one_line"]
    assert (score["metric"], score["value"], score["n"]) == ("accuracy", 0.25, 4)
    assert record["evaluation"]["mean"] == 0.25
    assert record["evaluation"]["extractor"] == {"name": "WrittenCode", "version": "2"}
    assert record["evaluation"]["outcomes"]["one_line"]["right"] == "2"
    assert "not_judged" not in record["data"]["remarks"]
    scored = read_samples(Path("runs") / identity / "samples.jsonl")
    assert [sample.score for sample in scored] == [0, 0, 1, 0]


@isolated
def test_kept_answers_to_published_problems_get_the_scores_of_an_evaluation_that_runs_them(
    real_data: Path, tmp_path: Path
) -> None:
    """Two rules, two ways of decoding and pass@k: every score under the same name and equal."""
    mended = "{_target_: wegeft.evaluation.code.judge.WrittenCode, mending: official}"
    ways = "{sampled: {temperature: 1.0, samples: 2, pass_at: [2]}, greedy: {}}"
    rules, ways = f"+task.scoring.default.extractors.official={mended}", f"+task.decodings={ways}"
    options = ("task.test_subsets=[humaneval]", "task.max_new_tokens=400", rules, ways)
    first = paper_task(real_data).test_examples()["humaneval"][0]
    answer = f"```python\n{problem_of(first.gold).solution}```"
    config = EvaluationConfig(batch_size=4, merge=False, limit=2)
    encoder = tiny_encoder("clean", "max_length=8000")
    at_once = evaluate_text(Parrot(answer), encoder, paper_task(real_data, *options), config, tmp_path)
    elsewhere = paper_task(real_data, *options, "task.allow_code_execution=elsewhere")
    evaluate_text(Parrot(answer), encoder, elsewhere, config, tmp_path / "kept")
    later = run_kept(read_samples(tmp_path / "kept" / "samples.jsonl"), elsewhere, "sandboxed")
    assert later.scores == at_once.scores
    assert list(later.samples or ()) == read_samples(tmp_path / "samples.jsonl")
    assert at_once.scores["humaneval"].value == 0.5
    assert set(at_once.scores) >= {"humaneval/official", "humaneval/pass@2", "humaneval/greedy"}
