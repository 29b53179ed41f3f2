// Changes: checksum, length, then numbers and ids, all little-endian.
#include "node/told_log.hpp"

#include "base/limits.hpp"

#include <xxhash.h>

namespace waggle::node {
namespace {

constexpr std::size_t frame_bytes = 8 + 4;                 ///< checksum and length before the body
constexpr std::size_t body_bytes_min = 8 + 8 + 1 + 4 + 4;  ///< without ids
constexpr std::size_t body_bytes_max = body_bytes_min + 16 * limits::ids_per_origin_max;

void append_ids(Bytes& out, const std::vector<Id64>& ids) {
  append_le(out, static_cast<std::uint32_t>(ids.size()));
  for (const Id64 id : ids) append_le(out, to_value(id));
}

std::optional<std::vector<Id64>> take_ids(ByteView& rest) {
  if (rest.size() < 4) return std::nullopt;
  const auto count = load_le<std::uint32_t>(rest.first(4));
  rest = rest.subspan(4);
  if (rest.size() / 8 < count) return std::nullopt;
  std::vector<Id64> ids;
  ids.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    ids.push_back(Id64{load_le<std::uint64_t>(rest.subspan(8U * i, 8))});
  }
  rest = rest.subspan(std::size_t{8} * count);
  return ids;
}

std::optional<gossip::LogTold> decode_body(ByteView body) {
  gossip::LogTold change;
  change.incarnation = load_le<std::uint64_t>(body.first(8));
  change.seq = load_le<std::uint64_t>(body.subspan(8, 8));
  change.whole = body[16] != std::byte{0};
  ByteView rest = body.subspan(17);
  auto held = take_ids(rest);
  auto dropped = held ? take_ids(rest) : std::nullopt;
  if (!dropped || !rest.empty()) return std::nullopt;
  change.held = *std::move(held);
  change.dropped = *std::move(dropped);
  return change;
}

}  // namespace

void ToldLogState::apply(const gossip::LogTold& change) {
  incarnation_ = change.incarnation;
  seq_ = change.seq;
  if (change.whole) ids_.clear();
  ids_.insert(change.held.begin(), change.held.end());
  for (const Id64 id : change.dropped) ids_.erase(id);
}

std::optional<gossip::ToldLog> ToldLogState::log() const {
  if (seq_ == 0) return std::nullopt;
  return gossip::ToldLog{incarnation_, seq_, {ids_.begin(), ids_.end()}};
}

gossip::LogTold ToldLogState::whole() const {
  return {incarnation_, seq_, true, {ids_.begin(), ids_.end()}, {}};
}

Bytes encode_told(const gossip::LogTold& change) {
  Bytes body;
  append_le(body, change.incarnation);
  append_le(body, change.seq);
  body.push_back(static_cast<std::byte>(change.whole ? 1 : 0));
  append_ids(body, change.held);
  append_ids(body, change.dropped);
  Bytes out;
  append_le(out, static_cast<std::uint64_t>(XXH3_64bits(body.data(), body.size())));
  append_le(out, static_cast<std::uint32_t>(body.size()));
  append(out, body);
  return out;
}

ToldFile read_told(ByteView file) {
  ToldFile told;
  for (ByteView rest = file; rest.size() >= frame_bytes;) {
    const auto checksum = load_le<std::uint64_t>(rest.first(8));
    const auto size = load_le<std::uint32_t>(rest.subspan(8, 4));
    rest = rest.subspan(frame_bytes);
    if (size < body_bytes_min || size > body_bytes_max || size > rest.size()) break;
    const ByteView body = rest.first(size);
    if (XXH3_64bits(body.data(), body.size()) != checksum) break;
    const auto change = decode_body(body);
    if (!change) break;
    told.state.apply(*change);
    rest = rest.subspan(size);
    told.good_bytes = file.size() - rest.size();
  }
  return told;
}

}  // namespace waggle::node
