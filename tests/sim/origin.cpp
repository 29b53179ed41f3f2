// Fetches of the simulated registry.
#include "sim/origin.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace waggle::sim {

using Kind = transfer::FetchEnd::Kind;

std::uint64_t Origin::fetch(NodeIndex from, const Digest& digest, std::uint64_t offset,
                            std::uint64_t length, FetchSink sink) {
  const std::uint64_t id = next_++;
  ++requests_;
  fetches_[id] = {from, digest, offset, offset + (length == 0 ? limits::extent_bytes : length),
                  std::move(sink)};
  events_.after(config_.first_byte, [this, id] { begin(id); });
  return id;
}

void Origin::cancel(std::uint64_t fetch) { fetches_.erase(fetch); }

void Origin::end(std::uint64_t id, Kind kind) {
  const auto found = fetches_.find(id);
  if (found == fetches_.end()) return;
  const auto tell = found->second.sink.end;
  fetches_.erase(found);
  tell({kind, kind == Kind::throttled ? retry_after_ : std::nullopt});
}

std::uint64_t Origin::egress_bytes(const Digest& digest) const {
  const auto found = egress_of_.find(digest);
  return found == egress_of_.end() ? 0 : found->second;
}

std::set<NodeIndex> Origin::most_fetched_extent() const {
  std::map<std::pair<Digest, std::uint64_t>, std::set<NodeIndex>> readers;
  std::set<NodeIndex> most;
  for (const auto& [id, fetch] : fetches_) {
    auto& nodes = readers[{fetch.digest, fetch.at / limits::extent_bytes}];
    nodes.insert(fetch.from);
    if (nodes.size() > most.size()) most = nodes;
  }
  return most;
}

std::set<NodeIndex> Origin::fetching() const {
  std::set<NodeIndex> nodes;
  for (const auto& [id, fetch] : fetches_) nodes.insert(fetch.from);
  return nodes;
}

std::vector<Digest> Origin::digests() const {
  std::vector<Digest> list;
  for (const auto& [digest, blob] : blobs_) list.push_back(digest);
  return list;
}

void Origin::begin(std::uint64_t id) {
  const auto found = fetches_.find(id);
  if (found == fetches_.end()) return;
  Fetch& fetch = found->second;
  const auto blob = blobs_.find(fetch.digest);
  const bool unanswered = stall_next_ > 0;
  if (unanswered) --stall_next_;
  if (unanswered || stalled_.contains(fetch.from)) {
    return events_.after(config_.idle_timeout, [this, id] { end(id, Kind::failed); });
  }
  if (down_) return end(id, Kind::failed);
  if (status_ == 401 || status_ == 403) return end(id, Kind::unauthorized);
  if (status_ == 429 || status_ == 503) return end(id, Kind::throttled);
  if (status_ >= 500) return end(id, Kind::failed);
  if (blob == blobs_.end() || status_ == 404) return end(id, Kind::not_found);
  transfer::FetchHead head{206, blob->second.size, false};
  if (!ranges_) {
    head = {200, blob->second.size, true};
    fetch.at = 0;
    fetch.stop = blob->second.size;
  }
  fetch.stop = std::min(fetch.stop, blob->second.size);
  fetch.sink.head(head);
  next_chunk(id);
}

void Origin::next_chunk(std::uint64_t id) {
  const auto found = fetches_.find(id);
  if (found == fetches_.end()) return;
  const Fetch& fetch = found->second;
  if (stalled_.contains(fetch.from)) {
    return events_.after(config_.idle_timeout, [this, id] { end(id, Kind::failed); });
  }
  const Blob& blob = blobs_.at(fetch.digest);
  const BlobLayout layout = blob.layout();
  const ChunkIndex chunk = layout.chunk_at(fetch.at);
  const std::uint64_t bytes = layout.chunk_size(chunk);
  const double rate = config_.bytes_per_second / static_cast<double>(fetches_.size());
  events_.after(from_seconds(static_cast<double>(bytes) / rate), [this, id, chunk, bytes] {
    const auto again = fetches_.find(id);
    if (again == fetches_.end()) return;
    if (down_) return end(id, Kind::failed);
    egress_ += bytes;
    egress_of_[again->second.digest] += bytes;
    again->second.at += bytes;
    const bool last = again->second.at >= again->second.stop;
    const FetchSink sink = again->second.sink;
    const auto own = variants_.find(again->second.from);
    const Variant variant = own == variants_.end() ? variant_ : own->second;
    if (last) fetches_.erase(again);
    sink.chunk(chunk, variant);
    if (last) return sink.end({Kind::complete, {}});
    next_chunk(id);
  });
}

}  // namespace waggle::sim
