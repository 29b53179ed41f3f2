// Blocking sockets on threads: the tests' side is simple on purpose.
#include "loopback.hpp"

#include "base/assert.hpp"
#include "mirror/text.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace waggle::mirror::test {
namespace {

namespace asio = boost::asio;

sockaddr_in loopback_address(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::string header_of(std::string_view head, std::string_view name) {
  while (!head.empty()) {
    const auto end = std::min(head.find("\r\n"), head.size());
    const auto line = head.substr(0, end);
    const auto colon = line.find(':');
    if (colon != std::string_view::npos && iequals(line.substr(0, colon), name)) {
      return std::string(trim(line.substr(colon + 1)));
    }
    head.remove_prefix(std::min(end + 2, head.size()));
  }
  return {};
}

}  // namespace

LoopThread::LoopThread() : guard_(context.get_executor()), thread_([this] { context.run(); }) {}

LoopThread::~LoopThread() {
  guard_.reset();
  context.stop();
  thread_.join();
}

void LoopThread::run(const std::function<void()>& work) {
  std::promise<void> done;
  asio::post(context, [&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

std::string TestResponse::header(std::string_view name) const { return header_of(head, name); }

TestClient::TestClient(const Endpoint& endpoint)
    : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const auto address = loopback_address(endpoint.port);
  WAGGLE_ASSERT(
      ::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
}

TestClient::TestClient(const std::string& unix_path)
    : descriptor_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, unix_path.data(), unix_path.size());
  WAGGLE_ASSERT(
      ::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
}

TestClient::~TestClient() { close(); }

void TestClient::close() {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

void TestClient::send(std::string_view text) {
  while (!text.empty()) {
    const auto sent = ::send(descriptor_, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

bool TestClient::fill() {
  pollfd wait{descriptor_, POLLIN, 0};
  if (::poll(&wait, 1, 5000) <= 0) return false;
  std::array<char, 65536> piece{};
  const auto size = ::recv(descriptor_, piece.data(), piece.size(), 0);
  if (size <= 0) return false;
  buffer_.append(piece.data(), static_cast<std::size_t>(size));
  return true;
}

TestResponse TestClient::read_response(bool head_only) {
  TestResponse response;
  std::size_t end = std::string::npos;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!fill()) return response;
  }
  response.head = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  response.status = static_cast<unsigned>(std::stoul(response.head.substr(9, 3)));
  response.complete = true;
  if (head_only) return response;
  if (response.header("Transfer-Encoding") == "chunked") {
    while (true) {
      while ((end = buffer_.find("\r\n")) == std::string::npos) {
        if (!fill()) return response.complete = false, response;
      }
      const auto size = std::stoul(buffer_.substr(0, end), nullptr, 16);
      while (buffer_.size() < end + 4 + size) {
        if (!fill()) return response.complete = false, response;
      }
      response.body += buffer_.substr(end + 2, size);
      buffer_.erase(0, end + 4 + size);
      if (size == 0) return response;
    }
  }
  const auto length = response.header("Content-Length");
  const auto size = length.empty() ? 0 : std::stoul(length);
  while (buffer_.size() < size && fill()) {
  }
  response.complete = buffer_.size() >= size;
  response.body = buffer_.substr(0, size);
  buffer_.erase(0, size);
  return response;
}

TestResponse TestClient::get(std::string_view target, std::string_view headers) {
  send("GET " + std::string(target) + " HTTP/1.1\r\nHost: x\r\n" + std::string(headers) + "\r\n");
  return read_response();
}

TestResponse TestClient::head(std::string_view target, std::string_view headers) {
  send("HEAD " + std::string(target) + " HTTP/1.1\r\nHost: x\r\n" + std::string(headers) + "\r\n");
  return read_response(true);
}

std::string TestClient::read_all(bool& closed) {
  while (fill()) {
  }
  char byte = 0;
  closed = ::recv(descriptor_, &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
  return std::exchange(buffer_, {});
}

std::string TestClient::read_exactly(std::size_t size) {
  while (buffer_.size() < size && fill()) {
  }
  auto text = buffer_.substr(0, size);
  buffer_.erase(0, text.size());
  return text;
}

ScriptedServer::ScriptedServer(Script script, std::unique_ptr<Tls> tls)
    : script_(std::move(script)),
      tls_(std::move(tls)),
      listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  auto address = loopback_address(0);
  socklen_t size = sizeof(address);
  WAGGLE_ASSERT(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) ==
                0);
  WAGGLE_ASSERT(::listen(listener_, 64) == 0);
  WAGGLE_ASSERT(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_loop(); });
}

ScriptedServer::~ScriptedServer() {
  stopping_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  ::close(listener_);
  {
    const std::lock_guard lock(mutex_);
    for (const int descriptor : descriptors_) ::shutdown(descriptor, SHUT_RDWR);
  }
  for (auto& thread : threads_) thread.join();
  for (const int descriptor : descriptors_) ::close(descriptor);
}

std::vector<std::string> ScriptedServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void ScriptedServer::accept_loop() {
  while (!stopping_) {
    const int descriptor = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (descriptor < 0) return;
    ++connections_;
    const std::lock_guard lock(mutex_);
    descriptors_.push_back(descriptor);
    threads_.emplace_back([this, descriptor] { serve(descriptor); });
  }
}

void ScriptedServer::serve(int descriptor) {
  asio::io_context context;
  boost::system::error_code error;
  asio::ip::tcp::socket socket(context);
  socket.assign(asio::ip::tcp::v4(), ::dup(descriptor), error);
  if (!tls_) {
    talk(socket);
  } else {
    asio::ssl::context settings(asio::ssl::context::tls_server);
    settings.use_certificate_chain_file(tls_->certificate_file);
    settings.use_private_key_file(tls_->key_file, asio::ssl::context::pem);
    asio::ssl::stream<asio::ip::tcp::socket&> stream(socket, settings);
    stream.handshake(asio::ssl::stream_base::server, error);
    if (!error) talk(stream);
  }
  ::shutdown(descriptor, SHUT_RDWR);
}

template <typename Stream>
void ScriptedServer::talk(Stream& stream) {
  std::string buffer;
  std::array<char, 4096> piece{};
  const auto more = [&] {
    boost::system::error_code error;
    const auto size = stream.read_some(asio::buffer(piece), error);
    buffer.append(piece.data(), size);
    return !error;
  };
  while (true) {
    std::size_t end = 0;
    while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
      if (!more()) return;
    }
    const auto length = header_of(std::string_view(buffer).substr(0, end + 2), "Content-Length");
    const auto size = end + 4 + (length.empty() ? 0 : std::stoul(length));
    while (buffer.size() < size) {
      if (!more()) return;
    }
    const auto request = buffer.substr(0, size);
    buffer.erase(0, size);
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const Reply reply = script_(request);
    boost::system::error_code error;
    asio::write(stream, asio::buffer(reply.text), error);
    while (!reply.trickle.empty() && !error && !stopping_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      asio::write(stream, asio::buffer(reply.trickle), error);
    }
    while (reply.stall && more()) {
    }
    if (error || reply.close || reply.stall) return;
  }
}

std::string http_text(std::string_view status, std::string_view headers, std::string_view body) {
  return "HTTP/1.1 " + std::string(status) + "\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n" + std::string(headers) + "\r\n" + std::string(body);
}

}  // namespace waggle::mirror::test
