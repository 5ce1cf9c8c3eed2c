// Routes that need no engine: what is served, and the parts of a prompt's way
// that a client may want by themselves.
#include "runtime/core/Text.h"
#include "tools/serve/Server.h"

#include <ctime>

namespace lapidary::serve {

Json Server::modelsJson() const {
  const schema::Model &description = model->model();
  static const std::time_t started = std::time(nullptr);
  return {{"object", "list"},
          {"data", Json::array({{{"id", model->name()},
                                 {"object", "model"},
                                 {"created", started},
                                 {"owned_by", "lapidary"},
                                 {"meta",
                                  {{"n_vocab", description.vocabulary()},
                                   {"n_ctx", model->contextSize()},
                                   {"n_ctx_train", description.context()},
                                   {"n_embd", description.hidden()}}}}})}};
}

Json Server::propsJson() const {
  const SamplerOptions sampling = suggestedSampling(model->model());
  return {
      {"model_alias", model->name()},
      {"total_slots", loop->memoryPlan().sequences},
      {"build_info", "lapidary " LAPIDARY_VERSION},
      {"modalities",
       {{"vision", takesMedia(model->model(), MediaKind::Image)},
        {"audio", takesMedia(model->model(), MediaKind::Audio)},
        {"video", takesMedia(model->model(), MediaKind::Video)}}},
      {"default_generation_settings",
       {{"n_ctx", model->contextSize()},
        {"params",
         {{"temperature", sampling.temperature},
          {"top_k", sampling.topK},
          {"top_p", sampling.topP},
          {"n_predict",
           options.limits.maxTokens > 0 ? options.limits.maxTokens : -1}}}}}};
}

void Server::addModelRoutes() {
  for (const char *path : {"/health", "/v1/health"})
    http.Get(path, [this](const auto &, httplib::Response &response) {
      if (loop->stopping())
        sendJson(response, stoppingError().toJson(), 503);
      else
        sendJson(response, {{"status", "ok"}});
    });
  for (const char *path : {"/v1/models", "/models"})
    http.Get(path, [this](const auto &, httplib::Response &response) {
      sendJson(response, modelsJson());
    });
  http.Get("/v1/models/(.{1,256})", [this](const httplib::Request &request,
                                           httplib::Response &response) {
    if (request.matches[1] == model->name())
      sendJson(response, modelsJson()["data"][0]);
    else
      sendJson(
          response,
          ApiError{404, concat("there is no model '", request.matches[1].str(),
                               "'; this server has '", model->name(), "'")}
              .toJson(),
          404);
  });
  http.Get("/props", [this](const auto &, httplib::Response &response) {
    sendJson(response, propsJson());
  });
  http.Get("/metrics", [this](const auto &, httplib::Response &response) {
    response.set_content(
        loop->metrics().print(loop->processing(), loop->waiting()),
        "text/plain; version=0.0.4; charset=utf-8");
  });
  http.Get("/openapi.json", [](const auto &, httplib::Response &response) {
    response.set_content(openApiText, "application/json");
  });
  http.Get("/", [](const auto &, httplib::Response &response) {
    // The page needs nothing from outside, and nothing else may run in it.
    response.set_header(
        "Content-Security-Policy",
        "default-src 'none'; script-src 'unsafe-inline'; style-src "
        "'unsafe-inline'; img-src data: blob:; media-src data: blob:; "
        "connect-src 'self'; worker-src blob:; base-uri 'none'; form-action "
        "'none'; frame-ancestors 'none'");
    response.set_content(pageText, "text/html; charset=utf-8");
  });
}

void Server::addToolRoutes() {
  addJsonRoute("/tokenize", [this](const Json &body, MemoryBudget::Lease &,
                                   Problems &problems) {
    const Fields fields(body, "", problems);
    const std::string text = fields.required("content");
    std::vector<int32_t> ids = model->tokenizer().encode(text);
    if (fields.flag("add_special"))
      ids.insert(ids.begin(), model->model().bos_token());
    if (!fields.flag("with_pieces"))
      return Json({{"tokens", ids}});
    Json list = Json::array();
    for (int32_t id : ids)
      list.push_back({{"id", id}, {"piece", model->tokenText(id)}});
    return Json({{"tokens", std::move(list)}});
  });
  addJsonRoute("/detokenize", [this](const Json &body, MemoryBudget::Lease &,
                                     Problems &problems) {
    const Fields fields(body, "", problems);
    const Json *tokens = fields.array("tokens");
    std::vector<int32_t> ids;
    if (!tokens)
      fields.fail("tokens", "'tokens' is missing");
    else
      for (const Json &id : *tokens) {
        if (!id.is_number_unsigned() ||
            id.get<uint64_t>() >= uint64_t(options.limits.vocabulary)) {
          fields.fail("tokens", concat("'tokens' must be ids from 0 to ",
                                       options.limits.vocabulary - 1));
          break;
        }
        ids.push_back(id.get<int32_t>());
      }
    return Json({{"content", model->tokenizer().decode(ids, false)}});
  });
  addJsonRoute(
      "/apply-template",
      [this](const Json &body, MemoryBudget::Lease &, Problems &problems) {
        const ChatRequest request = parseChat(body, options.limits, problems);
        if (!problems.ok())
          return Json();
        const Result<std::string> text = model->render(request);
        if (!text.ok())
          problems.add("messages", text.status().message());
        return Json({{"prompt", text.ok() ? Tokenizer::unprotected(*text)
                                          : std::string()}});
      });
  addJsonRoute("/v1/messages/count_tokens", [this](const Json &body,
                                                   MemoryBudget::Lease &lease,
                                                   Problems &problems) {
    // Media are cut here as they are for an answer.
    if (!loop->hasRoom(1))
      problems.add({}, describeQueue(), 429);
    if (!problems.ok())
      return Json();
    const ChatRequest request =
        parseMessages(body, options.limits, problems, true);
    if (!problems.ok())
      return Json();
    const auto prompts = model->prepare(
        request, options.limits,
        [&](size_t bytes) { return lease.take(bytes); }, problems);
    return Json({{"input_tokens", prompts ? (*prompts)[0].tokens.size() : 0}});
  });
  for (const char *path : {"/v1/embeddings", "/embeddings"})
    addJsonRoute(path, [](const Json &, MemoryBudget::Lease &,
                          Problems &problems) {
      problems.add({},
                   "this model gives no embeddings: Gemma 4 Unified is "
                   "trained to answer, and its hidden states are no measure "
                   "of a text's meaning",
                   501);
      return Json();
    });
}

} // namespace lapidary::serve
