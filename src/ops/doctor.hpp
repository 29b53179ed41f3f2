// What `waggle doctor` says: facts that a node gathered about itself in, findings out. No I/O here;
// gathering is the node's (doctor_driver), containerd's files are the command's.
#pragma once

#include "base/time.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace waggle::ops {

struct Finding {
  enum class Level : std::uint8_t { ok, warn, fail } level = Level::ok;
  std::string check;  ///< "key", "upstream", ...: a fixed word per check
  std::string what;   ///< what was found, one line
  std::string to_do;  ///< what an operator does about it; empty when ok
  bool operator==(const Finding&) const = default;
};
[[nodiscard]] std::string_view to_text(Finding::Level level);

/// Everything the findings are drawn from. Absent optionals mean "could not be told".
struct DoctorFacts {
  std::vector<std::string> config_warnings;

  struct KeyFile {
    std::string path;
    std::string problem;  ///< why it cannot be used; empty when it can
    unsigned mode = 0;    ///< permission bits
  };
  std::vector<KeyFile> keys;

  /// How the live members, this node included, stand with the cluster keys. Lists are texts.
  struct Rotation {
    std::string sealing;  ///< the key that this node seals with
    std::size_t members = 0, sealed_with_by = 0;
    std::string lacking;  ///< members that do not open it; empty: none
    std::string mute;     ///< members that seal with a key that this node lacks
    std::string lost;     ///< faulty members that were last seen without it
    std::string second;   ///< the key that this node only opens; empty: none
    std::size_t second_accepted_by = 0;
    Duration two_keys_for{0};
  } rotation;

  /// Identities that two processes use.
  struct Clone {
    std::string name, address, other_address, other_name;
    bool is_self = false;
  };
  std::vector<Clone> clones;

  bool clock_synchronised = true;
  struct Skew {
    std::string of;  ///< whose clock it was compared with
    Duration ahead;  ///< how much this node is ahead
  };
  std::vector<Skew> skews;

  bool ready = false;
  struct Member {
    std::string name, state, version;
    std::string address;
    bool is_self = false;
    bool tcp_open = false;  ///< a TCP connection came about; asked of those not alive only
  };
  std::vector<Member> members;
  struct Hint {
    std::string text;     ///< as in cluster.join
    std::string problem;  ///< why no TCP connection came about; empty when one did
    bool is_self = false;
  };
  std::vector<Hint> hints;
  std::uint64_t packet_bytes = 0;  ///< of UDP, headers included
  struct Path {
    std::string member;
    std::uint64_t mtu = 0;  ///< the kernel's path MTU towards it
  };
  std::vector<Path> paths;

  std::string data_dir;
  std::string data_dir_problem;  ///< why nothing can be written there
  std::uint64_t disk_free_bytes = 0, min_free_bytes = 0;
  std::uint64_t cache_bytes = 0, cache_max_bytes = 0;

  struct Registry {
    std::string name, origin;
    unsigned status = 0;  ///< of GET /v2/; 0: no answer
    std::string problem;  ///< why there was none
    std::optional<Duration> retry_after;
  };
  std::vector<Registry> registries;
};

/// At least one finding per check, in a fixed order: config, key, rotation, identity, clock, index,
/// members, hints, udp, mtu, versions, data_dir, disk, upstream, pause.
[[nodiscard]] std::vector<Finding> diagnose(const DoctorFacts& facts);

}  // namespace waggle::ops
