// Control messages between the two ends of a transfer session, as msgpack arrays.
// Used by the exchange; format: docs/wire-session.md.
#pragma once

#include "base/bitfield.hpp"
#include "base/bytes.hpp"
#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/identity.hpp"
#include "base/ids.hpp"
#include "base/sha256.hpp"
#include "transfer/relay.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace waggle::transfer {

/// Which chunks a node has. A map needs a known size: its length is the chunk count of
/// BlobLayout(size).
struct HaveMap {
  bool all = false;
  Bitfield chunks;  ///< empty: none (or all, when `all`)
  bool operator==(const HaveMap&) const = default;
};

enum class RejectReason : std::uint8_t {
  not_found = 0,   ///< neither the swarm nor the blob (or not this chunk) is here
  overloaded = 1,  ///< limits::swarm_peers_in_max peers are served already
  refused = 2,     ///< the asker is banned here
  no_proof = 3,    ///< the chunk is here, but only linked: ask for the midstates first
  no_list = 4,     ///< no midstate list here
};

/// The first message about a swarm: names it in full and says what the sender has.
struct OpenMessage {
  SwarmTag tag;
  Digest digest;
  std::string origin;
  std::optional<std::uint64_t> size;
  HaveMap have;
};
/// Answers OPEN; sent again whenever the map changes otherwise than by HAVE.
struct StateMessage {
  SwarmTag tag;
  std::optional<std::uint64_t> size;
  HaveMap have;
};
struct HaveMessage {
  SwarmTag tag;
  std::vector<ChunkIndex> chunks;  ///< 1..have_chunks_max
};
struct RequestMessage {
  SwarmTag tag;
  ChunkIndex chunk{};
  std::uint32_t offset = 0;  ///< within the chunk
  std::uint32_t length = 0;  ///< 1..limits::block_bytes
  bool crec_wanted = false;  ///< the asker holds no midstate list: CREC first, or REJECT{no_proof}
};
struct CancelMessage {
  SwarmTag tag;
  ChunkIndex chunk{};
};
struct RejectMessage {
  SwarmTag tag;
  std::optional<ChunkIndex> chunk;  ///< nullopt: about the whole swarm
  RejectReason reason{};
};
/// Requests were refused because too many wait; all of the swarm's requests to the sender are void.
struct BusyMessage {
  SwarmTag tag;
  std::uint32_t retry_ms = 0;
};
/// The chunk's plain sha256, vouched for by the node that took it from upstream. Of a relayed chunk
/// it follows the stripes: then `next` names who is to get it after the receiver.
struct CrecMessage {
  SwarmTag tag;
  ChunkIndex chunk{};
  std::uint64_t size = 0;
  std::array<std::byte, 32> sha256{};
  NodePublicKey signer;
  Signature signature;
  std::optional<std::vector<HopName>> next;
};
struct GetMidstatesMessage {
  SwarmTag tag;
};
/// A part of a midstate list (proof.hpp); every part carries the prover's signature over the whole.
struct MidstatesMessage {
  SwarmTag tag;
  std::uint64_t size = 0;   ///< of the blob
  std::uint32_t first = 0;  ///< position of this part's first entry
  std::uint32_t total = 0;  ///< entries of the whole list
  std::vector<Midstate> part;
  NodePublicKey prover;
  Signature signature;
};
struct CloseMessage {
  SwarmTag tag;
};
/// The sender's word for a chunk that it serves as a link: it verified the chunk under the list
/// with this hash (proof.hpp, list_hash).
struct VouchMessage {
  SwarmTag tag;
  ChunkIndex chunk{};
  std::array<std::byte, 32> list{};
};

/// Part of a chunk follows in payload frames marked as relayed, from its begin on, without having
/// been asked for.
struct RelayMessage {
  SwarmTag tag;
  ChunkIndex chunk{};
  std::uint32_t offset = 0;   ///< within the chunk, a multiple of limits::block_bytes
  std::uint64_t size = 0;     ///< of the blob
  std::uint32_t serial = 0;   ///< random: the sender's vouch names it
  std::vector<HopName> next;  ///< who is to get it after the receiver, at most relay_hops_max
};

/// The sender has verified the chunk, and passed these of its stripes on, under this serial, as it
/// verified them.
struct RelayVouchMessage {
  SwarmTag tag;
  ChunkIndex chunk{};
  std::uint32_t serial = 0;
  std::uint64_t stripes = 0;  ///< bit i: the stripe at i * limits::block_bytes; not 0
};

using SessionMessage =
    std::variant<OpenMessage, StateMessage, HaveMessage, RequestMessage, CancelMessage,
                 RejectMessage, BusyMessage, CrecMessage, GetMidstatesMessage, MidstatesMessage,
                 CloseMessage, VouchMessage, RelayMessage, RelayVouchMessage>;

inline constexpr std::size_t have_chunks_max = 1024;           ///< per HAVE
inline constexpr std::size_t midstates_per_part_max = 16'384;  ///< 512 KiB per MIDSTATES

[[nodiscard]] Bytes encode(const SessionMessage& message);

/// truncated, malformed or limit_exceeded; the sender is authenticated, so each is scored.
/// Checked here: sizes <= limits::blob_bytes_max, chunk numbers, block lengths, map lengths, that
/// OPEN's tag is the
/// tag of its digest and origin. Cost O(bytes).
[[nodiscard]] Result<SessionMessage> decode_session_message(ByteView bytes);

}  // namespace waggle::transfer
