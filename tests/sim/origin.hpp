// The upstream registry: one link shared evenly by the fetches under way, with faults on demand.
#pragma once

#include "base/ids.hpp"
#include "base/limits.hpp"
#include "base/time.hpp"
#include "sim/content.hpp"
#include "sim/event_queue.hpp"
#include "sim/network.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace waggle::sim {

struct OriginConfig {
  double bytes_per_second = 50e6;
  Duration first_byte = std::chrono::milliseconds(20);
  Duration idle_timeout = std::chrono::seconds(10);
};

/// What a fetch is told, in order: one head, chunks, one end; nothing after cancel(). A stalled
/// fetch ends as failed after the idle timeout.
struct FetchSink {
  std::function<void(const transfer::FetchHead&)> head;
  std::function<void(ChunkIndex, Variant)> chunk;
  std::function<void(const transfer::FetchEnd&)> end;
};

/// Bytes of a chunk that was cut for another length of the blob than the true one.
inline constexpr Variant misfit_bytes = 1000;

class Origin {
 public:
  Origin(EventQueue& events, const OriginConfig& config) : events_(events), config_(config) {}

  void add(const Blob& blob) { blobs_[blob.digest] = blob; }
  /// @return a handle for cancel()
  std::uint64_t fetch(NodeIndex from, const Digest& digest, std::uint64_t offset,
                      std::uint64_t length, FetchSink sink);
  void cancel(std::uint64_t fetch);

  // Faults.
  void set_down(bool down) { down_ = down; }
  /// `retry_after`: what a 429 or 503 says.
  void set_status(unsigned status, std::optional<Duration> retry_after = std::nullopt) {
    status_ = status;
    retry_after_ = retry_after;
  }
  /// The connection breaks after so many chunks of each answer; 0: it holds.
  void cut_after(std::uint32_t chunks) { cut_after_ = chunks; }
  /// Sends at this share of its rate.
  void set_rate_share(double share) { rate_share_ = share; }
  /// Serves blobs that are `bytes` longer (shorter when negative) than they should be.
  void set_length_error(std::int64_t bytes) {
    length_error_ = bytes;
    if (bytes != 0) was_dishonest_ = true;
  }
  void set_range_support(bool supported) {
    ranges_ = supported;
    if (!supported) was_streamed_ = true;
  }
  /// Sends nothing more to this node, but keeps its connections.
  void stall(NodeIndex node) { stalled_.insert(node); }
  void unstall() { stalled_.clear(); }
  /// So many requests from now on get no answer.
  void stall_next(std::size_t requests) { stall_next_ = requests; }
  /// What a 429 or 503 says.
  /// From now on answers with wrong bytes.
  void set_variant(Variant variant) {
    variant_ = variant;
    if (variant != true_bytes) was_dishonest_ = true;
  }
  /// Somebody on this node's way to the registry changes the bytes.
  void set_variant_for(NodeIndex node, Variant variant) {
    variants_[node] = variant;
    was_dishonest_ = true;
  }

  /// Body bytes that left, whole chunks.
  [[nodiscard]] std::uint64_t egress_bytes() const { return egress_; }
  [[nodiscard]] std::uint64_t egress_bytes(const Digest& digest) const;
  /// The most nodes that are reading one extent now, and which they are.
  [[nodiscard]] std::set<NodeIndex> most_fetched_extent() const;
  /// How long one extent took when the most fetches so far shared the rate.
  [[nodiscard]] Duration slowest_extent() const {
    return from_seconds(static_cast<double>(limits::extent_bytes * fetches_peak_) /
                        config_.bytes_per_second);
  }
  /// Nodes with a fetch under way.
  [[nodiscard]] std::set<NodeIndex> fetching() const;
  /// It never sent anything but the true bytes.
  [[nodiscard]] bool is_honest() const { return !was_dishonest_; }
  /// It answers everybody with what is asked for, at its usual speed.
  [[nodiscard]] bool is_well() const {
    return !down_ && status_ == 200 && stalled_.empty() && cut_after_ == 0 && rate_share_ == 1.0 &&
           ranges_;
  }
  [[nodiscard]] std::vector<Digest> digests() const;
  [[nodiscard]] const std::map<Digest, Blob>& blobs() const { return blobs_; }
  /// It was without ranges at some time: every request costs the whole blob.
  [[nodiscard]] bool was_streamed() const { return was_streamed_; }
  [[nodiscard]] std::uint64_t request_count() const { return requests_; }
  /// Answered by 429 or 503.
  [[nodiscard]] std::uint64_t refused_count() const { return refused_; }
  /// For how long who got that is to leave the host alone.
  [[nodiscard]] std::optional<Duration> pause_asked() const {
    return status_ == 429 ? retry_after_.value_or(std::chrono::seconds(1)) : retry_after_;
  }
  /// The most requests that were under way at once.
  [[nodiscard]] std::size_t fetches_peak() const { return fetches_peak_; }

 private:
  struct Fetch {
    NodeIndex from = 0;
    Digest digest;
    std::uint64_t at = 0;
    std::uint64_t stop = 0;
    std::uint32_t chunks = 0;  ///< sent so far
    Blob served;               ///< with the length it has while this answer runs
    FetchSink sink;
  };
  void begin(std::uint64_t id);
  void end(std::uint64_t id, transfer::FetchEnd::Kind kind);
  void sent(std::uint64_t id, ChunkIndex chunk, std::uint64_t bytes);
  void next_chunk(std::uint64_t id);

  EventQueue& events_;
  OriginConfig config_;
  std::map<Digest, Blob> blobs_;
  std::map<std::uint64_t, Fetch> fetches_;
  std::map<Digest, std::uint64_t> egress_of_;
  std::set<NodeIndex> stalled_;
  std::size_t stall_next_ = 0;
  std::uint64_t next_ = 1;
  std::uint64_t egress_ = 0;
  std::uint64_t requests_ = 0;
  std::uint64_t refused_ = 0;
  std::size_t fetches_peak_ = 0;
  bool down_ = false;
  bool ranges_ = true;
  bool was_dishonest_ = false;
  bool was_streamed_ = false;
  unsigned status_ = 200;
  std::optional<Duration> retry_after_;
  std::uint32_t cut_after_ = 0;
  double rate_share_ = 1.0;
  std::int64_t length_error_ = 0;
  Variant variant_ = true_bytes;
  std::map<NodeIndex, Variant> variants_;
};

}  // namespace waggle::sim
