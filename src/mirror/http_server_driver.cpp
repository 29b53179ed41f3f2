// Listening, accepting and stopping. All listeners, TCP or unix, are descriptors of one generic
// protocol.
#include "mirror/http_server_driver.hpp"

#include "base/descriptor_driver.hpp"
#include "base/random_source.hpp"
#include "base/socket_address_driver.hpp"
#include "mirror/callback_gate_driver.hpp"
#include "mirror/cidr.hpp"
#include "mirror/http_connection_driver.hpp"
#include "mirror/text.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>

namespace waggle::mirror {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Protocol = asio::generic::stream_protocol;
using Acceptor = asio::basic_socket_acceptor<Protocol>;

/// nullopt for sockets that have no IP address.
std::optional<Endpoint> name_of(int descriptor, decltype(&::getsockname) function) {
  SocketAddress name;
  if (function(descriptor, name.get(), &name.size) != 0) return std::nullopt;
  return endpoint_of(*name.get());
}

Result<int> open_tcp_listener(const Endpoint& endpoint) {
  // A dual-stack listener on a machine without IPv6 is an IPv4 one.
  const bool v4 = endpoint.is_v4();
  Descriptor descriptor(
      ::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (descriptor.get() < 0 && errno == EAFNOSUPPORT && !v4 && endpoint.is_unspecified()) {
    return open_tcp_listener(Endpoint::v4(0, 0, 0, 0, endpoint.port));
  }
  if (descriptor.get() < 0) return last_system_error();
  const int on = 1;
  const int off = 0;
  ::setsockopt(descriptor.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (!v4) ::setsockopt(descriptor.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  SocketAddress address = to_socket_address(endpoint);
  if (::bind(descriptor.get(), address.get(), address.size) != 0 ||
      ::listen(descriptor.get(), SOMAXCONN) != 0) {
    return last_system_error();
  }
  return descriptor.release();
}

/// True when `path` is a socket nobody listens on any more.
bool is_stale_socket(const sockaddr_un& address) {
  struct stat status {};
  if (::lstat(address.sun_path, &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  const Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
             0 &&
         errno == ECONNREFUSED;
}

Result<int> open_unix_listener(const std::string& path, unsigned mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path))
    return error_code(ENAMETOOLONG, boost::system::system_category());
  std::memcpy(address.sun_path, path.data(), path.size());
  if (is_stale_socket(address)) ::unlink(path.c_str());
  Descriptor descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (descriptor.get() < 0) return last_system_error();
  // Nobody can connect before listen(), so the permissions are in place in time.
  if (::bind(descriptor.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::chmod(path.c_str(), static_cast<mode_t>(mode)) != 0 ||
      ::listen(descriptor.get(), SOMAXCONN) != 0) {
    return last_system_error();
  }
  return descriptor.release();
}

}  // namespace

std::string_view HttpRequest::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (iequals(key, name)) return value;
  }
  return {};
}

const HttpRequest& HttpExchange::request() const { return connection_.request; }
asio::any_io_executor HttpExchange::executor() const { return connection_.socket.get_executor(); }
asio::awaitable<Result<std::string>> HttpExchange::read_body(std::size_t bytes_max) {
  return connection_.read_body(bytes_max);
}
void HttpExchange::begin(HttpResponseHead head) { connection_.begin(std::move(head)); }
bool HttpExchange::begun() const { return connection_.begun; }
asio::awaitable<Result<void>> HttpExchange::write(ByteView bytes) {
  return connection_.write(bytes);
}
asio::awaitable<Result<void>> HttpExchange::write_file(int descriptor, std::uint64_t offset,
                                                       std::uint64_t size) {
  return connection_.write_file(descriptor, offset, size);
}
asio::awaitable<Result<void>> HttpExchange::respond(HttpResponseHead head, std::string body) {
  return connection_.respond(std::move(head), std::move(body));
}
void HttpExchange::cut() { connection_.cut = true; }
void HttpExchange::on_client_gone(std::function<void()> callback) {
  connection_.client_gone_callback = std::move(callback);
}
bool HttpExchange::client_gone() const { return connection_.client_gone; }

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  explicit Impl(asio::any_io_executor executor_in)
      : executor(std::move(executor_in)), drained(executor) {}

  asio::any_io_executor executor;
  std::shared_ptr<HttpServerShared> shared = std::make_shared<HttpServerShared>();
  std::vector<Cidr> allow;
  error_code config_error;
  std::vector<std::shared_ptr<Acceptor>> acceptors;
  std::vector<Endpoint> endpoints;
  std::vector<std::string> unix_paths;
  std::map<std::uint64_t, std::shared_ptr<HttpConnection>> connections;
  std::uint64_t next_connection = 0;
  asio::steady_timer drained;

  Result<void> accept_on(int descriptor) {
    Descriptor owned(descriptor);
    int family = AF_INET;
    socklen_t size = sizeof(family);
    if (::getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0)
      return last_system_error();
    auto acceptor = std::make_shared<Acceptor>(executor);
    error_code error;
    acceptor->assign(Protocol(family, 0), descriptor, error);
    if (error) return error;
    static_cast<void>(owned.release());
    if (const auto name = name_of(descriptor, &::getsockname)) endpoints.push_back(*name);
    acceptors.push_back(acceptor);
    asio::co_spawn(executor, accept_loop(shared_from_this(), acceptor), asio::detached);
    return boost::system::in_place_value;
  }

  static asio::awaitable<void> accept_loop(std::shared_ptr<Impl> self,
                                           std::shared_ptr<Acceptor> acceptor) {
    while (!self->shared->stopping) {
      auto [error, socket] = co_await acceptor->async_accept(no_throw);
      if (error == asio::error::operation_aborted || !acceptor->is_open()) co_return;
      if (error) {
        // Out of descriptors, mostly: waiting is all that helps.
        asio::steady_timer pause(self->executor, std::chrono::milliseconds(50));
        co_await pause.async_wait(no_throw);
        continue;
      }
      self->start(std::move(socket));
    }
  }

  void start(Protocol::socket socket) {
    if (connections.size() >= shared->config.connections_max)
      return refuse_at_once(std::move(socket));
    const int descriptor = socket.native_handle();
    const auto client = name_of(descriptor, &::getpeername);
    const int on = 1;
    if (client) ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const bool allowed = is_allowed(client, name_of(descriptor, &::getsockname));
    const auto id = next_connection++;
    auto connection = std::make_shared<HttpConnection>(std::move(socket), shared, client, allowed);
    connections.emplace(id, connection);
    asio::co_spawn(executor, run(shared_from_this(), connection, id), asio::detached);
  }

  static asio::awaitable<void> run(std::shared_ptr<Impl> self,
                                   std::shared_ptr<HttpConnection> connection, std::uint64_t id) {
    co_await connection->run();
    self->connections.erase(id);
    if (self->connections.empty()) self->drained.cancel();
  }

  void refuse_at_once(Protocol::socket socket) {
    const std::string body = shared->error_body(503, "too many connections");
    const std::string answer =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body;
    static_cast<void>(
        ::send(socket.native_handle(), answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
  }

  bool is_allowed(const std::optional<Endpoint>& client,
                  const std::optional<Endpoint>& local) const {
    if (!client || shared->config.allow_all || client->is_loopback()) return true;
    // A process of this machine that dials one of its addresses is seen with that same address.
    if (local && local->address == client->address) return true;
    return std::any_of(allow.begin(), allow.end(),
                       [&](const Cidr& block) { return block.contains(*client); });
  }

  void stop_accepting() {
    shared->stopping = true;
    error_code ignored;
    for (const auto& acceptor : acceptors) acceptor->close(ignored);
    acceptors.clear();
    for (const auto& path : unix_paths) ::unlink(path.c_str());
    unix_paths.clear();
  }

  std::vector<std::shared_ptr<HttpConnection>> snapshot() const {
    std::vector<std::shared_ptr<HttpConnection>> all;
    for (const auto& [id, connection] : connections) all.push_back(connection);
    return all;
  }
};

HttpServer::HttpServer(asio::any_io_executor executor, HttpServerConfig config, HttpHandler handler)
    : impl_(std::make_shared<Impl>(std::move(executor))) {
  std::signal(SIGPIPE, SIG_IGN);  // sendfile(2) has no MSG_NOSIGNAL
  for (const std::string& text : config.allow) {
    const auto block = Cidr::parse(text);
    if (block) {
      impl_->allow.push_back(*block);
    } else {
      impl_->config_error = block.error();
    }
  }
  SystemRandomSource random;
  Bytes salt(sizeof(std::uint64_t));
  random.fill(salt);
  impl_->shared->request_salt = load_le<std::uint64_t>(salt);
  impl_->shared->config = std::move(config);
  impl_->shared->handler = std::move(handler);
}

HttpServer::~HttpServer() {
  impl_->stop_accepting();
  for (const auto& connection : impl_->snapshot()) connection->close();
  impl_->connections.clear();
}

Result<Endpoint> HttpServer::listen(const Endpoint& endpoint) {
  if (impl_->config_error) return impl_->config_error;
  const auto descriptor = open_tcp_listener(endpoint);
  if (!descriptor) return descriptor.error();
  const auto accepting = impl_->accept_on(*descriptor);
  if (!accepting) return accepting.error();
  return impl_->endpoints.back();
}

Result<void> HttpServer::listen_unix(const std::string& path, unsigned mode) {
  if (impl_->config_error) return impl_->config_error;
  const auto descriptor = open_unix_listener(path, mode);
  if (!descriptor) return descriptor.error();
  impl_->unix_paths.push_back(path);
  return impl_->accept_on(*descriptor);
}

Result<void> HttpServer::adopt(int descriptor) {
  if (impl_->config_error) return impl_->config_error;
  return impl_->accept_on(descriptor);
}

asio::awaitable<void> HttpServer::stop(Duration deadline) {
  const auto impl = impl_;
  impl->stop_accepting();
  for (const auto& connection : impl->snapshot()) connection->close_when_idle();
  if (impl->connections.empty()) co_return;
  impl->drained.expires_after(deadline);
  co_await impl->drained.async_wait(no_throw);
  for (const auto& connection : impl->snapshot()) connection->close();
  while (!impl->connections.empty()) {
    impl->drained.expires_at(std::chrono::steady_clock::time_point::max());
    co_await impl->drained.async_wait(no_throw);
  }
}

std::vector<Endpoint> HttpServer::endpoints() const { return impl_->endpoints; }
std::size_t HttpServer::connection_count() const { return impl_->connections.size(); }

}  // namespace waggle::mirror
