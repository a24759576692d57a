"""vLLM as an engine, through lm-eval's own model of it: greedy answers to the protocol's token ids, on one GPU.

vLLM pins other versions of torch than this suite, so it runs as a process of its own (``worker.py``), in the
environment of ``evaluation.vllm_python``, and gets what was trained as files (``export.py``): a checkpoint of
transformers with the method folded in, or the plain backbone with a LoRA folder.

Does not: install vLLM, draw tokens, or spread a model over several GPUs.
"""
