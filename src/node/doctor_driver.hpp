// Gathers what the doctor judges (ops/doctor.hpp): looks at files and clocks, tries TCP to hints
// and lost members, asks each registry for /v2/. Everything at once, a few seconds at most.
#pragma once

#include "base/endpoint.hpp"
#include "mirror/upstream_driver.hpp"
#include "ops/doctor.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <map>
#include <string>
#include <vector>

namespace waggle::node {

/// What the examination starts from.
struct DoctorQuestions {
  ops::DoctorFacts facts;  ///< what the node knows by itself
  std::vector<std::string> key_files;
  struct Hint {
    std::string text, host, port;
  };
  std::vector<Hint> hints;
  std::vector<Endpoint> own;  ///< what this node advertises
  /// By name: where the members are, self not included.
  std::map<std::string, Endpoint> members;
  std::vector<std::string> registries;  ///< as in `ns`
};

/// @param upstream  must outlive the coroutine, as the executor's context
boost::asio::awaitable<ops::DoctorFacts> examine(boost::asio::any_io_executor executor,
                                                 mirror::UpstreamDriver& upstream,
                                                 DoctorQuestions questions);

/// An HTTP date (IMF-fixdate) as seconds since 1970; nullopt for other text.
[[nodiscard]] std::optional<std::int64_t> parse_http_date(const std::string& text);

}  // namespace waggle::node
