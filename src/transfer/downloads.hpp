// The chunks on their way from peers: which blocks were asked, which came, until when to wait.
// Used by the swarm; knows nothing of messages or proofs.
#pragma once

#include "base/bitfield.hpp"
#include "base/ids.hpp"
#include "base/limits.hpp"
#include "base/time.hpp"
#include "transfer/exchange.hpp"
#include "transfer/proof.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace waggle::transfer {

struct BlockRequest {
  ChunkIndex chunk{};
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
};

/// One chunk from one session.
struct Download {
  enum class State : std::uint8_t {
    active,     ///< blocks are being asked and awaited
    late,       ///< given up on (timeout, BUSY); what still comes is taken
    verifying,  ///< all blocks came, the driver hashes
  } state = State::active;
  bool submitted =
      false;  ///< verifying, and the driver was asked (else the proof is still awaited)
  NodeId node;
  std::uint32_t size = 0;
  Bitfield received;             ///< per block
  std::uint32_t next_block = 0;  ///< first block not asked yet
  TimePoint started{};
  TimePoint deadline{};
  ChunkProof proof;  ///< what it was handed to the driver with
  // What its sender says of it: bytes that fail the sender's own word convict it.
  bool from_complete = false;                             ///< it said that it has the whole blob
  std::optional<Crec> crec;                               ///< valid; sent with the chunk
  std::optional<std::array<std::byte, 32>> vouched_list;  ///< verified there under this list
};

/// Sources of a chunk are keyed by session: a swarm speaks with a node on one session at a time.
class Downloads {
 public:
  enum class Block : std::uint8_t { unwanted, stored, complete };
  using Key = std::pair<SessionId, ChunkIndex>;

  /// @pre no download of the chunk from this session exists; size > 0
  void start(SessionId session, const NodeId& node, ChunkIndex chunk, std::uint32_t size,
             TimePoint now, TimePoint deadline);
  /// Bytes moved on this session: every active download on it may take until `deadline`, if that is
  /// later.
  void extend(SessionId session, TimePoint deadline);
  /// The next block to ask of this session, lowest chunk number first of those begun; nullopt: all
  /// asked.
  [[nodiscard]] std::optional<BlockRequest> next_request(SessionId session);
  /// A block came. `complete`: the last one; the state is then verifying.
  Block block(SessionId session, ChunkIndex chunk, std::uint32_t offset, std::uint32_t length);
  /// Gives up on an active download. @return how many of its blocks were asked and have not come
  std::uint32_t make_late(SessionId session, ChunkIndex chunk);
  /// Forgets it. @return blocks asked and not received, counted as active only
  std::uint32_t erase(SessionId session, ChunkIndex chunk);

  [[nodiscard]] Download* find(SessionId session, ChunkIndex chunk);
  /// Chunks of this session, ascending, in any state.
  [[nodiscard]] std::vector<ChunkIndex> chunks_of(SessionId session) const;
  [[nodiscard]] std::size_t active_of(SessionId session) const;
  /// Bytes of chunks begun on this session, in any state.
  [[nodiscard]] std::uint64_t bytes_of(SessionId session) const;
  /// Sessions the chunk comes from, ascending, in any state.
  [[nodiscard]] std::vector<SessionId> sources_of(ChunkIndex chunk) const;
  /// Sources that are active or verifying.
  [[nodiscard]] std::size_t live_sources_of(ChunkIndex chunk) const;
  /// Those of them whose blocks are still awaited.
  [[nodiscard]] std::size_t active_sources_of(ChunkIndex chunk) const;
  /// Downloads not handed to the driver whose deadline has passed.
  [[nodiscard]] std::vector<Key> overdue(TimePoint now) const;
  /// Bytes of all chunks begun.
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] bool empty() const { return downloads_.empty(); }
  [[nodiscard]] const std::map<Key, Download>& all() const { return downloads_; }
  void check_invariants() const;

 private:
  [[nodiscard]] static std::uint32_t waiting_blocks(const Download& download);

  std::map<Key, Download> downloads_;
  std::map<ChunkIndex, std::vector<SessionId>> by_chunk_;
  std::uint64_t bytes_ = 0;
};

}  // namespace waggle::transfer
