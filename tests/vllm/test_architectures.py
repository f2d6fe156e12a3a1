# SPDX-License-Identifier: Apache-2.0
"""Every architecture, served by real vLLM: it loads, sees an image, and answers in a given form.

What the models say is noise, and meant to be. What is proven is that the served interface is the one we rely on.
"""

import base64
import io
import json
from typing import Any

import pytest
from builders.vllm_server import ONE_AT_A_TIME, SERVED, ServerError, VllmServer
from PIL import Image

pytestmark = [pytest.mark.vllm, ONE_AT_A_TIME]

every_model = pytest.mark.parametrize("vllm_server", SERVED, indirect=True)
every_seeing_model = pytest.mark.parametrize(
    "vllm_server", [name for name, served in SERVED.items() if served.images], indirect=True
)
with_tools = pytest.mark.parametrize("vllm_server", ["gemma3", "qwen3_vl", "qwen2_5_vl"], indirect=True)

FACTS = [f"fact-{number:03d}" for number in range(200)]


def closed(**properties: object) -> dict[str, object]:
    """The schema of an object that has exactly these properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


DRAFT = closed(
    propositions={
        "type": "array",
        "minItems": 1,
        "maxItems": 3,
        "items": {
            "oneOf": [
                closed(
                    kind={"const": "value"},
                    fact={"enum": FACTS},
                    value={"type": "number", "minimum": 0, "maximum": 999},
                ),
                closed(kind={"const": "hypothesis"}, text={"type": "string", "pattern": "^[ !#-Z^-~]{1,60}$"}),
            ]
        },
    }
)
FORM = {"type": "json_schema", "json_schema": {"name": "draft", "schema": DRAFT}}
LABS = {
    "type": "function",
    "function": {
        "name": "labs",
        "description": "Laboratory results of one kind, the latest first.",
        "parameters": closed(
            kind={"enum": ["hba1c", "egfr", "ldl"]}, limit={"type": "integer", "minimum": 1, "maximum": 20}
        ),
    },
}


def said(text: str) -> dict[str, object]:
    return {"role": "user", "content": text}


def shown(text: str, shade: int) -> dict[str, object]:
    """A question with a picture of one colour."""
    picture = io.BytesIO()
    Image.new("RGB", (96, 64), (shade, 128, 255 - shade)).save(picture, "PNG")
    address = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": address}}]
    return {"role": "user", "content": parts}


def words(answer: dict[str, Any]) -> str:
    content: str = answer["choices"][0]["message"]["content"]
    return content


def reasons_to_reject(draft: Any) -> list[str]:
    """What of the schema a draft does not keep. Written out: the server's own reading is what is in question."""
    rejected = []
    for proposition in draft["propositions"]:
        match proposition:
            case {"kind": "value", "fact": fact, "value": int() | float() as value, **more}:
                kept = not more and fact in FACTS and 0 <= value <= 999
            case {"kind": "hypothesis", "text": str() as text, **more}:
                kept = not more and 1 <= len(text) <= 60 and text.isprintable()
            case _:
                kept = False
        if not kept:
            rejected.append(str(proposition))
    return rejected


@every_seeing_model
def test_a_model_answers_a_question_about_an_image(vllm_server: VllmServer) -> None:
    without = vllm_server.chat(said("What does the image show?"), max_tokens=1)
    answer = vllm_server.chat(shown("What does the image show?", 20), min_tokens=4, max_tokens=8)
    assert words(answer)
    assert answer["model"] == vllm_server.model
    assert answer["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"]


@every_seeing_model
def test_another_image_changes_what_is_likely(vllm_server: VllmServer) -> None:
    def chances(shade: int) -> Any:
        question = shown("What does the image show?", shade)
        answer = vllm_server.chat(question, max_tokens=1, temperature=0.0, logprobs=True, top_logprobs=5)
        (first,) = answer["choices"][0]["logprobs"]["content"]
        return [(chance["token"], chance["logprob"]) for chance in first["top_logprobs"]]

    assert chances(20) == chances(20)
    assert chances(20) != chances(240)


@every_model
def test_an_answer_bound_to_a_schema_keeps_it(vllm_server: VllmServer) -> None:
    for seed in range(2):
        answer = vllm_server.chat(
            said("What is due?"), response_format=FORM, seed=seed, temperature=1.0, max_tokens=600
        )
        assert answer["choices"][0]["finish_reason"] == "stop"
        draft = json.loads(words(answer))
        assert set(draft) == {"propositions"}
        assert 1 <= len(draft["propositions"]) <= 3
        assert reasons_to_reject(draft) == []


@every_model
def test_a_server_states_its_window_and_refuses_a_longer_prompt(vllm_server: VllmServer) -> None:
    (model,) = vllm_server.client.get("/v1/models").json()["data"]
    assert model["max_model_len"] == vllm_server.serving.window
    with pytest.raises(ServerError, match=r"400.*maximum context length"):
        vllm_server.chat(said("cough " * vllm_server.serving.window))


@with_tools
def test_a_required_tool_call_keeps_the_schema_of_its_arguments(vllm_server: VllmServer) -> None:
    for seed in range(4):
        answer = vllm_server.chat(
            said("What is due?"), tools=[LABS], tool_choice="required", seed=seed, temperature=1.0, max_tokens=400
        )
        calls = answer["choices"][0]["message"]["tool_calls"]
        assert calls
        for call in calls:
            assert call["function"]["name"] == "labs"
            arguments = json.loads(call["function"]["arguments"])
            assert set(arguments) == {"kind", "limit"}
            assert arguments["kind"] in {"hba1c", "egfr", "ldl"}
            assert 1 <= arguments["limit"] <= 20


@with_tools
def test_a_draft_can_be_asked_for_while_tools_stay_in_the_prompt(vllm_server: VllmServer) -> None:
    """So the last step has the prefix of the steps before it."""
    count = vllm_server.chat(said("What is due?"), tools=[LABS], max_tokens=1)["usage"]["prompt_tokens"]
    answer = vllm_server.chat(
        said("What is due?"), tools=[LABS], tool_choice="none", response_format=FORM, max_tokens=600, seed=1
    )
    assert answer["usage"]["prompt_tokens"] == count
    assert reasons_to_reject(json.loads(words(answer))) == []


@with_tools
@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 1.0, "seed": 7}], ids=["greedy", "seeded"])
def test_the_same_request_gets_the_same_answer(vllm_server: VllmServer, sampling: dict[str, float]) -> None:
    first, second = (words(vllm_server.chat(shown("Describe.", 90), min_tokens=32, **sampling)) for _ in range(2))
    assert first == second


@with_tools
def test_another_seed_gets_another_answer(vllm_server: VllmServer) -> None:
    answers = {
        words(vllm_server.chat(said("Describe."), min_tokens=8, temperature=1.0, seed=seed)) for seed in range(4)
    }
    assert len(answers) > 1


@with_tools
def test_a_repeated_prefix_comes_from_the_cache(vllm_server: VllmServer) -> None:
    chart = {"role": "system", "content": f"Read the chart of {vllm_server.model}. " + "HbA1c 7.9 %, eGFR 41. " * 150}
    hits = vllm_server.counter("vllm:prefix_cache_hits_total")
    cold = vllm_server.chat(chart, said("What is due?"), max_tokens=1)["usage"]
    warm = vllm_server.chat(chart, said("What else is due?"), max_tokens=1)["usage"]
    assert cold["prompt_tokens_details"]["cached_tokens"] == 0
    cached = warm["prompt_tokens_details"]["cached_tokens"]
    assert cached > 0.8 * warm["prompt_tokens"]
    assert vllm_server.counter("vllm:prefix_cache_hits_total") - hits == cached
