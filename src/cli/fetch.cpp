// Calls of the API with errors a person can act on.
#include "cli/api_client_driver.hpp"
#include "cli/verb.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace waggle::cli {
namespace {

std::optional<ApiReply> call(const Options& options, const std::string& method,
                             const std::string& path) {
  auto reply = call_api(options.api, method, path);
  if (reply) return *std::move(reply);
  if (reply.error() == BaseError::malformed || reply.error() == BaseError::limit_exceeded) {
    fmt::print(stderr, "waggle: --api '{}' is neither a socket path nor an http:// URL\n",
               options.api);
  } else {
    fmt::print(stderr, "waggle: cannot reach waggled at {}: {}\n", options.api,
               reply.error().message());
    fmt::print(stderr,
               "  Is it running? Give its socket or ops address with --api, such as --api "
               "http://127.0.0.1:30004\n");
  }
  return std::nullopt;
}

void print_error(const ApiReply& reply) {
  const auto body = nlohmann::ordered_json::parse(reply.body, nullptr, false);
  if (!body.is_object() || !body.contains("error")) {
    fmt::print(stderr, "waggle: waggled answered {}\n", reply.status);
    return;
  }
  fmt::print(stderr, "waggle: {}\n", body["error"].value("message", ""));
  const std::string hint = body["error"].value("hint", "");
  if (!hint.empty()) fmt::print(stderr, "  {}\n", hint);
}

std::optional<nlohmann::ordered_json> ask(const Options& options, const std::string& method,
                                          const std::string& path) {
  const auto reply = call(options, method, path);
  if (!reply) return std::nullopt;
  if (reply->status != 200) {
    print_error(*reply);
    return std::nullopt;
  }
  auto body = nlohmann::ordered_json::parse(reply->body, nullptr, false);
  if (body.is_discarded()) {
    fmt::print(stderr, "waggle: {} did not answer with JSON; is that waggled's ops address?\n",
               options.api);
    return std::nullopt;
  }
  return body;
}

}  // namespace

std::optional<nlohmann::ordered_json> fetch(const Options& options, const std::string& path) {
  return ask(options, "GET", path);
}

std::optional<nlohmann::ordered_json> post(const Options& options, const std::string& path) {
  return ask(options, "POST", path);
}

}  // namespace waggle::cli
