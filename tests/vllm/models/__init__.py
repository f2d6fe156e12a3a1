# SPDX-License-Identifier: Apache-2.0
"""Builds small models that a real vLLM server loads as it loads the real ones.

Run with the interpreter of `.vllm/venv`, which alone has PyTorch and transformers (see `install.py`):

    cd tests/vllm && ../../.vllm/venv/bin/python -m models FOLDER [NAME ...]

The architectures are the real ones, layer by layer; only the sizes are tiny and the weights random. SmolLM2 is a real
language model, small enough for two cores. None of them knows any medicine, which makes them fair adversaries of a
verifier. Imports in here are relative: under its full name, `vllm.models`, it would stand beside the real `vllm`.
"""
