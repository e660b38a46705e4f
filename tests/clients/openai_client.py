"""What OpenAI's client for Python gets from a server: printed as JSON. Arguments: the address, the key."""

import json
import re
import sys
import time
from urllib.request import Request, urlopen

from openai import BadRequestError, OpenAI

client = OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
messages = [{"role": "user", "content": "Hello"}]
ask = {"model": "tiny", "messages": messages, "max_tokens": 9, "temperature": 0}
schema = {"type": "object", "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"], "additionalProperties": False}
answer = client.chat.completions.create(**ask)
stream = client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
chunks = list(stream)
formatted = client.chat.completions.create(
    model="tiny",
    messages=messages,
    response_format={"type": "json_schema", "json_schema": {"name": "unit", "strict": True, "schema": schema}},
)
called = client.chat.completions.create(
    model="tiny",
    messages=messages,
    tools=[{"type": "function", "function": {"name": "get_unit", "parameters": schema}}],
    tool_choice="required",
    parallel_tool_calls=False,
)
chances = client.chat.completions.create(**ask, logprobs=True, top_logprobs=2)
try:
    client.chat.completions.create(**{**ask, "temperature": -1})
    refused = None
except BadRequestError as error:
    refused = error.param


def metric(name):
    """A figure of the server's own."""
    request = Request(sys.argv[1].removesuffix("/v1") + "/metrics", headers={"authorization": f"Bearer {sys.argv[2]}"})
    return int(re.search(rf"^{name} (\d+)$", urlopen(request).read().decode(), re.MULTILINE)[1])


def abort():
    """Closes a stream in the middle. Texts under way before that and after it, and tokens that were generated."""
    before = metric("higgs_generated_tokens_total")
    long = client.chat.completions.create(**{**ask, "max_tokens": 1900}, stream=True, extra_body={"ignore_eos": True})
    for _ in range(3):
        next(long)
    under_way = metric("higgs_active_texts")
    long.close()
    end = time.monotonic() + 60
    while metric("higgs_active_texts") + metric("higgs_waiting_requests") > 0 and time.monotonic() < end:
        time.sleep(0.01)
    return [under_way, metric("higgs_active_texts"), metric("higgs_generated_tokens_total") - before]


print(
    json.dumps(
        {
            "text": answer.choices[0].message.content,
            "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
            "usage": [answer.usage.completion_tokens, chunks[-1].usage.completion_tokens],
            "unit": json.loads(formatted.choices[0].message.content)["unit"],
            "call": json.loads(called.choices[0].message.tool_calls[0].function.arguments)["unit"],
            "logprobs": len(chances.choices[0].logprobs.content),
            "embedding": client.embeddings.create(model="tiny", input="two").data[0].embedding,
            "response": client.responses.create(model="tiny", input="Hello", max_output_tokens=9, temperature=0).output_text,
            "refused": refused,
            "aborted": abort(),
        }
    )
)
