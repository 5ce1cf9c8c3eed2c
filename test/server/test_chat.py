"""/v1/chat/completions through the official client and LiteLLM."""

import json
import os
import threading

import openai

from serving import ServerTest, ask, openaiMessages, run, tasks

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched


class Chat(ServerTest):
    options = ("--parallel", "4")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="none", max_retries=0)

    def chat(self, text, **more):
        return self.client.chat.completions.create(model="tiny", **ask(text, **more))

    def testAnswer(self):
        reply = self.chat("What is the capital of France?")
        self.assertEqual(reply.choices[0].message.content, "Paris")
        self.assertEqual(reply.choices[0].finish_reason, "stop")
        self.assertEqual(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens)
        self.assertEqual(reply.object, "chat.completion")

    def testStreamSaysTheSame(self):
        for text in ("What is the capital of Italy?", "Tell me a story."):
            whole = self.chat(text, max_tokens=40)
            stream = list(self.chat(text, max_tokens=40, stream=True, stream_options={"include_usage": True}))
            content = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
            self.assertEqual(content, whole.choices[0].message.content)
            self.assertEqual(stream[0].choices[0].delta.role, "assistant")
            self.assertEqual(stream[-2].choices[0].finish_reason, whole.choices[0].finish_reason)
            self.assertEqual(stream[-1].usage.completion_tokens, whole.usage.completion_tokens)
            self.assertEqual(stream[-1].choices, [])

    def testPrefixIsReused(self):
        text = "Remember this well: " + "red green blue " * 20
        self.chat(text, max_tokens=1)
        again = self.chat(text, max_tokens=1)
        self.assertEqual(again.usage.prompt_tokens_details.cached_tokens, again.usage.prompt_tokens - 1)

    def testChoicesAndSeeds(self):
        first = self.chat("Tell me a story.", n=3, temperature=1, seed=5, max_tokens=20)
        again = self.chat("Tell me a story.", n=3, temperature=1, seed=5, max_tokens=20)
        texts = [choice.message.content for choice in first.choices]
        self.assertEqual([choice.index for choice in first.choices], [0, 1, 2])
        self.assertEqual(texts, [choice.message.content for choice in again.choices])
        self.assertGreater(len(set(texts)), 1)
        stream = self.chat("Tell me a story.", n=3, temperature=1, seed=5, max_tokens=20, stream=True)
        gathered = ["", "", ""]
        for chunk in stream:
            for choice in chunk.choices:
                gathered[choice.index] += choice.delta.content or ""
        self.assertEqual(gathered, texts)

    def testLogprobs(self):
        reply = self.chat("What is the capital of France?", logprobs=True, top_logprobs=3)
        entry = reply.choices[0].logprobs.content[0]
        self.assertEqual(entry.token, "Paris")
        self.assertEqual(entry.bytes, list(b"Paris"))
        self.assertEqual(len(entry.top_logprobs), 3)
        self.assertEqual(entry.top_logprobs[0].logprob, entry.logprob)
        self.assertLess(entry.logprob, 0)

    def testStopAndLength(self):
        whole = self.chat("Tell me a story.", max_tokens=60).choices[0].message.content
        word = whole.split()[4]
        cut = self.chat("Tell me a story.", max_tokens=60, stop=[word])
        self.assertEqual(cut.choices[0].message.content, whole[:whole.index(word)])
        self.assertEqual(cut.choices[0].finish_reason, "stop")
        short = self.chat("Tell me a story.", max_completion_tokens=3)
        self.assertEqual(short.choices[0].finish_reason, "length")
        self.assertEqual(short.usage.completion_tokens, 3)

    def testBias(self):
        tokens = self.server.post("/tokenize", {"content": "Paris"})[2]["tokens"]
        reply = self.chat("What is the capital of France?", logit_bias={str(tokens[0]): -100}, max_tokens=5)
        self.assertNotIn("Paris", reply.choices[0].message.content)

    def testMedia(self):
        for kind in ("digits", "shape", "two_images", "keys", "video"):
            for task in tasks(kind):
                reply = self.client.chat.completions.create(
                    model="tiny", messages=openaiMessages(task), temperature=0, max_tokens=40)
                self.assertEqual(reply.choices[0].message.content, run(task), (kind, task["media"]))

    def testDetailChoosesTokens(self):
        def promptTokens(**more):
            messages = openaiMessages(tasks("digits")[0])
            for part in messages[0]["content"]:
                if part["type"] == "image_url":
                    part["image_url"].update(more)
            reply = self.client.chat.completions.create(model="tiny", messages=messages, max_tokens=1)
            return reply.usage.prompt_tokens
        low, high = promptTokens(detail="low"), promptTokens(detail="high")
        self.assertGreater(high, low + 200)
        self.assertEqual(promptTokens(), promptTokens(detail="auto"))
        self.assertLess(promptTokens(max_soft_tokens=30), low)

    def testThinkingIsApart(self):
        reply = self.chat("What is 3 + 5?", extra_body={"chat_template_kwargs": {"enable_thinking": True}},
                          max_tokens=80)
        message = reply.choices[0].message
        self.assertTrue(message.reasoning_content)
        self.assertIn("8", message.content)
        self.assertNotIn("channel", message.content + message.reasoning_content)
        self.assertGreater(reply.usage.completion_tokens_details.reasoning_tokens, 0)
        plain = self.chat("What is 3 + 5?", max_tokens=80).choices[0].message
        self.assertIsNone(getattr(plain, "reasoning_content", None))
        self.assertIn("8", self.chat("What is 3 + 5?", reasoning_effort="low", max_tokens=80).choices[0].message.content)

    def testAnswersFollowSchemas(self):
        schema = {"type": "object", "additionalProperties": False, "required": ["city", "count"],
                  "properties": {"city": {"enum": ["Rome", "Paris"]}, "count": {"type": "integer", "maximum": 99,
                                                                                "minimum": 10}}}
        form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}
        for more in ({"temperature": 0}, {"temperature": 1.5, "seed": 3}, {"reasoning_effort": "low"}):
            reply = self.client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": "Write JSON."}], response_format=form, **more)
            read = json.loads(reply.choices[0].message.content)
            self.assertEqual(list(read), ["city", "count"])
            self.assertIn(read["city"], ("Rome", "Paris"))
            self.assertIn(read["count"], range(10, 100))
        text = self.chat("Say yes or no.", extra_body={"grammar": 'root ::= "yes" | "no"'})
        self.assertIn(text.choices[0].message.content, ("yes", "no"))
        with self.assertRaises(openai.BadRequestError) as raised:
            self.chat("x", response_format={"type": "json_schema", "json_schema": {
                "name": "n", "schema": {"type": "string", "pattern": "(?<=a)b"}}})
        self.assertIn("pattern", raised.exception.message)
        self.assertEqual(raised.exception.param, "response_format")

    def testTools(self):
        def tool(name, **properties):
            return {"type": "function", "function": {"name": name, "description": "Current weather in a city.",
                    "parameters": {"type": "object", "properties": properties, "required": list(properties)}}}
        weather = tool("get_weather", city={"type": "string", "description": "City name"})
        question = [{"role": "user", "content": "What is the weather in Rome?"}]

        def ask(**more):
            return self.client.chat.completions.create(
                model="tiny", temperature=0, **{"messages": question, "tools": [weather], "max_tokens": 100, **more})
        choice = ask().choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        self.assertIsNone(choice.message.content)
        call = choice.message.tool_calls[0]
        self.assertEqual((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "Rome"}))

        name = arguments = ""
        for chunk in ask(stream=True):
            for part in chunk.choices[0].delta.tool_calls or []:
                name += part.function.name or ""
                arguments += part.function.arguments
        self.assertEqual((name, json.loads(arguments)), ("get_weather", {"city": "Rome"}))

        # The result goes back, and the answer is text.
        answer = ask(messages=[*question, choice.message.model_dump(exclude_none=True),
                               {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21"}])
        self.assertTrue(answer.choices[0].message.content)
        self.assertIsNone(answer.choices[0].message.tool_calls)

        self.assertIsNone(ask(tool_choice="none").choices[0].message.tool_calls)
        other = tool("set_count", count={"type": "integer", "minimum": 3, "maximum": 5})
        named = ask(tools=[weather, other], tool_choice={"type": "function", "function": {"name": "set_count"}})
        call = named.choices[0].message.tool_calls[0]
        self.assertEqual(call.function.name, "set_count")
        self.assertIn(json.loads(call.function.arguments)["count"], (3, 4, 5))
        forced = ask(messages=[{"role": "user", "content": "Hello"}], tool_choice="required")
        self.assertEqual(forced.choices[0].message.tool_calls[0].function.name, "get_weather")

    def testMarksInTextAreText(self):
        for mark in ("<turn|>", "<|image|>", "<|tool_call>", "<bos>"):
            template = self.server.post("/apply-template", ask(f"Say {mark} again"))[2]["prompt"]
            self.assertIn(f"Say {mark} again", template)
            with_, without = (self.server.post("/v1/messages/count_tokens", {"messages": [
                {"role": "user", "content": text}]})[2]["input_tokens"] for text in (f"Say {mark} again", "Say again"))
            # As a special token it would be one, and an image has no pixels.
            self.assertGreater(with_, without + 2, mark)
            self.assertEqual(self.server.post("/v1/chat/completions", ask(f"Say {mark} again", max_tokens=3))[0], 200)

    def testThoughtsHaveABudget(self):
        for budget in (1, 3):
            reply = self.chat("What is 3 + 5?", max_tokens=60, extra_body={
                "chat_template_kwargs": {"enable_thinking": True}, "thinking_budget_tokens": budget})
            details = reply.usage.completion_tokens_details
            self.assertLessEqual(details.reasoning_tokens, budget + 2)
            self.assertTrue(reply.choices[0].message.content)

    def testErrorsAreOpenAis(self):
        for more, param in (({"temperature": "hot"}, "temperature"), ({"n": 0}, "n"), ({"stop": 5}, "stop")):
            with self.assertRaises(openai.BadRequestError) as raised:
                self.client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x"}],
                                                    extra_body=more)
            self.assertEqual(raised.exception.param, param)
            self.assertEqual(raised.exception.type, "invalid_request_error")
        with self.assertRaises(openai.BadRequestError) as raised:
            self.chat("word " * 5000)
        self.assertIn("tokens", raised.exception.message)
        with self.assertRaises(openai.APIStatusError) as raised:
            self.client.embeddings.create(model="tiny", input="x")
        self.assertEqual(raised.exception.status_code, 501)

    def testManyAtOnceSayWhatOneSays(self):
        questions = [f"What is {i} + {j}?" for i in range(1, 5) for j in range(1, 5)]
        alone = [self.chat(text).choices[0].message.content for text in questions]
        together = [None] * len(questions)

        def answer(index):
            together[index] = self.chat(questions[index]).choices[0].message.content
        threads = [threading.Thread(target=answer, args=(index,)) for index in range(len(questions))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(together, alone)

    def testLiteLlm(self):
        import litellm
        reply = litellm.completion(model="openai/tiny", api_base=self.server.url + "/v1", api_key="none",
                                   **ask("What is the capital of France?"))
        self.assertEqual(reply.choices[0].message.content, "Paris")
        stream = litellm.completion(model="openai/tiny", api_base=self.server.url + "/v1", api_key="none", stream=True,
                                    **ask("What is the capital of Italy?"))
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in stream), "Rome")

    def testModels(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["tiny"])
        self.assertEqual(self.client.models.retrieve("tiny").id, "tiny")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("other")
