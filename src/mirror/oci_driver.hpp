// The OCI distribution API for clients of this node, on an HttpServer: turns requests into
// ContentSource calls and keeps the promise that nothing hangs (a 404 before the first byte, a cut
// after it).
#pragma once

#include "base/time.hpp"
#include "mirror/content_source.hpp"
#include "mirror/http_server_driver.hpp"

#include <functional>
#include <string>

namespace waggle::mirror {

/// One answered request, for metrics and logs. The views hold during the callback only.
struct ServedRequest {
  std::string_view method;
  std::string_view target;
  std::string_view request_id;
  unsigned status = 0;
  std::optional<Source> source;        ///< set when content was given out
  std::uint64_t body_bytes = 0;        ///< handed to the kernel
  bool cut = false;                    ///< the body could not be completed
  std::optional<Duration> first_byte;  ///< until the first body byte was there
  Duration longest_gap{};              ///< between two reads after the first byte
  Duration duration{};
};

struct OciConfig {
  std::string default_registry = "docker.io";
  Duration first_byte = std::chrono::seconds(8);  ///< also the longest wait for any later byte
  std::function<void(const ServedRequest&)> on_served;
};

/// Handles /v2/ requests. GET and HEAD only; everything that cannot be had is a 404, never a 429
/// and never a hang.
class OciHandler {
 public:
  /// @param source  must outlive the server's stop()
  OciHandler(ContentSource& source, OciConfig config);

  /// The HttpHandler: `[&](HttpExchange& exchange) { return handler.handle(exchange); }`.
  boost::asio::awaitable<void> handle(HttpExchange& exchange);

  /// For HttpServerConfig::error_body.
  [[nodiscard]] static std::string error_body(unsigned status, std::string_view message);

 private:
  ContentSource& source_;
  OciConfig config_;
};

}  // namespace waggle::mirror
