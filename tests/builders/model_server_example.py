# SPDX-License-Identifier: Apache-2.0
"""A script for the model server where it runs as a process of its own."""

from builders.model_server import Asked, Turn, say


def echo(asked: Asked) -> Turn:
    """Says the last message again."""
    return say(asked.last)
