// `GET /blobs/<absolute url>` for overlaybd, on an HttpServer: a range is answered 206 with exactly
// its bytes and a real total, or with an error status; never 200, which overlaybd would take for
// the bytes at its offset. What the client does with each status: docs/overlaybd.md.
#pragma once

#include "base/time.hpp"
#include "mirror/blob_answer_driver.hpp"
#include "mirror/content_source.hpp"
#include "mirror/http_server_driver.hpp"

namespace waggle::mirror {

struct BlobsConfig {
  Duration first_byte = std::chrono::seconds(8);  ///< also the longest wait for any later byte
  ServedCallback on_served;                       ///< `target` comes without the URL's query
};

/// GET and HEAD. Statuses: 400 no URL, 403 refused host, or upstream's 401 and 403, 404 upstream's
/// 404 (both make overlaybd resolve its URL anew), 405, 412 a failed If-Range, 416, 503 everything
/// that may be better soon. Errors: {"error":{"code","message","hint"}}.
class BlobsHandler {
 public:
  /// @param source  must outlive the server's stop()
  BlobsHandler(ContentSource& source, BlobsConfig config);

  /// The HttpHandler for targets that is_blobs_target().
  boost::asio::awaitable<void> handle(HttpExchange& exchange);

 private:
  ContentSource& source_;
  BlobsConfig config_;
};

}  // namespace waggle::mirror
