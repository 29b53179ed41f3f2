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
  Fetch& fetch = fetches_[id];
  fetches_peak_ = std::max(fetches_peak_, fetches_.size());
  fetch.from = from;
  fetch.digest = digest;
  fetch.at = offset;
  fetch.stop = offset + (length == 0 ? limits::extent_bytes : length);
  fetch.sink = std::move(sink);
  events_.after(config_.first_byte, [this, id] { begin(id); });
  return id;
}

void Origin::cancel(std::uint64_t fetch) { fetches_.erase(fetch); }

void Origin::end(std::uint64_t id, Kind kind) {
  const auto found = fetches_.find(id);
  if (found == fetches_.end()) return;
  const auto tell = found->second.sink.end;
  fetches_.erase(found);
  transfer::FetchEnd end{kind, std::nullopt};
  if (kind == Kind::throttled) end.retry_after = retry_after_;
  tell(end);
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
  if (status_ == 429 || status_ == 503) {
    ++refused_;
    return end(id, Kind::throttled);
  }
  if (status_ >= 500) return end(id, Kind::failed);
  if (blob == blobs_.end() || status_ == 404) return end(id, Kind::not_found);
  fetch.served = blob->second;
  const bool can_shrink = length_error_ >= 0 || blob->second.size > limits::MiB;
  if (can_shrink) fetch.served.size += static_cast<std::uint64_t>(length_error_);
  transfer::FetchHead head{206, fetch.served.size, false};
  if (!ranges_) {
    head = {200, fetch.served.size, true};
    fetch.at = 0;
    fetch.stop = fetch.served.size;
  }
  fetch.stop = std::min(fetch.stop, fetch.served.size);
  // Asked for what lies behind its end: 416.
  if (fetch.at >= fetch.stop && fetch.at > 0) return end(id, Kind::failed);
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
  const BlobLayout layout = fetch.served.layout();
  const ChunkIndex chunk = layout.chunk_at(fetch.at);
  const std::uint64_t bytes = layout.chunk_size(chunk);
  const double rate = rate_share_ * config_.bytes_per_second / static_cast<double>(fetches_.size());
  events_.after(from_seconds(static_cast<double>(bytes) / rate),
                [this, id, chunk, bytes] { sent(id, chunk, bytes); });
}

void Origin::sent(std::uint64_t id, ChunkIndex chunk, std::uint64_t bytes) {
  const auto found = fetches_.find(id);
  if (found == fetches_.end()) return;
  if (down_) return end(id, Kind::failed);
  Fetch& fetch = found->second;
  egress_ += bytes;
  egress_of_[fetch.digest] += bytes;
  fetch.at += bytes;
  ++fetch.chunks;
  const bool last = fetch.at >= fetch.stop;
  const bool is_cut = !last && cut_after_ != 0 && fetch.chunks >= cut_after_;
  const FetchSink sink = fetch.sink;
  const auto own = variants_.find(fetch.from);
  Variant variant = own == variants_.end() ? variant_ : own->second;
  if (!same_chunk(fetch.served, blobs_.at(fetch.digest).size, chunk)) variant = misfit_bytes;
  if (bytes == 0) variant = true_bytes;  // nothing that could be wrong
  if (last) fetches_.erase(found);
  sink.chunk(chunk, variant);
  if (last) return sink.end({Kind::complete, std::nullopt});
  if (is_cut) return end(id, Kind::failed);
  next_chunk(id);
}

}  // namespace waggle::sim
