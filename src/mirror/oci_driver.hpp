// The OCI distribution API for clients of this node, on an HttpServer: turns requests into
// ContentSource calls and keeps the promise that nothing hangs (a 404 before the first byte, a cut
// after it).
#pragma once

#include "base/time.hpp"
#include "mirror/blob_answer_driver.hpp"
#include "mirror/content_source.hpp"
#include "mirror/http_server_driver.hpp"

#include <string>

namespace waggle::mirror {

struct OciConfig {
  std::string default_registry = "docker.io";
  Duration first_byte = std::chrono::seconds(8);  ///< also the longest wait for any later byte
  ServedCallback on_served;
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
