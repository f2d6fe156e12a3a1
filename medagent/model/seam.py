# SPDX-License-Identifier: Apache-2.0
"""The model seam: three questions to a served model."""

from typing import Protocol

from medagent.model.exchange import ModelReply, ModelRequest, Served


class Model(Protocol):
    """A served model. Every failure MUST be a `ModelError`; none may carry what was asked or answered."""

    async def served(self) -> Served:
        """What is served. MUST ask the server, at the latest by the first call of it."""
        ...

    async def tokens(self, request: ModelRequest) -> int:
        """How many tokens a request's messages and tools take, by the served model's own tokenizer and chat template.
        Images that the tokenizer does not count are left out."""
        ...

    async def text_tokens(self, text: str) -> int:
        """How many tokens a text takes."""
        ...

    async def answer(self, request: ModelRequest, *, seconds: float) -> ModelReply:
        """Answers, within that time or not at all: ModelError `deadline`. Cancelling MUST end the server's work."""
        ...
