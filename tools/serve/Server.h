// The server: routes of OpenAI's and Anthropic's APIs over one engine. Names of
// routes and fields are theirs, and llama-server's for the rest.
#pragma once

#include "tools/serve/Access.h"
#include "tools/serve/Exchange.h"
#include "tools/serve/HttpConnection.h"

namespace lapidary::serve {

struct ServerOptions {
  std::string host = "127.0.0.1";
  /// 0: any that is free.
  int port = 8080;
  AccessRules access;
  RequestLimits limits;
  ConnectionLimits connections;
  size_t maxBody = size_t(64) << 20;
  /// Answers that may wait.
  size_t queue = 64;
  /// Threads for connections; 0: enough for all that may wait.
  size_t threads = 0;
  /// Seconds for an answer.
  double answerSeconds = 600;
};

class Server {
public:
  /// Takes the port; connections wait until `serve`. An error says what is in
  /// the way.
  static Result<std::unique_ptr<Server>> bind(ServerOptions options);
  ~Server();

  int port() const { return boundPort; }
  /// Answers requests until `stop`, which another thread calls.
  void serve(const ServedModel &model, EngineLoop &loop);
  void stop();

private:
  explicit Server(ServerOptions options);
  void addRoutes();
  void addModelRoutes();
  void addToolRoutes();
  bool checkRequest(const httplib::Request &request,
                    httplib::Response &response);
  void answer(Api api, const httplib::Request &request,
              httplib::Response &response,
              const httplib::ContentReader &reader);
  void sendFailure(const httplib::Request &request, httplib::Response &response,
                   const ApiError &error);
  std::string describeQueue() const;
  /// A route whose body is JSON and whose reply is made at once.
  void addJsonRoute(
      const char *path,
      std::function<Json(const Json &, MemoryBudget::Lease &, Problems &)>
          handler);
  std::optional<Json> readBody(const httplib::Request &request,
                               const httplib::ContentReader &reader,
                               MemoryBudget::Lease &lease, ApiError &error);
  ChatRequest parse(Api api, const Json &body, Problems &problems) const;
  Json modelsJson() const;
  Json propsJson() const;

  ServerOptions options;
  HttpServer http;
  MemoryBudget budget;
  int boundPort = 0;
  const ServedModel *model = nullptr;
  EngineLoop *loop = nullptr;
};

/// The whole of a reply.
void sendJson(httplib::Response &response, const Json &json, int status = 200);

/// Files that are built in.
extern const char *const pageText;
extern const char *const openApiText;

} // namespace lapidary::serve
