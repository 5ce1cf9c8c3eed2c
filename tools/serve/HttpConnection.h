// Connections of the HTTP server: cpp-httplib parses and writes requests, and
// this gives it a stream that knows deadlines and notices when the client goes
// away.
#pragma once

#include <httplib.h>

#include <chrono>
#include <string>

namespace lapidary::serve {

struct ConnectionLimits {
  /// Seconds in which all of a request must have come.
  int requestSeconds = 120;
  /// Seconds for which a client may stop reading.
  int writeSeconds = 60;
  /// Seconds to wait for a next request.
  int keepAliveSeconds = 30;
};

class HttpConnection : public httplib::Stream {
public:
  using Clock = std::chrono::steady_clock;

  /// Nothing more is read once `stopping`.
  HttpConnection(int socket, const ConnectionLimits &limits,
                 const std::atomic<bool> &stopping)
      : descriptor(socket), limits(limits), stopping(stopping) {}

  /// Waits for a request's first byte; false where none comes. From it on the
  /// request has its time.
  bool waitForRequest();
  /// Whether the client has gone, or closed its side.
  bool gone() const;
  /// The request's head was understood.
  void setHeadRead() { headRead = true; }
  bool isHeadRead() const { return headRead; }
  /// All of the request was read. A connection where some was not must end, for
  /// what follows is no request.
  void setBodyRead() { bodyRead = true; }
  bool isBodyRead() const { return bodyRead; }
  void closeAfterwards() { closing = true; }
  bool closesAfterwards() const { return closing; }
  /// Lets the client read what was sent before the connection ends, even if it
  /// is still sending.
  void finish();

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char *data, size_t size) override;
  ssize_t write(const char *data, size_t size) override;
  void get_remote_ip_and_port(std::string &ip, int &port) const override;
  void get_local_ip_and_port(std::string &ip, int &port) const override;
  socket_t socket() const override { return descriptor; }

  /// The connection of this thread's request.
  static HttpConnection *current();

private:
  friend class HttpServer;
  /// Waits until there is something to read, up to the deadline.
  bool waitForData() const;

  int descriptor;
  const ConnectionLimits &limits;
  const std::atomic<bool> &stopping;
  Clock::time_point deadline;
  bool closing = false, headRead = false, bodyRead = false;
  /// Read and not yet asked for: lines are read byte by byte.
  std::string buffer;
  size_t taken = 0;
};

class HttpServer : public httplib::Server {
public:
  explicit HttpServer(ConnectionLimits limits) : limits(limits) {}

  /// Ends when the requests at hand have been answered. Does nothing to a
  /// server that does not listen yet: to be repeated until it has ended.
  void stopServing();

private:
  bool process_and_close_socket(socket_t socket) override;

  ConnectionLimits limits;
  std::atomic<bool> stopping = false, stopped = false;
  /// Requests that are being answered.
  std::atomic<int> busy = 0;
};

} // namespace lapidary::serve
