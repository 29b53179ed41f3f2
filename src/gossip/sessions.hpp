// Whose current boot we know, proved fresh, with its replay window: who may be listened to, and how
// to reach them. Sits between packet_seal (bytes) and membership (meaning). Exchange:
// docs/wire-gossip.md, "Sessions".
#pragma once

#include "base/endpoint.hpp"
#include "base/ids.hpp"
#include "base/random_source.hpp"
#include "base/siphash.hpp"
#include "base/time.hpp"
#include "gossip/packet_seal.hpp"
#include "gossip/replay_window.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>

namespace waggle::gossip {

/// A boot is installed only on proof that its node lives now: an ACK that echoes a PING of ours
/// that is still outstanding, or a PING that echoes our cookie. The cookie is a keyed hash, so
/// handing one out costs no state, and it covers the boot installed so far, so that a recorded PING
/// can never bring an earlier boot back.
class Sessions {
 public:
  enum class Standing {
    unknown,   ///< no session: only a PING is answered, only an awaited ACK is read
    current,   ///< the boot we listen to
    replaced,  ///< the boot before the current one: refused
  };
  /// A PING of ours whose ACK may install a boot.
  struct Awaited {
    std::optional<NodeId> target;  ///< empty: an address hint, whoever answers
    bool confirm = false;          ///< it carried a cookie already
    TimePoint sent;
    std::size_t answers_left = 1;  ///< of a PING to the group: several members may answer
  };

  explicit Sessions(RandomSource& random);

  [[nodiscard]] Standing standing(const PacketHeader& header) const;
  /// The node behind a header that is current or replaced. @pre standing(header) != unknown
  [[nodiscard]] const NodeId& node(const PacketHeader& header) const;
  /// Once per counter. @pre standing(header) == current, packet authenticated
  [[nodiscard]] bool accept_counter(TimePoint now, const PacketHeader& header);

  /// Never 0; valid for 10 to 20 s.
  [[nodiscard]] std::uint64_t cookie(TimePoint now, const PacketHeader& header) const;
  [[nodiscard]] bool proves(TimePoint now, const PacketHeader& header, std::uint64_t echo) const;

  /// Makes header.boot the current boot of `id`, the former current one replaced.
  /// False when full (limits::members_max) or when another node has the same id prefix.
  bool install(TimePoint now, const NodeId& id, const PacketHeader& header, const Endpoint& path);
  /// When the current boot was installed; nullopt without a session.
  [[nodiscard]] std::optional<TimePoint> installed(const NodeId& id) const;
  /// Gives a replaced boot that has proven to be alive its place back, when the one that took it
  /// has been silent for limits::double_silence: of two clones one was stopped. Once in
  /// limits::clone_remembered; if the other proves itself meanwhile, both live. Counters up to the
  /// header's are used up.
  /// @return  false: it stays replaced. @pre standing(header) == replaced
  [[nodiscard]] bool revive(TimePoint now, const PacketHeader& header, const Endpoint& path);
  void erase(const NodeId& id);

  /// Remembers a PING for 5 s; beyond limits::awaited_pings_max the oldest is forgotten. @pre seq
  /// grows
  void await(TimePoint now, std::uint64_t seq, const std::optional<NodeId>& target, bool confirm,
             std::size_t answers = 1);
  /// The awaited PING, as often as answers were asked for; nullopt when unknown or too old.
  [[nodiscard]] std::optional<Awaited> take_awaited(TimePoint now, std::uint64_t seq);

  /// Boot to direct packets to; nullopt without a session.
  [[nodiscard]] std::optional<Destination> destination(const NodeId& id) const;
  /// The endpoint that last worked. @pre destination(id)
  [[nodiscard]] const Endpoint& path(const NodeId& id) const;
  void set_path(const NodeId& id, const Endpoint& path);
  /// True when the other side is known to have installed our boot too, so that more than a PING
  /// makes sense.
  [[nodiscard]] bool is_mutual(const NodeId& id) const;
  void set_mutual(const NodeId& id, bool mutual);
  [[nodiscard]] std::size_t size() const { return sessions_.size(); }
  void check_invariants() const;

 private:
  struct Session {
    NodeId id;
    Boot boot = 0;
    std::optional<Boot> replaced;
    ReplayWindow window;
    Endpoint path;
    TimePoint installed;
    TimePoint heard;       ///< from the current boot
    bool revived = false;  ///< the current boot was replaced before
    bool mutual = false;
  };
  [[nodiscard]] std::uint64_t cookie_at(std::uint64_t slot, const PacketHeader& header) const;
  [[nodiscard]] const Session* find(const NodeId& id) const;

  IdKey secret_;
  std::unordered_map<std::uint64_t, Session> sessions_;  ///< by NodeId::prefix()
  std::map<std::uint64_t, Awaited> awaited_;             ///< by seq
};

}  // namespace waggle::gossip
