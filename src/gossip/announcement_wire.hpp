// Messages of the announcement half of gossip: log records, anti-entropy and bulk sets, as strict
// msgpack arrays (around packed logs: log_wire.hpp). Bodies travel sealed in datagrams or as opaque
// frames of a TCP session. Format: docs/wire-announcements.md.
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "gossip/log_wire.hpp"
#include "gossip/snapshot_wire.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <variant>
#include <vector>

namespace waggle::gossip {

/// Pieces of one or more logs. From an origin itself with `rows` set they are its fresh records,
/// for the members of its row to relay; all others are for the receiver alone.
struct Records {
  std::uint32_t rows = 0;      ///< the R of the relay, a power of two; 0 = nobody relays
  std::vector<LogSlice> logs;  ///< 1..limits::slices_per_message_max
};

/// The sender's root (index_root()); `answer` stops the exchange after one reply.
struct AeRoot {
  std::uint64_t root = 0;
  bool answer = false;
};

inline constexpr std::size_t index_buckets = 64;

/// Our roots differ: the hashes of my buckets (RootTable). The receiver sends its full states of
/// those that differ.
struct AeBuckets {
  std::array<std::uint64_t, index_buckets> hashes{};
};

/// States of several logs, ascending by origin. A `full` one lists all that the sender knows of the
/// origins whose first 4 bytes are in [from, to]; others list only what the receiver may want.
struct AeStates {
  bool full = false;
  std::uint32_t from = 0;  ///< both 0 unless full
  std::uint32_t to = 0;
  std::vector<LogState> states;  ///< 0..limits::states_per_message_max
};

/// Asks for records of logs; answered by RECORDS.
struct AePull {
  std::vector<LogRange> ranges;  ///< 1..limits::pulls_per_message_max, ascending by origin
};

/// Asks what ids stand for; answered by DEFINITIONS. Datagrams carry definitions_per_message_max,
/// frames definitions_per_frame_max.
struct DefinitionPull {
  std::vector<Id64> ids;
};
struct Definitions {
  std::vector<Definition> definitions;
};

using Message =
    std::variant<Records, AeRoot, AeStates, AePull, DefinitionPull, Definitions, AeBuckets>;

/// Asks for whole sets; answered by SET_DATA or SET_NONE for each.
struct SetPull {
  std::vector<NodeId> origins;  ///< 1..limits::set_pulls_max
};
/// One part of an origin's set: part 0 carries all ids (ascending), the others its names.
struct SetData {
  NodeId origin;
  std::uint64_t incarnation = 0;
  std::uint64_t seq = 0;
  std::uint64_t set_hash = 0;
  std::uint64_t part = 0;
  std::uint64_t parts = 1;  ///< 1..limits::set_parts_max
  std::vector<Id64> ids;
  std::vector<std::shared_ptr<const SignedName>> names;
};
/// The asked node has no complete set of `origin`, or is asked too often.
struct SetNone {
  NodeId origin;
};

using BulkMessage = std::variant<SetPull, SetData, SetNone, DefinitionPull, Definitions,
                                 SnapshotPull, SnapshotPart, SnapshotNone>;

[[nodiscard]] Bytes encode(const Message& message);
[[nodiscard]] Bytes encode_bulk(const BulkMessage& message);
/// Exactly one message within the limits, or the reason why not. The result owns its bytes.
[[nodiscard]] Result<Message> decode_message(ByteView body);
[[nodiscard]] Result<BulkMessage> decode_bulk(ByteView frame);

/// RECORDS bodies of at most `bytes_max` bytes that carry `slices` in order, split where needed.
/// @pre bytes_max >= 512: every single record fits
[[nodiscard]] std::vector<Bytes> pack_records(std::uint32_t rows, std::span<const LogSlice> slices,
                                              std::size_t bytes_max);
/// Full AE_STATES bodies of at most `bytes_max` bytes that cover [from, to] together.
/// @pre ascending by origin, all within the range
[[nodiscard]] std::vector<Bytes> pack_full_states(std::span<const LogState> states,
                                                  std::uint32_t from, std::uint32_t to,
                                                  std::size_t bytes_max);
/// Others, for what the receiver may want. @pre ascending by origin
[[nodiscard]] std::vector<Bytes> pack_some_states(std::span<const LogState> states,
                                                  std::size_t bytes_max);

/// AE_PULL bodies of at most `bytes_max` bytes.
[[nodiscard]] std::vector<Bytes> pack_pulls(std::span<const LogRange> ranges,
                                            std::size_t bytes_max);

/// DEFINITIONS bodies of at most `bytes_max` bytes.
[[nodiscard]] std::vector<Bytes> pack_definitions(std::span<const Definition> definitions,
                                                  std::size_t bytes_max);

}  // namespace waggle::gossip
