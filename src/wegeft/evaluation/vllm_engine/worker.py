"""The process in which vLLM runs, in an environment that has vllm and lm-eval and need not have this package.

Reads lines of JSON and writes lines of JSON: first the arguments of lm-eval's ``VLLM``, answered by ``{}`` once the
model is loaded; then ``{"prompts", "max_new_tokens", "eos_id"}``, answered by ``{"answers"}``, the ids generated for
each prompt, EOS included. Ends with its input.

Does not: tokenise, or make text of what was generated.
"""

import json
import os
import sys
from typing import Any


def main() -> None:
    """Serve until the input ends."""
    # What vLLM prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    model = _load(json.loads(sys.stdin.readline()))
    print(json.dumps({}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps({"answers": _generate(model, **json.loads(line))}), file=answers, flush=True)


def _load(arguments: dict[str, Any]) -> Any:
    from lm_eval.models.vllm_causallms import VLLM

    return VLLM(**arguments)


def _generate(model: Any, prompts: list[list[int]], max_new_tokens: int, eos_id: int) -> list[list[int]]:
    """Greedy answers; only ``eos_id`` ends one, whatever else the checkpoint's generation settings name."""
    from lm_eval.models.vllm_causallms import SamplingParams

    settings = SamplingParams(
        temperature=0.0, max_tokens=max_new_tokens, ignore_eos=True, stop_token_ids=[eos_id], detokenize=False
    )
    found = []
    for output in model._model_generate(requests=prompts, generate=True, sampling_params=[settings] * len(prompts)):
        (completion,) = output.outputs
        ids = list(completion.token_ids)
        found.append(ids if completion.finish_reason != "stop" or ids[-1:] == [eos_id] else [*ids, eos_id])
    return found


if __name__ == "__main__":
    main()
