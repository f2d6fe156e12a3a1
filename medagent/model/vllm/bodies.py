# SPDX-License-Identifier: Apache-2.0
"""What is sent to vLLM: a request as the bytes of an HTTP body.

Equal requests give equal bytes: nothing in them is random, dated or counted by this process. The order of a schema's
properties is kept as it was written, for grammars generate in that order and prompts show it.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from medagent.errors import ModelError
from medagent.model.exchange import Message, ModelRequest, Picture, ToolRequest, ToolSpec

JsonObject = dict[str, Any]


def completion_body(request: ModelRequest, model: str, *, stream: bool) -> bytes:
    """For `/v1/chat/completions`."""
    sampling = request.sampling
    body = _conversation(request, model) | {
        # `max_tokens` is what vLLM still takes and no longer documents.
        "max_completion_tokens": sampling.tokens_max,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
    }
    if request.tools:
        body["tool_choice"] = request.tool_choice
    if request.answer_schema is not None:
        bound = {"name": "answer", "schema": request.answer_schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": bound}
    if request.logprobs:
        body["logprobs"] = True
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return encoded(body)


def conversation_body(request: ModelRequest, model: str) -> bytes:
    """For `/tokenize`: rendered as the completion's prompt is. vLLM counts the tokens of images, too."""
    # The same defaults as the completion's, said where a server might have others.
    return encoded(_conversation(request, model) | {"add_generation_prompt": True, "add_special_tokens": False})


def text_body(text: str, model: str) -> bytes:
    """For `/tokenize`: a text by itself, without the signs that start a sequence."""
    return encoded({"model": model, "prompt": text, "add_special_tokens": False})


def encoded(body: Mapping[str, object]) -> bytes:
    """JSON in UTF-8. The error of the encoder is not chained: it holds the text."""
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        pass
    raise ModelError("refused", "The request holds half a surrogate pair, which no UTF-8 can express")


def _conversation(request: ModelRequest, model: str) -> JsonObject:
    """What the chat template sees. It stands in the same words in a count and in the completion that follows."""
    body: JsonObject = {"model": request.adapter or model, "messages": [_message(one) for one in request.messages]}
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    return body


def _message(message: Message) -> JsonObject:
    content: object = message.text
    if message.pictures:
        text = [{"type": "text", "text": message.text}] if message.text else []
        content = [*map(_picture, message.pictures), *text]
    written: JsonObject = {"role": message.role, "content": content}
    if message.tool_requests:
        written["tool_calls"] = [_call(request) for request in message.tool_requests]
    if message.answers is not None:
        written["tool_call_id"] = message.answers
    return written


def _picture(picture: Picture) -> JsonObject:
    data = base64.b64encode(picture.data).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{picture.media_type};base64,{data}"}}


def _call(request: ToolRequest) -> JsonObject:
    """An earlier request of the model. Chat templates read the arguments as an object, and a server may refuse the
    whole conversation over those that are none; what was wrong with them stands in the tool's answer."""
    arguments = request.arguments if _is_object(request.arguments) else "{}"
    return {"id": request.id, "type": "function", "function": {"name": request.name, "arguments": arguments}}


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _tool(tool: ToolSpec) -> JsonObject:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters, "strict": True}
    return {"type": "function", "function": function}
