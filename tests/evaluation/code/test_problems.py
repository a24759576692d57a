"""Programming problems: the benchmarks' own solutions pass, and pass@k is the unbiased estimate."""

import gzip
import itertools
import json
from pathlib import Path
from statistics import fmean

import pytest

from wegeft.errors import UserError
from wegeft.evaluation.code.judge import WrittenCode, WrittenCodeConfig
from wegeft.evaluation.code.problems import Benchmark, Problem, code_of, official_code, program, read_problems
from wegeft.evaluation.code.sandbox import Limits, Outcome, run_program, why_not_isolated
from wegeft.evaluation.code.score import Answer, by_problem, read_answers, run_answers, score
from wegeft.evaluation.metrics import pass_at_k

FILES: dict[Benchmark, tuple[str, int]] = {"humaneval": ("HumanEval.jsonl.gz", 164), "mbpp": ("mbpp.jsonl.gz", 974)}
LIMITS = Limits(wall_seconds=30.0)
NO_SANDBOX = why_not_isolated()

ADD = Problem(
    uid="Test/0",
    prompt='import math\n\ndef add(a, b):\n    """Add."""\n',
    head='import math\n\ndef add(a, b):\n    """Add."""\n',
    setup="",
    tests="assert add(2, 3) == 5",
    solution="    return a + b\n",
)


def passes(problem: Problem, code: str) -> bool:
    (outcome,) = run_answers([problem], [Answer(problem.uid, code)], LIMITS)
    return outcome.verdict == "passed"


def run_fifty_to_a_process(problems: list[Problem]) -> list[Outcome]:
    """What comes of the solutions, each in a namespace of its own; a failure's traceback names its problem."""
    outcomes = []
    for start in range(0, len(problems), 50):
        programs = {problem.uid: program(problem, problem.solution) for problem in problems[start : start + 50]}
        source = f"for uid, text in {programs}.items():\n    exec(compile(text, uid, 'exec'), {{'__name__': uid}})"
        outcome = run_program(source, LIMITS)
        assert outcome.verdict == "passed", outcome.output
        outcomes += [outcome] * len(programs)
    return outcomes


@pytest.mark.slow
@pytest.mark.skipif(NO_SANDBOX is not None, reason=f"no sandbox here: {NO_SANDBOX}")
@pytest.mark.parametrize("benchmark", FILES)
def test_every_canonical_solution_passes(real_data: Path, benchmark: Benchmark) -> None:
    """MBPP's fifty to a process, for the sake of time; the next test runs an eighth of them as answers are run."""
    name, size = FILES[benchmark]
    problems = read_problems(real_data / "code" / name, benchmark)
    answers = [Answer(problem.uid, problem.solution) for problem in problems]
    alone = benchmark == "humaneval"
    outcomes = run_answers(problems, answers, LIMITS) if alone else run_fifty_to_a_process(problems)
    assert [a.uid for a, o in zip(answers, outcomes, strict=True) if o.verdict != "passed"] == []
    assert score(benchmark, problems, by_problem(answers, outcomes), 1).value == 1.0
    assert len(problems) == size


@pytest.mark.slow
@pytest.mark.skipif(NO_SANDBOX is not None, reason=f"no sandbox here: {NO_SANDBOX}")
def test_canonical_solutions_of_mbpp_pass_alone(real_data: Path) -> None:
    problems = read_problems(real_data / "code" / FILES["mbpp"][0], "mbpp")[::8]
    outcomes = run_answers(problems, [Answer(problem.uid, problem.solution) for problem in problems], LIMITS)
    assert [p.uid for p, o in zip(problems, outcomes, strict=True) if o.verdict != "passed"] == []


@pytest.mark.slow
@pytest.mark.skipif(NO_SANDBOX is not None, reason=f"no sandbox here: {NO_SANDBOX}")
def test_whole_functions_in_fences_pass_but_the_official_mending_breaks_one(real_data: Path) -> None:
    """The prompt of HumanEval/64 holds an assignment of a triple-quoted text, which the official rule cuts off."""
    problems = read_problems(real_data / "code" / "HumanEval.jsonl.gz", "humaneval")[::4]
    fenced = {p.uid: f"```python\n{p.head}{p.solution}```" for p in problems}
    clean = [Answer(p.uid, code_of(p, f"Here it is.\n{fenced[p.uid]}\nDone.")) for p in problems]
    official = [Answer(p.uid, official_code(fenced[p.uid])) for p in problems]
    for answers, broken in ((clean, []), (official, ["HumanEval/64"])):
        outcomes = run_answers(problems, answers, LIMITS)
        assert [a.uid for a, o in zip(answers, outcomes, strict=True) if o.verdict != "passed"] == broken


@pytest.mark.skipif(NO_SANDBOX is not None, reason=f"no sandbox here: {NO_SANDBOX}")
@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("    return a + b\n", True),
        ("return a + b\n", True),
        ("```python\ndef add(a, b):\n    return a + b\n```\nThis adds.", True),
        ("```\ndef add(a, b):\n    return math.fsum([a, b])\n```", True),  # the head's import stays
        ("Sure:\n```py\ndef add(a, b):\n    return a - b\n```", False),
        ("```python\ndef add(a, b):\n    return a + b", True),  # the model ran out of tokens after the code
        ("I cannot.", False),
    ],
)
def test_code_is_found_in_what_a_model_wrote(text: str, right: bool) -> None:
    assert passes(ADD, code_of(ADD, text)) is right


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("benchmark", FILES)
def test_a_decided_answer_reads_the_same_whatever_follows(real_data: Path, benchmark: Benchmark, opened: bool) -> None:
    name, _ = FILES[benchmark]
    rule = WrittenCode(WrittenCodeConfig(mending="clean", opened=opened))
    decided = rule.decided()
    assert decided is not None
    fence = "" if opened else "Use ```x```:\n``` py\n"
    for problem in read_problems(real_data / "code" / name, benchmark)[::20]:
        begun = f"{fence}{problem.head}{problem.solution}"
        whole = f"{begun}```\nIt prints\n```\n1\n```\nOr:\n```python\npass"
        ends = [end for end in range(len(whole) + 1) if decided(whole[:end])]
        assert ends == list(range(len(begun) + len("```"), len(whole) + 1))
        assert {rule.extract(whole[:end]) for end in ends} == {rule.opening + begun + "```"}
        assert code_of(problem, rule.extract(whole) or "") == code_of(problem, rule.opening + whole)


@pytest.mark.parametrize(
    "text", ["", "I cannot.", "``` python x\n```", "`` `\n```", "```py\nx\n``", "``````", "```c\nx```"]
)
def test_an_answer_without_a_closed_block_is_not_decided(text: str) -> None:
    rule = WrittenCode(WrittenCodeConfig(mending="clean"))
    decided = rule.decided()
    assert decided is not None
    assert not decided(text)
    assert rule.extract(text) == (text or None)
    assert WrittenCode(WrittenCodeConfig(mending="official")).decided() is None


def test_the_official_mending() -> None:
    text = '```python\n  def add(a, b):\n  \t"""Add."""\n\n     if a:\n         return a + b\n     return b\n```'
    assert official_code(text) == "\ndef add(a, b):\n    if a:\n        return a + b\n    return b"


def test_the_program_runs_answer_then_setup_then_tests() -> None:
    problem = Problem("MBPP/1", "Write it.", "", "x = Box()", "assert x", "class Box: pass")
    assert program(problem, "class Box: pass") == "class Box: pass\nx = Box()\nassert x\n"


@pytest.mark.parametrize(("tried", "passed", "k"), [(5, 2, 1), (5, 2, 3), (5, 0, 2), (5, 5, 5), (6, 1, 4)])
def test_pass_at_k_is_the_share_of_draws_with_a_pass(tried: int, passed: int, k: int) -> None:
    results = [True] * passed + [False] * (tried - passed)
    assert pass_at_k(tried, passed, k) == pytest.approx(fmean(any(d) for d in itertools.combinations(results, k)))


def test_more_draws_than_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="pass@5 needs at least 5 answers"):
        pass_at_k(3, 1, 5)


def test_a_problem_without_an_answer_counts_as_failed() -> None:
    problems = [ADD, Problem("Test/1", "", "", "", "", "")]
    found = score("test", problems, {"Test/0": [True, False]}, 1)
    assert (found.value, found.n, found.metric) == (0.25, 2, "pass@1")


def test_outcomes_are_gathered_by_problem() -> None:
    answers = [Answer("a", ""), Answer("b", ""), Answer("a", "")]
    outcomes = [Outcome("passed", "", 0.0), Outcome("failed", "", 0.0), Outcome("timeout", "", 0.0)]
    assert by_problem(answers, outcomes) == {"a": [True, False], "b": [False]}


@pytest.mark.skipif(NO_SANDBOX is not None, reason=f"no sandbox here: {NO_SANDBOX}")
def test_an_answer_to_no_problem_is_named() -> None:
    with pytest.raises(UserError, match="an answer to Test/9, which is no problem"):
        run_answers([ADD], [Answer("Test/9", "")], LIMITS)


def test_broken_files_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    with pytest.raises(UserError, match=r"problems\.jsonl does not exist"):
        read_problems(path, "mbpp")
    path.write_bytes(b"")
    with pytest.raises(UserError, match="line 1 is no mbpp problem"):
        read_problems(path, "mbpp")
    path.write_bytes(b'{"task_id": "\xff"}\n')
    with pytest.raises(UserError, match=r"problems\.jsonl, line 1 is no mbpp problem: UnicodeDecodeError"):
        read_problems(path, "mbpp")
    path.write_text(json.dumps({"task_id": "HumanEval/0"}) + "\n")
    with pytest.raises(UserError, match=r"line 1 is no humaneval problem: KeyError\('prompt'\)"):
        read_problems(path, "humaneval")
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(b"{}\n{"))
    with pytest.raises(UserError, match="line 1 is no mbpp problem"):
        read_problems(tmp_path / "p.jsonl.gz", "mbpp")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"{}" * 100)[:-10])
    with pytest.raises(UserError, match="cannot be read"):
        read_problems(tmp_path / "cut.gz", "mbpp")


def test_answers_from_another_machine(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with pytest.raises(UserError, match="there are no answers at"):
        read_answers(path)
    path.write_text(json.dumps({"uid": "Test/0", "code": "a\u2028b"}, ensure_ascii=False) + "\n")
    assert read_answers(path) == [Answer("Test/0", "a\u2028b")]
    path.write_text('{"uid": "Test/0"}\n')
    with pytest.raises(UserError, match="line 1 is no answer"):
        read_answers(path)
    path.write_bytes(b'{"uid": "Test/0", "code": "a"}\n\xff\n')
    with pytest.raises(UserError, match="line 2 is no answer"):
        read_answers(path)
