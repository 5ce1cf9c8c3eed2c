"""The other APIs: completions, responses, Anthropic's messages, and the small routes."""

import json

import anthropic
import openai

from serving import ServerTest, ask, dataUri, EVAL, tasks


class Apis(ServerTest):
    options = ("--parallel", "2", "--alias", "my-model")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.openai = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="none", max_retries=0)
        cls.anthropic = anthropic.Anthropic(base_url=cls.server.url, api_key="none", max_retries=0)

    def testCompletions(self):
        whole = self.openai.completions.create(model="m", prompt=["Once upon", "The"], max_tokens=12, temperature=0,
                                               logprobs=1)
        self.assertEqual(len(whole.choices), 2)
        self.assertEqual("".join(whole.choices[0].logprobs.tokens), whole.choices[0].text)
        texts = ["", ""]
        for chunk in self.openai.completions.create(model="m", prompt=["Once upon", "The"], max_tokens=12,
                                                    temperature=0, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        self.assertEqual(texts, [choice.text for choice in whole.choices])
        ids = self.server.post("/tokenize", {"content": "Once upon", "add_special": True})[2]["tokens"]
        same = self.openai.completions.create(model="m", prompt=ids, max_tokens=12, temperature=0)
        self.assertEqual(same.choices[0].text, whole.choices[0].text)

    def testResponses(self):
        reply = self.openai.responses.create(model="m", input="What is the capital of France?", temperature=0)
        self.assertEqual(reply.output_text, "Paris")
        self.assertEqual(reply.status, "completed")
        with self.openai.responses.stream(model="m", input="What is the capital of France?", temperature=0) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        self.assertEqual(final.output_text, "Paris")
        self.assertEqual((kinds[0], kinds[-1]), ("response.created", "response.completed"))
        short = self.openai.responses.create(model="m", input="Tell me a story.", max_output_tokens=3)
        self.assertEqual(short.status, "incomplete")
        self.assertEqual(short.incomplete_details.reason, "max_output_tokens")
        image = self.openai.responses.create(model="m", temperature=0, input=[{"role": "user", "content": [
            {"type": "input_image", "image_url": dataUri(EVAL / "media" / tasks("digits")[0]["media"][0])},
            {"type": "input_text", "text": "What number is in the image?"}]}])
        self.assertEqual(image.output_text, tasks("digits")[0]["answer"])
        thought = self.openai.responses.create(model="m", input="What is 3 + 5?", temperature=0,
                                               reasoning={"effort": "high"})
        self.assertEqual([item.type for item in thought.output], ["reasoning", "message"])

    def testMessages(self):
        greedy = {"extra_body": {"temperature": 0}}
        question = [{"role": "user", "content": "What is the capital of France?"}]
        reply = self.anthropic.messages.create(model="m", messages=question, max_tokens=20, **greedy)
        self.assertEqual(reply.content[0].text, "Paris")
        self.assertEqual(reply.stop_reason, "end_turn")
        with self.anthropic.messages.stream(model="m", messages=question, max_tokens=20, **greedy) as stream:
            self.assertEqual("".join(stream.text_stream), "Paris")
            final = stream.get_final_message()
        self.assertEqual(final.stop_reason, "end_turn")
        self.assertEqual(final.usage.output_tokens, reply.usage.output_tokens)
        count = self.anthropic.messages.count_tokens(model="m", messages=question)
        self.assertEqual(count.input_tokens, reply.usage.input_tokens + reply.usage.cache_read_input_tokens)
        task = tasks("digits")[0]
        source = {"type": "base64", "media_type": "image/png",
                  "data": dataUri(EVAL / "media" / task["media"][0]).split(",")[1]}
        image = self.anthropic.messages.create(model="m", max_tokens=20, **greedy, messages=[
            {"role": "user", "content": [{"type": "image", "source": source},
                                         {"type": "text", "text": "What number is in the image?"}]}])
        self.assertEqual(image.content[0].text, task["answer"])
        thought = self.anthropic.messages.create(
            model="m", max_tokens=200, **greedy, thinking={"type": "enabled", "budget_tokens": 100},
            messages=[{"role": "user", "content": "What is 3 + 5?"}])
        self.assertEqual([block.type for block in thought.content], ["thinking", "text"])
        story = self.anthropic.messages.create(model="m", max_tokens=50, **greedy, stop_sequences=[" "],
                                               messages=[{"role": "user", "content": "Tell me a story."}])
        self.assertEqual((story.stop_reason, story.stop_sequence), ("stop_sequence", " "))
        with self.assertRaises(anthropic.BadRequestError) as raised:
            self.anthropic.messages.create(model="m", messages=question, max_tokens=20, extra_body={"temperature": -1})
        self.assertEqual(raised.exception.body["error"]["type"], "invalid_request_error")

    def testToolsOfBothApis(self):
        schema = {"type": "object", "properties": {"city": {"type": "string", "description": "City name"}},
                  "required": ["city"]}
        about = {"name": "get_weather", "description": "Current weather in a city."}
        question = "What is the weather in Rome?"
        reply = self.openai.responses.create(model="m", input=question, temperature=0,
                                             tools=[{"type": "function", **about, "parameters": schema}])
        self.assertEqual([item.type for item in reply.output], ["function_call"])
        self.assertEqual(json.loads(reply.output[0].arguments), {"city": "Rome"})
        after = self.openai.responses.create(
            model="m", temperature=0, tools=[{"type": "function", **about, "parameters": schema}],
            input=[{"role": "user", "content": question}, reply.output[0].model_dump(exclude_none=True),
                   {"type": "function_call_output", "call_id": reply.output[0].call_id, "output": "sunny"}])
        self.assertTrue(after.output_text)

        messages = [{"role": "user", "content": question}]
        options = {"model": "m", "max_tokens": 100, "tools": [{**about, "input_schema": schema}],
                   "extra_body": {"temperature": 0}}
        with self.anthropic.messages.stream(messages=messages, **options) as stream:
            final = stream.get_final_message()
        self.assertEqual(final.stop_reason, "tool_use")
        self.assertEqual(final.content[-1].input, {"city": "Rome"})
        messages += [{"role": "assistant", "content": [final.content[-1].model_dump(include={"type", "id", "name", "input"})]},
                     {"role": "user", "content": [{"type": "tool_result", "tool_use_id": final.content[-1].id,
                                                   "content": "sunny"}]}]
        self.assertEqual(self.anthropic.messages.create(messages=messages, **options).stop_reason, "end_turn")

    def testTokens(self):
        for text in ("Hello, world", "grüße 😀\n\n  x", ""):
            tokens = self.server.post("/tokenize", {"content": text})[2]["tokens"]
            self.assertEqual(self.server.post("/detokenize", {"tokens": tokens})[2]["content"], text)
        pieces = self.server.post("/tokenize", {"content": "Hello, world", "with_pieces": True})[2]["tokens"]
        self.assertEqual("".join(entry["piece"] for entry in pieces), "Hello, world")
        self.assertEqual(self.server.post("/detokenize", {"tokens": [1 << 40]})[0], 400)

    def testTemplate(self):
        status, _, reply = self.server.post("/apply-template", ask("Hi"))
        self.assertEqual(status, 200)
        self.assertTrue(reply["prompt"].endswith("<|turn>user\nHi<turn|>\n<|turn>model\n<|channel>thought\n<channel|>")
                        or reply["prompt"].endswith("<|turn>user\nHi<turn|>\n<|turn>model\n"), reply["prompt"])

    def testSmallRoutes(self):
        self.assertEqual(self.server.request("GET", "/health")[2], {"status": "ok"})
        self.assertEqual(self.server.request("GET", "/v1/models")[2]["data"][0]["id"], "my-model")
        self.assertEqual(self.server.request("GET", "/props")[2]["total_slots"], 2)
        status, headers, page = self.server.request("GET", "/")
        self.assertEqual(status, 200)
        self.assertIn(b"<html", page)
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        for method, path in (("GET", "/nothing"), ("POST", "/nothing"), ("GET", "/v1/chat/completions"),
                             ("DELETE", "/v1/models"), ("GET", "/" + "x" * 9000)):
            status, _, reply = self.server.request(method, path)
            self.assertIn(status, (404, 414, 400))
            self.assertTrue(reply["error"]["message"])

    def testMetrics(self):
        before = self.server.metric("llamacpp:tokens_predicted_total")
        reply = self.server.post("/v1/chat/completions", ask("What is the capital of France?"))[2]
        self.assertEqual(self.server.metric("llamacpp:tokens_predicted_total"),
                         before + reply["usage"]["completion_tokens"])
        self.assertEqual(self.server.metric("llamacpp:requests_processing"), 0)

    def testOpenApiNamesTheRoutes(self):
        description = self.server.request("GET", "/openapi.json")[2]
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/models",
                     "/v1/embeddings", "/tokenize", "/detokenize", "/apply-template", "/health", "/metrics"):
            self.assertIn(path, description["paths"])
        json.dumps(description)
