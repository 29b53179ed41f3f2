// Names that the cluster keeps: key64 -> the newest NAME record. Names outlive their authors: they
// are facts about content, not about nodes.
#pragma once

#include "base/identity.hpp"
#include "base/ids.hpp"
#include "gossip/announcement_wire.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace waggle::gossip {

/// Newest NAME per key: higher HLC wins, ties go to the higher author id. Bounded per author and in
/// all; the name written longest ago goes first. Cost O(log names).
class NameTable {
 public:
  /// Takes `name` when it is newer than what its key has. @pre its signature was checked
  bool insert(std::shared_ptr<const SignedName> name);
  /// True when insert() would take it: worth checking the signature.
  [[nodiscard]] bool is_newer(const SignedName& name) const;
  [[nodiscard]] const SignedName* find(std::uint64_t key64) const;
  /// All current names of one author, oldest written first.
  [[nodiscard]] std::vector<std::shared_ptr<const SignedName>> names_of(const NodeId& author) const;
  /// Up to `count` names from `key64` on, ascending by key.
  [[nodiscard]] std::vector<std::shared_ptr<const SignedName>> names_from(std::uint64_t key64,
                                                                          std::size_t count) const;
  [[nodiscard]] std::size_t size() const { return names_.size(); }
  void check_invariants() const;

 private:
  struct Entry {
    std::shared_ptr<const SignedName> name;
    std::uint64_t written = 0;  // a local counter
  };
  void erase(std::uint64_t key64);

  std::map<std::uint64_t, Entry> names_;
  std::map<std::uint64_t, std::uint64_t> by_age_;                       // written -> key64
  std::map<NodeId, std::map<std::uint64_t, std::uint64_t>> by_author_;  // written -> key64
  std::uint64_t written_ = 0;
};

}  // namespace waggle::gossip
