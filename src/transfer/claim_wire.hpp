// Messages between a wanter and the registrars of a blob, and between a claimant and those of a
// registry host. Each fits one sealed datagram. Format: docs/wire-claims.md.
#pragma once

#include "base/bitfield.hpp"
#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/limits.hpp"
#include "base/time.hpp"
#include "transfer/hop_name.hpp"

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

namespace waggle::transfer {

/// Extents that a node has in full: all below `first`, and those set in the window above it.
class DoneWindow {
 public:
  DoneWindow() = default;
  explicit DoneWindow(const Bitfield& extents);
  DoneWindow(std::uint32_t first, Bitfield bits) : first_(first), bits_(std::move(bits)) {}

  [[nodiscard]] bool test(ExtentIndex extent) const;
  /// Extents beyond the window are left out: the next WANT brings them.
  void set(ExtentIndex extent);
  [[nodiscard]] std::uint32_t first() const { return first_; }
  [[nodiscard]] const Bitfield& bits() const { return bits_; }
  bool operator==(const DoneWindow&) const = default;

 private:
  std::uint32_t first_ = 0;
  Bitfield bits_{limits::claim_bitmap_bits};
};

/// A claim: which extent, and which try at it. Messages of other tries are ignored.
struct ExtentClaim {
  ExtentIndex extent{};
  std::uint32_t attempt = 0;
  bool operator==(const ExtentClaim&) const = default;
};

// Wanter -> registrar.
struct WantMessage {
  std::uint64_t request = 0;
  std::uint64_t incarnation = 0;
  std::uint64_t upstream_bytes = 0;
  std::optional<std::uint64_t> size;
  DoneWindow done;
  std::vector<ExtentClaim> claims;  ///< what it is fetching: rebuilds a new registrar's table
};
struct ClaimMessage {
  std::uint64_t request = 0;  ///< repeated by retries
  std::uint64_t incarnation = 0;
  std::uint64_t upstream_bytes = 0;
  std::uint32_t count = 0;  ///< extents it would start now
  bool holders_failed = false;
};
struct ConfirmMessage {
  std::uint64_t request = 0;
  std::uint64_t incarnation = 0;
  std::vector<ExtentClaim> claims;
};
struct ProgressMessage {
  struct Item {
    ExtentClaim claim;
    std::uint64_t bytes = 0;
    bool operator==(const Item&) const = default;
  };
  std::uint64_t incarnation = 0;
  std::optional<std::uint64_t> size;
  bool whole_stream = false;
  std::vector<Item> items;
};
struct ReleaseMessage {
  enum class Reason : std::uint8_t {
    given_back = 0,  ///< not fetched: anybody may have it
    done = 1,        ///< complete and verified at the sender
    elsewhere = 2,   ///< the other registrars say that somebody has it or is fetching it
  };
  std::uint64_t incarnation = 0;
  std::vector<ExtentIndex> extents;
  Reason reason = Reason::given_back;
};
struct UnwantMessage {
  std::uint64_t incarnation = 0;
  bool completed = false;
};

// Registrar -> wanter.
struct NewsMessage {
  std::uint64_t request = 0;
  std::optional<std::uint64_t> size;
  std::vector<HopName> wanters;
  std::vector<NodeId> holders;
};
struct GrantMessage {
  std::uint64_t request = 0;
  std::vector<ExtentClaim> grants;  ///< empty: wait, a grant will be pushed with the same request
};
struct VoteMessage {
  struct Vote {
    ExtentClaim claim;
    bool yes = false;
    bool operator==(const Vote&) const = default;
  };
  std::uint64_t request = 0;  ///< 0: unasked, another node holds the extent
  std::vector<Vote> votes;
};

// Permits of a registry host: the packet's tag is the host's (host_permits.hpp).

/// What a permit is for.
struct PermitId {
  SwarmTag blob;
  ExtentIndex extent{};
  auto operator<=>(const PermitId&) const = default;
};
/// The host wants to be left alone by who uses this credential.
struct HostPause {
  std::uint64_t credential = 0;  ///< a hash of its user name; 0: none
  Duration remaining{};          ///< whole milliseconds, at most limits::upstream_pause_max
  bool operator==(const HostPause&) const = default;
};
/// Claimant -> rank 0 of the host.
struct PermitAskMessage {
  std::uint64_t request = 0;  ///< repeated by retries
  std::uint64_t incarnation = 0;
  PermitId permit;
  bool reader_waits = false;
};
/// Rank 0 of the host -> claimant; unasked (request 0) to who should know of a pause.
struct PermitAnswerMessage {
  std::uint64_t request = 0;
  PermitId permit;
  bool granted = false;  ///< false: wait, a grant will be pushed with the same request
  std::vector<HostPause> pauses;
};
/// Claimant -> the host's trio: all that it holds, and what the host told it.
struct PermitHoldMessage {
  enum class State : std::uint8_t {
    flowing = 0,
    nearly_done = 1,  ///< less than a quarter is to come: the next may begin
    slow = 2,         ///< less than a chunk a second
    ended = 3,        ///< or not needed any more
  };
  struct Item {
    PermitId permit;
    std::uint64_t bytes = 0;
    State state{};
    bool operator==(const Item&) const = default;
  };
  std::uint64_t incarnation = 0;
  std::uint64_t serial = 0;  ///< datagrams overtake each other: lower ones than seen are old
  std::vector<Item> items;
  std::vector<HostPause> pauses;
};

using ClaimBody =
    std::variant<WantMessage, ClaimMessage, ConfirmMessage, ProgressMessage, ReleaseMessage,
                 UnwantMessage, NewsMessage, GrantMessage, VoteMessage, PermitAskMessage,
                 PermitAnswerMessage, PermitHoldMessage>;
/// Its packet's tag is a host's.
[[nodiscard]] inline bool is_about_permits(const ClaimBody& body) {
  return std::holds_alternative<PermitAskMessage>(body) ||
         std::holds_alternative<PermitAnswerMessage>(body) ||
         std::holds_alternative<PermitHoldMessage>(body);
}
struct ClaimPacket {
  SwarmTag tag;
  ClaimBody body;
};

inline constexpr std::size_t news_wanters_max = 192;
inline constexpr std::size_t news_holders_max = 16;
inline constexpr std::size_t claims_per_message_max = 16;
inline constexpr std::size_t pauses_per_message_max = 8;

[[nodiscard]] Bytes encode_claim(const ClaimPacket& packet);
/// Errors: truncated, malformed, limit_exceeded, unsupported (a kind this version does not know).
[[nodiscard]] Result<ClaimPacket> decode_claim(ByteView payload);

}  // namespace waggle::transfer
