#include "tools/serve/HttpConnection.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <thread>

namespace lapidary::serve {

namespace {

thread_local HttpConnection *currentConnection = nullptr;

/// Events of a socket within a time; 0 where there are none.
short waitFor(int descriptor, short events, int milliseconds) {
  pollfd entry{descriptor, events, 0};
  for (;;) {
    const int count = poll(&entry, 1, milliseconds);
    if (count > 0)
      return entry.revents;
    if (count == 0 || errno != EINTR)
      return 0;
  }
}

int millisecondsUntil(HttpConnection::Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                        deadline - HttpConnection::Clock::now())
                        .count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
}

void nameAddress(const sockaddr_storage &address, socklen_t size,
                 std::string &ip, int &port) {
  char host[NI_MAXHOST], service[NI_MAXSERV];
  if (getnameinfo(reinterpret_cast<const sockaddr *>(&address), size, host,
                  sizeof host, service, sizeof service,
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return;
  ip = host;
  port = std::atoi(service);
}

} // namespace

HttpConnection *HttpConnection::current() { return currentConnection; }

bool HttpConnection::waitForRequest() {
  const auto end = Clock::now() + std::chrono::seconds(limits.keepAliveSeconds);
  while (taken == buffer.size() && !stopping && Clock::now() < end) {
    // Looks up now and then to see whether the server stops.
    const short events = waitFor(descriptor, POLLIN, 100);
    if (events & (POLLERR | POLLNVAL))
      return false;
    if (events)
      break;
  }
  deadline = Clock::now() + std::chrono::seconds(limits.requestSeconds);
  headRead = bodyRead = false;
  return !stopping && Clock::now() < end;
}

bool HttpConnection::gone() const {
  return waitFor(descriptor, POLLRDHUP, 0) &
         (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL);
}

void HttpConnection::finish() {
  shutdown(descriptor, SHUT_WR);
  const auto end = Clock::now() + std::chrono::seconds(2);
  char rest[4096];
  while (Clock::now() < end &&
         waitFor(descriptor, POLLIN, millisecondsUntil(end)) &&
         recv(descriptor, rest, sizeof rest, 0) > 0) {
  }
}

bool HttpConnection::waitForData() const {
  while (!stopping) {
    const int left = millisecondsUntil(deadline);
    if (left == 0)
      return false;
    if (waitFor(descriptor, POLLIN, std::min(left, 100)))
      return true;
  }
  return false;
}

bool HttpConnection::is_readable() const {
  return taken < buffer.size() || waitForData();
}

bool HttpConnection::is_writable() const {
  return waitFor(descriptor, POLLOUT, limits.writeSeconds * 1000) & POLLOUT;
}

ssize_t HttpConnection::read(char *data, size_t size) {
  if (taken == buffer.size()) {
    if (!waitForData())
      return -1;
    buffer.resize(size_t(64) << 10);
    ssize_t count;
    do
      count = recv(descriptor, buffer.data(), buffer.size(), 0);
    while (count < 0 && errno == EINTR);
    buffer.resize(count > 0 ? static_cast<size_t>(count) : 0);
    taken = 0;
    if (count <= 0)
      return count;
  }
  const size_t count = std::min(size, buffer.size() - taken);
  std::memcpy(data, buffer.data() + taken, count);
  taken += count;
  return static_cast<ssize_t>(count);
}

ssize_t HttpConnection::write(const char *data, size_t size) {
  for (size_t sent = 0; sent < size;) {
    const ssize_t count =
        send(descriptor, data + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0)
      sent += static_cast<size_t>(count);
    else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!is_writable())
        return -1;
    } else if (errno != EINTR) {
      return -1;
    }
  }
  return static_cast<ssize_t>(size);
}

void HttpConnection::get_remote_ip_and_port(std::string &ip, int &port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getpeername(descriptor, reinterpret_cast<sockaddr *>(&address), &size) ==
      0)
    nameAddress(address, size, ip, port);
}

void HttpConnection::get_local_ip_and_port(std::string &ip, int &port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(descriptor, reinterpret_cast<sockaddr *>(&address), &size) ==
      0)
    nameAddress(address, size, ip, port);
}

void HttpServer::stopServing() {
  stopping = true;
  // The library cuts streams off when it stops, even those that have little
  // left to send.
  const auto end = HttpConnection::Clock::now() + std::chrono::seconds(10);
  while (busy > 0 && HttpConnection::Clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  // A second stop would close a socket that is no more.
  if (is_running() && !stopped.exchange(true))
    stop();
}

bool HttpServer::process_and_close_socket(socket_t socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  bool ok = false;
  try {
    HttpConnection connection(socket, limits, stopping);
    currentConnection = &connection;
    while (connection.waitForRequest()) {
      bool closed = false;
      ++busy;
      try {
        ok = process_request(connection, stopping, closed, nullptr);
      } catch (...) {
        --busy;
        throw;
      }
      --busy;
      if (!ok || closed || connection.closesAfterwards())
        break;
    }
    if (connection.closesAfterwards())
      connection.finish();
  } catch (const std::exception &exception) {
    std::fprintf(stderr, "lapidary: error: a connection: %s\n",
                 exception.what());
  }
  currentConnection = nullptr;
  ::shutdown(socket, SHUT_RDWR);
  ::close(socket);
  return ok;
}

} // namespace lapidary::serve
