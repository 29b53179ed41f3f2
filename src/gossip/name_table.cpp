// The newest name per key, with bounds.
#include "gossip/name_table.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <tuple>
#include <utility>

namespace waggle::gossip {

bool NameTable::is_newer(const SignedName& name) const {
  const SignedName* const known = find(name.record.key64);
  return known == nullptr ||
         std::tie(name.hlc_ms, name.author) > std::tie(known->hlc_ms, known->author);
}

bool NameTable::insert(std::shared_ptr<const SignedName> name) {
  if (!is_newer(*name)) return false;
  const std::uint64_t key64 = name->record.key64;
  erase(key64);
  const auto& own = by_author_[name->author];
  if (own.size() >= limits::names_per_origin_max) {
    erase(own.begin()->second);
  } else if (names_.size() >= limits::names_max) {
    erase(by_age_.begin()->second);
  }
  ++written_;
  by_age_.emplace(written_, key64);
  by_author_[name->author].emplace(written_, key64);
  names_.emplace(key64, Entry{std::move(name), written_});
  return true;
}

void NameTable::erase(std::uint64_t key64) {
  const auto found = names_.find(key64);
  if (found == names_.end()) return;
  const auto author = by_author_.find(found->second.name->author);
  author->second.erase(found->second.written);
  if (author->second.empty()) by_author_.erase(author);
  by_age_.erase(found->second.written);
  names_.erase(found);
}

const SignedName* NameTable::find(std::uint64_t key64) const {
  const auto found = names_.find(key64);
  return found == names_.end() ? nullptr : found->second.name.get();
}

std::vector<std::shared_ptr<const SignedName>> NameTable::names_of(const NodeId& author) const {
  std::vector<std::shared_ptr<const SignedName>> names;
  const auto found = by_author_.find(author);
  if (found == by_author_.end()) return names;
  for (const auto& [written, key64] : found->second) names.push_back(names_.at(key64).name);
  return names;
}

std::vector<std::shared_ptr<const SignedName>> NameTable::names_from(std::uint64_t key64,
                                                                     std::size_t count) const {
  std::vector<std::shared_ptr<const SignedName>> names;
  for (auto it = names_.lower_bound(key64); it != names_.end() && names.size() < count; ++it) {
    names.push_back(it->second.name);
  }
  return names;
}

void NameTable::check_invariants() const {
  WAGGLE_ASSERT(names_.size() == by_age_.size());
  WAGGLE_ASSERT(names_.size() <= limits::names_max);
  std::size_t authored = 0;
  for (const auto& [author, own] : by_author_) {
    WAGGLE_ASSERT(!own.empty() && own.size() <= limits::names_per_origin_max);
    authored += own.size();
    for (const auto& [written, key64] : own) {
      const Entry& entry = names_.at(key64);
      WAGGLE_ASSERT(entry.written == written && entry.name->author == author);
      WAGGLE_ASSERT(by_age_.at(written) == key64);
    }
  }
  WAGGLE_ASSERT(authored == names_.size());
}

}  // namespace waggle::gossip
