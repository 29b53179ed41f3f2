// Blocking client of the ops API: a unix socket path or an http:// URL.
#pragma once

#include "base/error.hpp"

#include <string>

namespace waggle::cli {

struct ApiReply {
  unsigned status = 0;
  std::string body;
};

/// One request, at most 10 s. @param api  "/run/waggle/waggle.sock" or "http://127.0.0.1:30004"
/// Errors: whatever the system says of connecting, reading and writing; malformed for an `api` of
/// neither form.
[[nodiscard]] Result<ApiReply> call_api(const std::string& api, const std::string& method,
                                        const std::string& path);

}  // namespace waggle::cli
