// Log lines about upstreams that misbehave: each says what, where and what to do, and a storm of
// failures is one line a minute.
#pragma once

#include "base/time.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace waggle::node {

/// What went wrong with one upstream request.
struct Trouble {
  std::string where;   ///< the registry as clients name it
  std::string what;    ///< without numbers that change: equal troubles are told once a minute
  std::string about;   ///< this time's particulars
  std::string remedy;  ///< what the operator can do
};

/// Bounded by limits::upstream_troubles_max; beyond it the one told longest ago is forgotten.
class TroubleLog {
 public:
  static constexpr Duration period = std::chrono::minutes(1);

  /// The line to write; nullopt when this trouble was told less than a minute ago: it is counted,
  /// and the next line names the count.
  [[nodiscard]] std::optional<std::string> note(TimePoint now, const Trouble& trouble);
  [[nodiscard]] std::size_t size() const { return told_.size(); }

 private:
  struct Told {
    TimePoint at;
    std::uint64_t held_back = 0;
  };
  std::map<std::pair<std::string, std::string>, Told> told_;
};

}  // namespace waggle::node
