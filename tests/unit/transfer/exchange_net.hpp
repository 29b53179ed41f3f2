// A small deterministic cluster of exchanges: virtual time, links with delay and bandwidth, one
// origin per net.
// Payload is symbolic: a chunk's bytes are a variant number, 0 being the truth.
#pragma once

#include "base/prng.hpp"
#include "transfer/exchange.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace waggle::transfer::testing {

using Variant = std::uint32_t;

/// A blob whose digest is the end of a chain over its chunks' variants 0.
struct Blob {
  SwarmKey key;
  std::uint64_t size = 0;
  BlobLayout layout;
};

struct NetConfig {
  std::size_t nodes = 2;
  std::uint64_t seed = 1;
  double link_rate = 1e9;        ///< each node's uplink [bytes/s]
  double upstream_rate = 100e6;  ///< the origin's link, shared [bytes/s]
  Duration delay = std::chrono::microseconds(200);
  Duration announce_delay = std::chrono::milliseconds(50);
  Duration open_time = std::chrono::microseconds(300);  ///< of a blob's file
  Duration commit_time = std::chrono::microseconds(300);
  std::uint32_t extents_in_flight = 1;
};

/// How the origin answers.
struct Origin {
  unsigned status = 200;
  bool has_range = true;
  bool has_length = true;
  Variant variant = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t requests = 0;
  std::set<std::size_t> refused;  ///< nodes that get 401
};

/// How long a link is busy.
inline Duration transmission(std::uint64_t bytes, double rate) {
  return from_seconds(static_cast<double>(bytes) / rate);
}

class Net {
 public:
  explicit Net(const NetConfig& config);
  ~Net();

  [[nodiscard]] Blob make_blob(std::uint64_t size, const std::string& name = "blob",
                               const std::string& origin = "https://origin:443");
  /// Node `n` holds the blob complete; `announced`: everybody's index says so.
  void give(std::size_t n, const Blob& blob, bool announced = true);
  /// Opens the blob on node `n` with a reader that consumes in order; its result is asked below.
  SwarmId pull(std::size_t n, const Blob& blob);
  /// Opens the blob with a lazy reader that waits for the chunk at `offset`.
  SwarmId read_at(std::size_t n, const Blob& blob, std::uint64_t offset);
  /// Node `n` has a new way to upstream.
  void retry_upstream(std::size_t n, const Blob& blob);
  void stop_reading(std::size_t n, const Blob& blob);
  /// Chunks that a restart of node `n` finds.
  void hold(std::size_t n, const Blob& blob, std::uint32_t chunks);
  /// The node sends these wrong bytes instead of its own.
  void make_liar(std::size_t n, Variant variant) { nodes_[n]->lie = variant; }
  /// What the node takes from upstream (and signs) is this variant.
  void poison(std::size_t n, Variant variant) { nodes_[n]->poisoned = variant; }
  /// The node's midstate lists are wrong.
  void make_list_liar(std::size_t n) { nodes_[n]->list_lie = true; }
  /// Dies: its sessions break after 1 ms, the others hear of it after `detect`.
  void kill(std::size_t n, Duration detect = std::chrono::seconds(1));
  /// Keeps its sessions and says nothing more.
  void freeze(std::size_t n) { nodes_[n]->frozen = true; }

  void run_for(Duration duration);
  /// Until `done` or the budget is used up.
  bool run_until(const std::function<bool()>& done, Duration budget);
  [[nodiscard]] TimePoint now() const { return now_; }

  [[nodiscard]] bool is_complete(std::size_t n, const Blob& blob) const;
  [[nodiscard]] bool all_complete(const Blob& blob, std::size_t from = 0) const;
  [[nodiscard]] std::optional<SwarmError> error(std::size_t n, const Blob& blob) const;
  [[nodiscard]] const std::vector<std::pair<ChunkIndex, ChunkSource>>& ready(std::size_t n) const {
    return nodes_[n]->ready;
  }
  [[nodiscard]] Exchange& exchange(std::size_t n) { return *nodes_[n]->exchange; }
  [[nodiscard]] const Identity& identity(std::size_t n) const { return nodes_[n]->identity; }
  [[nodiscard]] Origin& origin() { return origin_; }
  [[nodiscard]] std::size_t size() const { return nodes_.size(); }
  [[nodiscard]] std::size_t session_count() const { return sessions_.size(); }
  /// A hash over every output so far.
  [[nodiscard]] std::uint64_t trace() const { return trace_; }

 private:
  struct View;
  /// What of a chunk lies in memory: by block, the variant of its bytes.
  struct Buffer {
    std::map<std::uint32_t, Variant> blocks;
    void put(std::uint32_t offset, Variant variant) {
      Variant& block = blocks[offset / static_cast<std::uint32_t>(limits::block_bytes)];
      block = std::max(block, variant);
    }
    [[nodiscard]] Variant variant() const {
      Variant worst = 0;
      for (const auto& [block, variant] : blocks) worst = std::max(worst, variant);
      return worst;
    }
  };
  struct Partial {
    SwarmKey key;
    BlobLayout layout;
    std::map<ChunkIndex, Variant> chunks;
    std::uint64_t epoch = 0;
  };
  struct Fetch {
    std::uint64_t received = 0;
    SwarmId swarm{};
    std::uint32_t next = 0, end = 0;
    std::uint64_t first_byte = 0;
    bool canceled = false;
  };
  struct Node {
    Node(std::size_t index, Identity id);
    ~Node();
    std::size_t number;
    Identity identity;
    std::unique_ptr<View> view;
    std::unique_ptr<Exchange> exchange;
    bool dead = false;
    bool frozen = false;
    std::optional<Variant> lie;
    std::optional<Variant> poisoned;
    bool list_lie = false;
    TimePoint uplink_free{};
    std::optional<TimePoint> timer;
    std::map<Digest, std::uint64_t> complete;
    std::map<SwarmId, Partial> partials;
    std::map<SwarmId, std::uint32_t> closed;  ///< how often: what was under way then is void
    std::map<SwarmKey, std::vector<StoredChunk>> held;
    std::map<std::tuple<SwarmId, ChunkIndex, SessionId>, Buffer> buffers;
    std::map<FetchId, Fetch> fetches;
    std::map<Digest, ReaderId> readers;
    std::map<SwarmId, std::pair<SwarmKey, std::uint64_t>> reading;  ///< next byte per swarm
    std::map<Digest, SwarmError> errors;
    std::vector<std::pair<ChunkIndex, ChunkSource>> ready;
  };
  struct Session {
    std::size_t a = 0, b = 0;
  };

  void at(TimePoint when, std::function<void()> action);
  void pump(Node& node);
  void arm(Node& node);
  void note(std::size_t node, std::size_t kind, std::uint64_t value);
  [[nodiscard]] Node& node_of(const NodeId& id);
  [[nodiscard]] std::size_t other(SessionId session, std::size_t n) const;
  void close(SessionId session);
  void fetch_step(Node& node, FetchId id);
  void start_fetch(Node& node, const StartFetch& command);
  void read_on(Node& node, SwarmId swarm);
  [[nodiscard]] std::vector<Midstate> list_of(const Digest& digest, bool lie) const;

  void carry(Node& node, EnsureSession command);
  void carry(Node& node, SendControl command);
  void carry(Node& node, SendBlock command);
  void carry(Node& node, CloseSession command);
  void carry(Node& node, SendClaim command);
  void carry(Node& node, CreateBlob command);
  void carry(Node& node, VerifyChunk command);
  void carry(Node& node, DropBuffer command);
  void carry(Node& node, StartFetch command);
  void carry(Node& node, CancelFetch command);
  void carry(Node& node, HashLink command);
  void carry(Node& node, CommitBlob command);
  void carry(Node& node, CloseBlob command);
  void carry(Node& node, LoadMidstates command);
  void carry(Node& node, SwarmSize event);
  void carry(Node& node, ChunkReady event);
  void carry(Node& node, SwarmProven event);
  void carry(Node& node, SwarmCommitted event);
  void carry(Node& node, SwarmFailed event);
  void carry(Node&, const SwarmTainted&) {}
  void carry(Node&, const HostPaused&) {}

  NetConfig config_;
  TimePoint now_{};
  std::uint64_t order_ = 0;
  std::map<std::pair<TimePoint, std::uint64_t>, std::function<void()>> events_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<NodeId> members_;
  std::map<NodeId, std::size_t> numbers_;
  std::map<SessionId, Session> sessions_;
  std::uint64_t next_session_ = 1;
  std::map<Digest, Blob> blobs_;
  std::map<Digest, std::set<std::size_t>> index_;  ///< who announced what
  Origin origin_;
  TimePoint origin_free_{};
  std::uint64_t trace_ = 0;
  std::uint64_t steps_ = 0;
  Prng prng_;
};

/// The plain hash of a chunk of a variant, and the chain of states over them.
[[nodiscard]] std::array<std::byte, 32> symbolic_hash(const std::string& origin, std::uint64_t size,
                                                      ChunkIndex chunk, Variant variant);
/// Symbolic chunks differ by blob through its size and by variant.
inline std::array<std::byte, 32> hash_of(const BlobLayout& layout, ChunkIndex chunk,
                                         Variant variant) {
  return symbolic_hash("chunk", layout.size(), chunk, variant);
}

}  // namespace waggle::transfer::testing
