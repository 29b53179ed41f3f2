// The messages inside sealed datagrams and their msgpack form. Byte for byte: docs/wire-gossip.md.
// Decoders take bytes from outside and fail as values; encoders trust their input.
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "gossip/gossip.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

namespace waggle::gossip {

/// Written in clear in the packet header (and authenticated), so that a receiver can sort before it
/// decodes.
enum class PacketType : std::uint8_t {
  ping = 1,
  ack = 2,
  ping_req = 3,
  nack = 4,
  member_hashes = 5,
  member_records = 6,
  announcement = 7,
  app = 8,
};

/// One claim about a member: MEMBER on the wire. `accuser` is who first suspected it, zero unless
/// state is suspect.
struct MemberUpdate {
  Member member;
  NodeId accuser;
};

/// Is anybody there? Without a session it goes undirected and carries the sender's own record.
struct Ping {
  std::uint64_t seq = 0;     ///< names the probe; unique per boot of the sender
  std::optional<NodeId> to;  ///< whom it means; empty when an address hint is tried
  std::uint64_t echo =
      0;  ///< the cookie of an earlier ACK: proves that the sender lives now; 0 = none
  std::uint64_t table_hash = 0;    ///< MemberTable::hash() of the sender
  std::uint8_t load = 0;           ///< of the sender: 0 = idle, 255 = every upload slot busy
  std::optional<Member> self;      ///< the sender's own record
  std::vector<MemberUpdate> news;  ///< piggyback; ignored unless the sender has a session
};

struct Ack {
  std::uint64_t seq = 0;  ///< of the PING or PING_REQ it answers
  std::optional<NodeId>
      target;  ///< set by a helper: `target` answered it; empty: the sender answers for itself
  std::uint64_t cookie =
      0;  ///< != 0: you have no session with me yet, echo this in a directed PING
  std::uint64_t table_hash = 0;
  std::uint8_t load = 0;  ///< of the sender, also when `target` is another
  std::optional<Member> self;
  std::vector<MemberUpdate> news;
};

/// Please ping `target` for me. The helper answers with ACK or, when nothing came back in time,
/// NACK.
struct PingReq {
  std::uint64_t seq = 0;
  NodeId target;
};
struct Nack {
  std::uint64_t seq = 0;
};

inline constexpr std::size_t member_buckets = 64;

/// Our tables differ: here are the hashes of my buckets. The receiver sends its records of
/// buckets that differ (MemberTable::differing) and, when `want_hashes`, its own hashes so that the
/// same happens the other way round.
struct MemberHashes {
  bool want_hashes = false;
  std::array<std::uint64_t, member_buckets> hashes{};
};

/// Records pushed outside probes. `repair` marks copies of a table (the sender may be out of date,
/// so a death in it is only a suspicion); otherwise they are fresh news, as good as piggyback.
struct MemberRecords {
  bool repair = false;
  std::vector<MemberUpdate> records;
};

/// A body that only Announcements reads.
struct AnnouncementBody {
  Bytes body;
};
/// A body that gossip never reads.
struct App {
  std::uint8_t kind = 0;
  Bytes payload;
};

using GossipMessage =
    std::variant<Ping, Ack, PingReq, Nack, MemberHashes, MemberRecords, AnnouncementBody, App>;

[[nodiscard]] PacketType type_of(const GossipMessage& message);
[[nodiscard]] Bytes encode(const GossipMessage& message);
/// @return malformed on anything that encode() does not write (limits: base/limits.hpp),
/// id_mismatch on a record whose id is not the hash of its key, unknown_type on a type that is not
/// in PacketType. Elements after those of a MEMBER (up to limits::member_extra_elements_max) are
/// skipped. Cost: one BLAKE2b per record.
[[nodiscard]] Result<GossipMessage> decode(PacketType type, ByteView body);

/// Bytes that one record takes in `news` or `records`.
[[nodiscard]] std::size_t encoded_bytes(const MemberUpdate& update);
/// Bytes of a MemberRecords message around its records, and of an APP around its payload: upper
/// bounds.
inline constexpr std::size_t records_overhead_bytes = 8;
inline constexpr std::size_t app_overhead_bytes = 8;

}  // namespace waggle::gossip
