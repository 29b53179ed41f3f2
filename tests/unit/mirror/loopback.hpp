// Loopback helpers of the driver tests: a loop on its own thread, a blocking client, a server that
// follows a script.
#pragma once

#include "base/endpoint.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <functional>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace waggle::mirror::test {

/// An io_context that runs on its own thread until the object goes.
class LoopThread {
 public:
  LoopThread();
  ~LoopThread();
  /// Runs `work` on the loop and waits for it.
  void run(const std::function<void()>& work);

  boost::asio::io_context context{1};

 private:
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_;
  std::thread thread_;
};

struct TestResponse {
  unsigned status = 0;
  std::string head;
  std::string body;
  bool complete = false;  ///< as long as Content-Length says, or a whole chunked body
  [[nodiscard]] std::string header(std::string_view name) const;
};

/// A blocking socket with a five second limit on each read.
class TestClient {
 public:
  explicit TestClient(const Endpoint& endpoint);
  explicit TestClient(const std::string& unix_path);
  ~TestClient();
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  void send(std::string_view text);
  /// @param head_only  the answer to a HEAD
  TestResponse read_response(bool head_only = false);
  TestResponse get(std::string_view target, std::string_view headers = {});
  TestResponse head(std::string_view target, std::string_view headers = {});
  /// Bytes until the other side closes or five seconds passed; `closed` tells which.
  std::string read_all(bool& closed);
  std::string read_exactly(std::size_t size);
  void close();

 private:
  bool fill();
  int descriptor_ = -1;
  std::string buffer_;
};

/// What the script of a server says to one request.
struct Reply {
  std::string text;     ///< head and body, verbatim
  bool close = false;   ///< close after it
  bool stall = false;   ///< send `text`, then stay silent until the server goes
  std::string trickle;  ///< then this again and again, 50 ms apart, until the client goes
};

/// Answers each request on a loopback port by calling `script` with the request's text (head and
/// body).
class ScriptedServer {
 public:
  using Script = std::function<Reply(const std::string& request)>;
  struct Tls {
    std::string certificate_file;
    std::string key_file;
  };
  explicit ScriptedServer(Script script, std::unique_ptr<Tls> tls = nullptr);
  ~ScriptedServer();

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string origin() const { return "http://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::vector<std::string> requests() const;
  [[nodiscard]] std::size_t connection_count() const { return connections_; }

 private:
  void accept_loop();
  void serve(int descriptor);
  template <typename Stream>
  void talk(Stream& stream);

  Script script_;
  std::unique_ptr<Tls> tls_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<std::size_t> connections_ = 0;
  std::atomic<bool> stopping_ = false;
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  std::list<std::thread> threads_;
  std::vector<int> descriptors_;
  std::thread acceptor_;
};

/// "HTTP/1.1 200 OK" with a Content-Length and further header lines ("A: b\r\n").
[[nodiscard]] std::string http_text(std::string_view status, std::string_view headers,
                                    std::string_view body);

}  // namespace waggle::mirror::test
