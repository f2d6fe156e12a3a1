# SPDX-License-Identifier: Apache-2.0
"""What is sent to vLLM, byte by byte, and what of its answers is read."""

import base64
import json
from typing import Any

import pytest

from medagent.errors import ModelError, SettingsError
from medagent.model.exchange import Message, ModelRequest, Picture, Sampling, ToolRequest, ToolSpec
from medagent.model.vllm import replies
from medagent.model.vllm.bodies import completion_body, conversation_body
from medagent.model.vllm.channel import server_root
from medagent.model.vllm.failures import Transient, refusal

LABS = ToolSpec(name="labs", description="Laboratory values", parameters={"type": "object", "properties": {}})
PICTURE = Picture(media_type="image/png", data=b"\x89PNG", evidence="image-1")


def request(**changes: Any) -> ModelRequest:
    return ModelRequest(
        **{"messages": (Message(role="user", text="Why?"),), "sampling": Sampling(tokens_max=50, seed=7)} | changes
    )


def body(asked: ModelRequest, *, stream: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(completion_body(asked, "served", stream=stream))
    return content


def test_equal_requests_are_equal_bytes() -> None:
    asked = request(tools=(LABS,), answer_schema={"type": "object"}, logprobs=True)
    again = ModelRequest.model_validate(asked.model_dump())
    assert completion_body(asked, "served", stream=False) == completion_body(again, "served", stream=False)


def test_sampling_is_said_in_full() -> None:
    sent = body(request())
    assert sent == {
        "model": "served",
        "messages": [{"role": "user", "content": "Why?"}],
        "max_completion_tokens": 50,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 7,
    }


def test_a_schema_binds_strictly_and_keeps_the_order_of_its_fields() -> None:
    schema = {"type": "object", "properties": {"zeta": {"type": "string"}, "alpha": {"type": "string"}}}
    bound = body(request(answer_schema=schema))["response_format"]
    assert bound["type"] == "json_schema"
    assert bound["json_schema"]["strict"] is True
    assert list(bound["json_schema"]["schema"]["properties"]) == ["zeta", "alpha"]


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_tools_are_strict_and_stay_in_the_prompt_whatever_the_choice(choice: str) -> None:
    sent = body(request(tools=(LABS,), tool_choice=choice))
    assert sent["tool_choice"] == choice
    assert [tool["function"]["strict"] for tool in sent["tools"]] == [True]


def test_without_tools_nothing_is_said_of_them() -> None:
    assert not {"tools", "tool_choice"} & body(request()).keys()


def test_pictures_come_before_the_text_as_data_urls() -> None:
    (message,) = body(request(messages=(Message(role="user", text="What is it?", pictures=(PICTURE,)),)))["messages"]
    url = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "What is it?"},
    ]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        pytest.param('{"kind": "ldl"}', '{"kind": "ldl"}', id="an object is sent as it was written"),
        pytest.param('{"kind":', "{}", id="what is no JSON is sent as no arguments"),
        pytest.param("[1]", "{}", id="what is no object is sent as no arguments"),
    ],
)
def test_earlier_tool_requests_are_told_so_that_templates_can_read_them(written: str, sent: str) -> None:
    asked = Message(role="assistant", tool_requests=(ToolRequest(id="call00001", name="labs", arguments=written),))
    answered = Message(role="tool", text="none", answers="call00001")
    messages = body(request(messages=(Message(role="user", text="x"), asked, answered)))["messages"]
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == sent
    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"] == "call00001"


def test_an_adapter_is_served_under_its_name() -> None:
    assert body(request(adapter="radiology"))["model"] == "radiology"


def test_what_is_counted_is_what_is_asked() -> None:
    asked = request(tools=(LABS,), adapter="radiology", messages=(Message(role="user", text="x", pictures=(PICTURE,)),))
    counted = json.loads(conversation_body(asked, "served"))
    sent = body(asked)
    assert {name: counted[name] for name in ("model", "messages", "tools")} == {
        name: sent[name] for name in ("model", "messages", "tools")
    }
    assert counted["add_generation_prompt"] is True


def test_half_a_surrogate_pair_is_refused_without_the_text() -> None:
    with pytest.raises(ModelError) as refused:
        completion_body(request(messages=(Message(role="user", text="Erika \ud800"),)), "served", stream=False)
    assert refused.value.failure == "refused"
    assert refused.value.__context__ is None
    assert "Erika" not in str(refused.value)


@pytest.mark.parametrize(
    ("earlier", "ids"),
    [(0, ["call00001", "call00002"]), (41, ["call00042", "call00043"])],
    ids=["the first of a conversation", "later ones go on"],
)
def test_tool_requests_are_numbered_by_position(earlier: int, ids: list[str]) -> None:
    call = replies.Call(replies.Function("labs", "{}"))
    choice = replies.Choice(replies.Content(None, [call, call]), "stop")
    requests = replies.tool_requests_of(choice, earlier)
    assert [one.id for one in requests] == ids
    assert all(len(one.id) == 9 and one.id.isalnum() for one in requests)
    assert replies.finish_of(choice) == "tool_calls"


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("https://gpu.example/vllm/v1/", "https://gpu.example/vllm"),
    ],
)
def test_a_base_url_may_or_may_not_end_in_v1(url: str, root: str) -> None:
    assert server_root(url) == root


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("", id="nothing"),
        pytest.param("127.0.0.1:8000", id="no scheme"),
        pytest.param("ftp://gpu.example/v1", id="another scheme"),
        pytest.param("http:///v1", id="no host"),
        pytest.param("http://xn--/v1", id="no name of a host"),
        pytest.param("http://gpu.example:99999/v1", id="no port"),
        pytest.param("http://gpu.example/v1?key=hidden", id="a query"),
        pytest.param("http://someone:hidden@gpu.example/v1", id="a password"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(SettingsError, match="MEDAGENT_MODEL_URL") as refused:
        server_root(url)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "said", "failure"),
    [
        (400, "This model's maximum context length is 4096 tokens.", "too_long"),
        (400, "max_completion_tokens=9 cannot be greater than max_model_len=8.", "too_long"),
        (400, "'max_tokens' or 'max_completion_tokens' is too large: 1000.", "too_long"),
        (413, "", "too_long"),
        (400, "Failed to load image", "refused"),
        (401, "", "refused"),
        (404, "maximum context length", "refused"),
        (307, "", "refused"),
        (418, "", "refused"),
        (501, "", "unavailable"),
    ],
)
def test_each_status_is_one_failure(status: int, said: str, failure: str) -> None:
    error = refusal(status, said)
    assert error.failure == failure
    assert not isinstance(error, Transient)
    assert said == "" or said not in str(error)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_overload_and_breakdown_may_pass(status: int) -> None:
    assert isinstance(refusal(status, ""), Transient)


def test_who_is_told_to_wait_for_long_does_not_wait() -> None:
    assert not isinstance(refusal(429, "", retry_after=3600.0), Transient)
