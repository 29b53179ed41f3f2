// Asking for parts, and adding them up.
#include "gossip/snapshot_import.hpp"

#include "base/assert.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace waggle::gossip {
namespace {

/// Bytes of a part, nearly: names count as the longest usual ones.
std::size_t bytes_of(const SnapshotPart& part) {
  constexpr std::size_t row_bytes = 20;
  constexpr std::size_t name_bytes = 200;
  return part.entries.size() + part.origins.size() * row_bytes + part.names.size() * name_bytes;
}

bool overlap(std::span<const std::uint64_t> a, std::span<const std::uint64_t> b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if ((a[i] & b[i]) != 0) return true;
  }
  return false;
}

/// Ids ascend from the cursor to below the next one; those with several definitions stand together
/// and name each origin once.
bool is_sound(const SnapshotPart& part, const IdKey& key) {
  SnapshotReader reader(part.entries, part.origin_count);
  std::optional<Id64> last;
  SnapshotBits seen{};
  while (const auto entry = reader.next()) {
    const Id64 id = entry->id64(key);
    if (to_value(id) < part.from.at || (part.next != 0 && to_value(id) >= part.next)) return false;
    if (last && id < *last) return false;
    if (last != id) {
      std::copy(entry->holders.begin(), entry->holders.end(), seen.begin());
    } else if (overlap(entry->holders, seen)) {
      return false;
    } else {
      for (std::size_t i = 0; i < entry->holders.size(); ++i) seen[i] |= entry->holders[i];
    }
    last = id;
  }
  return reader.ok();
}

}  // namespace

SnapshotImport::SnapshotImport(TimePoint now, const NodeId& server)
    : server_(server), ends_at_(now + limits::snapshot_time_max), next_at_(now) {}

// ---- questions ----

std::optional<SnapshotPull> SnapshotImport::poll_question(TimePoint now) {
  if (asked_at_ || now < next_at_) return std::nullopt;
  asked_at_ = now;
  return SnapshotPull{cursor_, table_hash_};
}

bool SnapshotImport::is_silent(TimePoint now) const {
  return asked_at_ && now - *asked_at_ >= limits::snapshot_silence_max;
}

void SnapshotImport::move_to(TimePoint now, const NodeId& server) {
  server_ = server;
  asked_at_.reset();
  next_at_ = tries_ == 0 ? now : now + limits::snapshot_retry_interval;
  ++tries_;
}

bool SnapshotImport::has_failed(TimePoint now) const {
  return now >= ends_at_ || tries_ >= limits::snapshot_tries_max;
}

TimePoint SnapshotImport::next_deadline() const {
  return std::min(ends_at_, asked_at_ ? *asked_at_ + limits::snapshot_silence_max : next_at_);
}

// ---- parts ----

SnapshotImport::Verdict SnapshotImport::check(const NodeId& from, const SnapshotPart& part,
                                              const IdKey& key) const {
  if (from != server_ || !asked_at_ || part.from != cursor_) return Verdict::unasked;
  if (part.origin_count == 0) return Verdict::poor;
  if (part.origins.empty()) {
    if (part.table_hash != table_hash_ || part.origin_count != column_of_.size()) {
      return Verdict::bad;
    }
  } else if (part.table_hash == 0 || part.table_hash != snapshot_table_hash(key, part.origins)) {
    return Verdict::bad;
  }
  return is_sound(part, key) ? Verdict::taken : Verdict::bad;
}

void SnapshotImport::note(std::size_t row, Column& column, const SnapshotOrigin& state) {
  column_of_[row] = static_cast<std::uint16_t>(&column - columns_.data());
  column.last_seq = std::max(column.last_seq, state.seq);
  if (column.seq != 0 && column.seq <= state.seq) return;
  column.seq = state.seq;
  column.set_hash = state.set_hash;
}

bool SnapshotImport::take_table(const SnapshotPart& part,
                                std::span<const std::optional<Match>> rows) {
  if (part.origins.empty()) return true;
  WAGGLE_ASSERT(rows.size() == part.origins.size());
  if (is_open()) {
    for (const auto& match : rows) {
      if (match && match->wanted) columns_.push_back({match->origin, match->slot});
    }
  }
  std::vector<bool> listed(columns_.size());
  std::vector<std::size_t> column_at(rows.size(), columns_.size());
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (!rows[row]) continue;
    const std::size_t column = column_at[row] = find(rows[row]->origin);
    if (column < columns_.size()) listed[column] = true;
  }
  std::size_t present = 0;
  std::size_t missing = 0;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (!columns_[i].left) ++(listed[i] ? present : missing);
  }
  if (missing * poor_share > present + missing) return false;
  column_of_.assign(rows.size(), none);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (column_at[row] == columns_.size() || columns_[column_at[row]].left) continue;
    note(row, columns_[column_at[row]], part.origins[row]);
  }
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    columns_[i].left = columns_[i].left || !listed[i];
  }
  table_hash_ = part.table_hash;
  return true;
}

SnapshotImport::Verdict SnapshotImport::apply(const SnapshotPart& part, const IdKey& key,
                                              ContentIndex& index, std::size_t slot_words,
                                              std::vector<Id64>& undefined) {
  next_at_ = *asked_at_ +
             from_seconds(static_cast<double>(bytes_of(part)) / limits::snapshot_bytes_per_second);
  asked_at_.reset();
  tries_ = 0;
  SlotWords words;
  const auto slots = std::span(words).first(slot_words);
  SnapshotReader reader(part.entries, part.origin_count);
  std::size_t entries = 0;
  while (const auto entry = reader.next()) {
    ++entries;
    const Id64 id = entry->id64(key);
    const std::uint64_t hash = id_hash(key, id);
    std::fill(slots.begin(), slots.end(), 0);
    bool any = false;
    for_each_slot(entry->holders, [&](NodeSlot row) {
      if (column_of_[row] == none) return;
      Column& column = columns_[column_of_[row]];
      if (column.left) return;
      column.facts_hash ^= hash;
      ++column.id_count;
      set_slot(slots, column.slot);
      any = true;
    });
    if (!any) continue;
    if (!index.add_all(id, slots, entry->definition ? &*entry->definition : nullptr)) {
      for_each_slot(entry->holders, [&](NodeSlot row) {
        if (column_of_[row] != none) columns_[column_of_[row]].refused = true;
      });
    } else if (!entry->definition && index.is_unresolved(id)) {
      undefined.push_back(id);
    }
  }
  for (Column& column : columns_) {
    if (column.id_count <= limits::ids_per_origin_max) continue;
    column.left = overfull_ = true;
  }
  if (part.from == SnapshotCursor{} && part.next != 0) {
    // Ids are hashes: the others are as many as their range is wide.
    const double all =
        std::ldexp(static_cast<double>(entries), 64) / static_cast<double>(part.next);
    index.reserve(static_cast<std::size_t>(std::min<double>(all, limits::distinct_ids_max)));
  }
  if (part.next != 0) {
    cursor_.at = part.next;
  } else if (!cursor_.names) {
    cursor_ = {true, 0};
  } else {
    return Verdict::ended;
  }
  return Verdict::taken;
}

// ---- origins ----

std::size_t SnapshotImport::find(const NodeId& origin) const {
  const auto found =
      std::lower_bound(columns_.begin(), columns_.end(), origin,
                       [](const Column& column, const NodeId& id) { return column.origin < id; });
  const bool is_it = found != columns_.end() && found->origin == origin;
  return is_it ? static_cast<std::size_t>(found - columns_.begin()) : columns_.size();
}

bool SnapshotImport::has(const NodeId& origin) const { return find(origin) < columns_.size(); }

bool SnapshotImport::leave(const NodeId& origin) {
  const std::size_t column = find(origin);
  if (column == columns_.size() || columns_[column].left) return false;
  columns_[column].left = true;
  return true;
}

void SnapshotImport::leave_all() {
  for (Column& column : columns_) column.left = true;
}

std::vector<NodeSlot> SnapshotImport::take_left() {
  std::vector<NodeSlot> slots;
  std::vector<std::uint16_t> moved_to(columns_.size(), none);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].left) {
      slots.push_back(columns_[i].slot);
      continue;
    }
    moved_to[i] = static_cast<std::uint16_t>(kept);
    columns_[kept++] = columns_[i];
  }
  columns_.resize(kept);
  for (std::uint16_t& column : column_of_) {
    if (column != none) column = moved_to[column];
  }
  return slots;
}

}  // namespace waggle::gossip
