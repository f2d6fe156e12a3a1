# SPDX-License-Identifier: Apache-2.0
"""A model behind vLLM's OpenAI-compatible HTTP server: the one place of the kernel that speaks to a network."""

from medagent.model.vllm.client import VllmModel

__all__ = ["VllmModel"]
