// What every request goes through: access, the size of its body, errors in its
// API's form, and the streams of answers.
#include "tools/serve/Server.h"

#include "runtime/core/Text.h"

#include <cstdio>

namespace lapidary::serve {

namespace {

bool isAnthropic(const std::string &path) {
  return path.starts_with("/v1/messages");
}

void sendError(const httplib::Request &request, httplib::Response &response,
               const ApiError &error) {
  sendJson(response,
           isAnthropic(request.path) ? error.toAnthropic() : error.toJson(),
           error.status);
}

/// What cpp-httplib itself refuses, in words.
const char *describe(int status) {
  switch (status) {
  case 404:
    return "there is no such route";
  case 408:
    return "the request did not come in time";
  case 413:
    return "the body is too large";
  case 414:
    return "the path is too long";
  default:
    return "the request is not understood";
  }
}

/// The library reads the body of such a request to the connection's end.
bool hasEndlessBody(const httplib::Request &request) {
  return request.method != "GET" && request.method != "HEAD" &&
         request.method != "OPTIONS" &&
         !request.has_header("Transfer-Encoding") &&
         !request.has_header("Content-Length");
}

bool hasBody(const httplib::Request &request) {
  return request.has_header("Transfer-Encoding") ||
         (request.has_header("Content-Length") &&
          request.get_header_value("Content-Length") != "0");
}

/// Ends the connection after this reply if some of the request is not read.
void closeUnread(const httplib::Request &request, httplib::Response &response) {
  HttpConnection *connection = HttpConnection::current();
  if (connection->isHeadRead() &&
      (!hasBody(request) || connection->isBodyRead()))
    return;
  connection->closeAfterwards();
  response.headers.erase("Keep-Alive");
  if (!response.has_header("Connection"))
    response.set_header("Connection", "close");
}

} // namespace

void sendJson(httplib::Response &response, const Json &json, int status) {
  response.status = status;
  response.set_content(dumpJson(json), "application/json");
}

Server::Server(ServerOptions chosen)
    : options(std::move(chosen)), http(options.connections),
      budget(std::max(options.maxBody * 4, size_t(1) << 30)) {}

Server::~Server() { stop(); }

Result<std::unique_ptr<Server>> Server::bind(ServerOptions options) {
  std::unique_ptr<Server> server(new Server(std::move(options)));
  const ServerOptions &chosen = server->options;
  // An address that another server listens on is an error, not shared.
  server->http.set_socket_options([](int socket) {
    const int on = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
  if (chosen.port == 0)
    server->boundPort = server->http.bind_to_any_port(chosen.host);
  else if (server->http.bind_to_port(chosen.host, chosen.port))
    server->boundPort = chosen.port;
  if (server->boundPort <= 0)
    return ioError(concat("cannot listen on ", chosen.host, ", port ",
                          chosen.port,
                          ": is another server there? --port chooses another, "
                          "--port 0 any that is free"));
  return server;
}

void Server::serve(const ServedModel &served, EngineLoop &engine) {
  model = &served;
  loop = &engine;
  const size_t threads = options.threads;
  http.new_task_queue = [threads] { return new httplib::ThreadPool(threads); };
  // Of the raw body; readBody counts what is unpacked.
  http.set_payload_max_length(options.maxBody);
  http.set_pre_routing_handler(
      [this](const httplib::Request &request, httplib::Response &response) {
        return checkRequest(request, response)
                   ? httplib::Server::HandlerResponse::Unhandled
                   : httplib::Server::HandlerResponse::Handled;
      });
  http.set_error_handler(
      [](const httplib::Request &request, httplib::Response &response) {
        if (response.body.empty())
          sendError(request, response,
                    {response.status, describe(response.status)});
      });
  http.set_post_routing_handler(closeUnread);
  http.set_exception_handler([](const httplib::Request &request,
                                httplib::Response &response,
                                std::exception_ptr pointer) {
    ApiError error{500, "the server failed"};
    try {
      std::rethrow_exception(pointer);
    } catch (const std::bad_alloc &) {
      error = {503, "the server has no memory for this now"};
    } catch (const std::exception &exception) {
      std::fprintf(stderr, "lapidary: error: %s: %s\n", request.path.c_str(),
                   exception.what());
    } catch (...) {
    }
    sendError(request, response, error);
  });
  addRoutes();
  http.listen_after_bind();
}

void Server::stop() { http.stopServing(); }

bool Server::checkRequest(const httplib::Request &request,
                          httplib::Response &response) {
  HttpConnection::current()->setHeadRead();
  const std::string origin = request.get_header_value("Origin");
  if (const std::string allowed = allowedOrigin(options.access, origin);
      !allowed.empty()) {
    response.set_header("Access-Control-Allow-Origin", allowed);
    response.set_header("Vary", "Origin");
    if (request.method == "OPTIONS") {
      response.set_header("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
      // Clients have headers of their own, x-stainless-os and the like.
      const std::string asked =
          request.get_header_value("Access-Control-Request-Headers");
      response.set_header("Access-Control-Allow-Headers",
                          asked.empty()
                              ? "Authorization, Content-Type, x-api-key, "
                                "anthropic-version, anthropic-beta"
                              : asked);
      response.set_header("Access-Control-Max-Age", "600");
      response.status = 204;
      return false;
    }
  }
  response.set_header("X-Content-Type-Options", "nosniff");
  const bool open = request.path == "/health" || request.path == "/v1/health" ||
                    request.path == "/";
  std::optional<ApiError> error =
      checkAccess(options.access,
                  {request.get_header_value("Host"), origin,
                   request.get_header_value("Authorization"),
                   request.get_header_value("x-api-key")},
                  open);
  // A reader for parts would be asked for them.
  if (!error && request.is_multipart_form_data())
    error = ApiError{415, "the body must be JSON"};
  if (!error && hasEndlessBody(request))
    error = request.method == "DELETE"
                ? ApiError{404, describe(404)}
                : ApiError{411, "the body's length is not given"};
  if (!error)
    return true;
  if (error->status == 401)
    response.set_header("WWW-Authenticate", "Bearer");
  sendError(request, response, *error);
  return false;
}

std::optional<Json> Server::readBody(const httplib::Request &request,
                                     const httplib::ContentReader &reader,
                                     MemoryBudget::Lease &lease,
                                     ApiError &error) {
  constexpr size_t piece = size_t(256) << 10;
  std::string body;
  size_t leased = 0;
  error = {408, describe(408)};
  const bool whole = reader([&](const char *data, size_t size) {
    if (body.size() + size > options.maxBody) {
      error = {413,
               concat("the body has more than ", options.maxBody, " bytes")};
      return false;
    }
    while (leased < body.size() + size) {
      if (!lease.take(piece)) {
        error = {429, "the requests at hand take too much memory"};
        return false;
      }
      leased += piece;
    }
    body.append(data, size);
    return true;
  });
  if (!whole) {
    // The declared length alone can be too much.
    const std::string length = request.get_header_value("Content-Length");
    if (error.status == 408 &&
        std::strtoull(length.c_str(), nullptr, 10) > options.maxBody)
      error = {413, concat("the body has ", length, " bytes, at most ",
                           options.maxBody, " are taken")};
    return std::nullopt;
  }
  HttpConnection::current()->setBodyRead();
  return parseRequest(body, error,
                      [&](size_t bytes) { return lease.take(bytes); });
}

ChatRequest Server::parse(Api api, const Json &body, Problems &problems) const {
  switch (api) {
  case Api::Chat:
    return parseChat(body, options.limits, problems);
  case Api::Completion:
    return parseCompletion(body, options.limits, problems);
  case Api::Responses:
    return parseResponses(body, options.limits, problems);
  case Api::Messages:
    return parseMessages(body, options.limits, problems);
  }
  return {};
}

void Server::sendFailure(const httplib::Request &request,
                         httplib::Response &response, const ApiError &error) {
  if (error.status == 429) {
    loop->metrics().countRefused();
    response.set_header("Retry-After", std::to_string(loop->retryAfter()));
  }
  sendError(request, response, error);
}

std::string Server::describeQueue() const {
  return concat("the server works on ", loop->processing(),
                " answers, and the queue of ", options.queue, " is full");
}

void Server::answer(Api api, const httplib::Request &request,
                    httplib::Response &response,
                    const httplib::ContentReader &reader) {
  auto fail = [&](const ApiError &error) {
    sendFailure(request, response, error);
  };
  auto full = [&] { fail({429, describeQueue()}); };
  if (loop->stopping())
    return fail(stoppingError());
  if (!loop->hasRoom(1))
    return full();
  auto lease = std::make_shared<MemoryBudget::Lease>(budget);
  std::shared_ptr<Exchange> exchange;
  bool stream = false;
  {
    ApiError error;
    const std::optional<Json> body = readBody(request, reader, *lease, error);
    if (!body)
      return fail(error);
    Problems problems;
    const ChatRequest chat = parse(api, *body, problems);
    if (problems.ok()) {
      stream = chat.stream;
      exchange =
          Exchange::create(*model, *loop, chat, options.limits,
                           options.answerSeconds, std::move(lease), problems);
    }
    if (!problems.ok())
      return fail(problems.error());
  }
  switch (exchange->submit()) {
  case EngineLoop::Submitted::Yes:
    break;
  case EngineLoop::Submitted::Full:
    return full();
  case EngineLoop::Submitted::Stopping:
    return fail(stoppingError());
  }
  HttpConnection *connection = HttpConnection::current();
  if (!stream) {
    std::optional<ApiError> error;
    const std::optional<Json> reply =
        exchange->finish([&] { return connection->gone(); }, error);
    if (error)
      return fail(*error);
    if (reply)
      return sendJson(response, *reply);
    connection->closeAfterwards();
    response.status = 499;
    return;
  }
  response.set_header("Cache-Control", "no-cache");
  response.set_header("X-Accel-Buffering", "no");
  response.set_chunked_content_provider(
      "text/event-stream",
      [exchange, connection](size_t, httplib::DataSink &sink) {
        bool done = false;
        const std::string text = exchange->next(done);
        if (text.empty() ? connection->gone()
                         : !sink.write(text.data(), text.size())) {
          exchange->abandon();
          return false;
        }
        if (done)
          sink.done();
        return true;
      },
      [exchange](bool) { exchange->abandon(); });
}

void Server::addJsonRoute(
    const char *path,
    std::function<Json(const Json &, MemoryBudget::Lease &, Problems &)>
        handler) {
  http.Post(path, [this, handler](const httplib::Request &request,
                                  httplib::Response &response,
                                  const httplib::ContentReader &reader) {
    MemoryBudget::Lease lease(budget);
    ApiError error;
    const std::optional<Json> body = readBody(request, reader, lease, error);
    if (!body)
      return sendFailure(request, response, error);
    Problems problems;
    const Json reply = handler(*body, lease, problems);
    if (problems.ok())
      sendJson(response, reply);
    else
      sendFailure(request, response, problems.error());
  });
}

void Server::addRoutes() {
  struct Route {
    const char *path;
    Api api;
  };
  constexpr Route routes[] = {
      {"/v1/chat/completions", Api::Chat},  {"/chat/completions", Api::Chat},
      {"/v1/completions", Api::Completion}, {"/v1/responses", Api::Responses},
      {"/responses", Api::Responses},       {"/v1/messages", Api::Messages}};
  for (const Route &route : routes)
    http.Post(route.path,
              [this, api = route.api](const httplib::Request &request,
                                      httplib::Response &response,
                                      const httplib::ContentReader &reader) {
                answer(api, request, response, reader);
              });
  addModelRoutes();
  addToolRoutes();
}

} // namespace lapidary::serve
