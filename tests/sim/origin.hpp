// The upstream registry: one link shared evenly by the fetches under way, with faults on demand.
#pragma once

#include "base/ids.hpp"
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
  void set_status(unsigned status) { status_ = status; }
  void set_range_support(bool supported) { ranges_ = supported; }
  /// Sends nothing more to this node, but keeps its connections.
  void stall(NodeIndex node) { stalled_.insert(node); }
  void unstall() { stalled_.clear(); }
  /// So many requests from now on get no answer.
  void stall_next(std::size_t requests) { stall_next_ = requests; }
  /// What a 429 or 503 says.
  void set_retry_after(Duration retry_after) { retry_after_ = retry_after; }
  /// From now on answers with wrong bytes.
  void set_variant(Variant variant) { variant_ = variant; }
  /// Somebody on this node's way to the registry changes the bytes.
  void set_variant_for(NodeIndex node, Variant variant) { variants_[node] = variant; }

  /// Body bytes that left, whole chunks.
  [[nodiscard]] std::uint64_t egress_bytes() const { return egress_; }
  [[nodiscard]] std::uint64_t egress_bytes(const Digest& digest) const;
  /// The most nodes that are reading one extent now, and which they are.
  [[nodiscard]] std::set<NodeIndex> most_fetched_extent() const;
  /// Nodes with a fetch under way.
  [[nodiscard]] std::set<NodeIndex> fetching() const;
  [[nodiscard]] bool is_honest() const { return variant_ == true_bytes && variants_.empty(); }
  [[nodiscard]] std::vector<Digest> digests() const;
  [[nodiscard]] std::uint64_t request_count() const { return requests_; }

 private:
  struct Fetch {
    NodeIndex from = 0;
    Digest digest;
    std::uint64_t at = 0;
    std::uint64_t stop = 0;
    FetchSink sink;
  };
  void begin(std::uint64_t id);
  void end(std::uint64_t id, transfer::FetchEnd::Kind kind);
  void next_chunk(std::uint64_t id);

  EventQueue& events_;
  OriginConfig config_;
  std::map<Digest, Blob> blobs_;
  std::map<std::uint64_t, Fetch> fetches_;
  std::map<Digest, std::uint64_t> egress_of_;
  std::set<NodeIndex> stalled_;
  std::size_t stall_next_ = 0;
  std::optional<Duration> retry_after_;
  std::uint64_t next_ = 1;
  std::uint64_t egress_ = 0;
  std::uint64_t requests_ = 0;
  bool down_ = false;
  bool ranges_ = true;
  unsigned status_ = 200;
  Variant variant_ = true_bytes;
  std::map<NodeIndex, Variant> variants_;
};

}  // namespace waggle::sim
