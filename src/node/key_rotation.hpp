// How far a change of the cluster key has come, and whom a change would cut off: read off the
// members' records. A core: no I/O. Steps of a rotation: docs/operations.md.
#pragma once

#include "base/keys.hpp"
#include "gossip/gossip.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace waggle::node {

/// One key as this node sees the cluster stand with it. Members are the alive and suspect ones,
/// this node included.
struct KeyStanding {
  enum class Role {
    seals,    ///< this node seals with it
    opens,    ///< this node only opens it
    unknown,  ///< this node lacks it, some member holds it
  };
  KeyName name = 0;
  Role role = Role::unknown;
  std::size_t accepted_by = 0;       ///< members that open it
  std::size_t sealed_with_by = 0;    ///< members that seal with it
  std::vector<std::string> lacking;  ///< names of the members that do not open it, sorted
  std::vector<std::string> lost;     ///< faulty ones that were last seen without it
  std::vector<std::string> sealing;  ///< names of those that seal with it, sorted
};
[[nodiscard]] const char* to_text(KeyStanding::Role role);

/// Own keys first (sealing, then the other), then unknown ones by name, at most
/// limits::unknown_keys_told_max of them. O(members x keys).
[[nodiscard]] std::vector<KeyStanding> key_standings(const KeyNames& own,
                                                     const std::vector<gossip::Member>& members);

/// Members that a change of this node's keys would part from it.
struct KeyLoss {
  std::vector<std::string> deaf;  ///< could no longer open what this node seals
  std::vector<std::string> mute;  ///< seal with a key that this node would no longer open
  [[nodiscard]] bool none() const { return deaf.empty() && mute.empty(); }
  /// One line that names keys and members (the first few).
  [[nodiscard]] std::string to_string(const KeyNames& fresh) const;
};
/// Only who is alive or suspect counts, and only who is not parted already.
[[nodiscard]] KeyLoss key_loss(const KeyNames& current, const KeyNames& fresh,
                               const std::vector<gossip::Member>& members);

/// "n1, n2 and 7 more"
[[nodiscard]] std::string few_of(const std::vector<std::string>& names);

}  // namespace waggle::node
