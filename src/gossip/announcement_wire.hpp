// Messages of the announcement half of gossip: log records, anti-entropy and bulk sets, as strict
// msgpack arrays. Bodies travel sealed in datagrams or as opaque frames of a TCP session. Format:
// docs/wire-announcements.md.
#pragma once

#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/identity.hpp"
#include "base/ids.hpp"
#include "base/siphash.hpp"
#include "gossip/records.hpp"

#include <compare>
#include <cstdint>
#include <memory>
#include <span>
#include <variant>
#include <vector>

namespace waggle::gossip {

/// What an id64 stands for.
struct Definition {
  Digest digest;
  std::uint64_t size = 0;
  auto operator<=>(const Definition&) const = default;
};

/// A NAME with its author's signature over name_signed_bytes(). The author is the origin of the log
/// it stands in.
struct SignedName {
  NameRecord record;
  NodeId author;
  std::uint64_t hlc_ms = 0;
  Signature signature;
};

// Records of an origin's log. Each takes one sequence number, the first is 1.
struct Have {
  Id64 id{};
};
/// A HAVE that also says what the id stands for; the id is computed from the digest, so it cannot
/// be a lie.
struct DefinedHave {
  Definition definition;
};
struct Drop {
  Id64 id{};
};
struct Named {
  std::shared_ptr<const SignedName> name;
};
/// Opens a log whose set is what (incarnation, seq) of the same origin had: receivers with that
/// state keep it.
struct Base {
  std::uint64_t incarnation = 0;
  std::uint64_t seq = 0;
  std::uint64_t set_hash = 0;
  auto operator<=>(const Base&) const = default;
};
using Record = std::variant<Have, DefinedHave, Drop, Named, Base>;

/// Consecutive records of one log, from any node that has them.
struct Records {
  NodeId origin;
  std::uint64_t incarnation = 0;
  std::uint64_t first_seq = 1;
  std::vector<Record> records;  ///< 1..limits::records_per_message_max
};

/// The sender's root (index_root()); `answer` stops the exchange after one reply.
struct AeRoot {
  std::uint64_t root = 0;
  bool answer = false;
};

/// State of one origin at the sender.
struct OriginVector {
  NodeId origin;
  std::uint64_t incarnation = 0;
  std::uint64_t seq = 0;        ///< last applied without a gap
  std::uint64_t set_hash = 0;   ///< XOR of id_hash() of the ids held
  std::uint64_t log_first = 1;  ///< oldest record that the sender still has; seq + 1 when none
  auto operator<=>(const OriginVector&) const = default;
};

/// State of several origins, ascending by id. A `full` one lists all the sender knows in (after,
/// last listed], or in (after, end) when `last`; others list only what the receiver may want.
struct AeVectors {
  bool full = false;
  bool last = false;
  NodeId after;
  std::vector<OriginVector> vectors;  ///< 0..limits::vectors_per_message_max
};

struct LogRange {
  NodeId origin;
  std::uint64_t incarnation = 0;
  std::uint64_t from_seq = 1;
};
/// Asks for records of logs; answered by RECORDS.
struct AePull {
  std::vector<LogRange> ranges;  ///< 1..limits::pulls_per_message_max
};

/// Asks what ids stand for; answered by DEFINITIONS. Datagrams carry definitions_per_message_max,
/// frames definitions_per_frame_max.
struct DefinitionPull {
  std::vector<Id64> ids;
};
struct Definitions {
  std::vector<Definition> definitions;
};

using Message = std::variant<Records, AeRoot, AeVectors, AePull, DefinitionPull, Definitions>;

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

using BulkMessage = std::variant<SetPull, SetData, SetNone, DefinitionPull, Definitions>;

[[nodiscard]] Bytes encode(const Message& message);
[[nodiscard]] Bytes encode_bulk(const BulkMessage& message);
/// Exactly one message within the limits, or the reason why not. The result owns its bytes.
[[nodiscard]] Result<Message> decode_message(ByteView body);
[[nodiscard]] Result<BulkMessage> decode_bulk(ByteView frame);

/// RECORDS bodies of at most `bytes_max` bytes that carry `records` in order.
/// @pre bytes_max >= 512: every single record fits
[[nodiscard]] std::vector<Bytes> pack_records(const NodeId& origin, std::uint64_t incarnation,
                                              std::uint64_t first_seq,
                                              std::span<const Record> records,
                                              std::size_t bytes_max);
/// AE_VECTORS bodies of at most `bytes_max` bytes; at least one when `full`. @pre ascending by
/// origin
[[nodiscard]] std::vector<Bytes> pack_vectors(std::span<const OriginVector> vectors, bool full,
                                              std::size_t bytes_max);

/// DEFINITIONS bodies of at most `bytes_max` bytes.
[[nodiscard]] std::vector<Bytes> pack_definitions(std::span<const Definition> definitions,
                                                  std::size_t bytes_max);

/// What a NAME's author signs: a domain, the cluster's id key and every field, each of fixed or
/// stated length.
[[nodiscard]] Bytes name_signed_bytes(const IdKey& key, const SignedName& name);

/// One id's share of a set hash: SipHash of the id.
[[nodiscard]] std::uint64_t id_hash(const IdKey& key, Id64 id);

}  // namespace waggle::gossip
