// Every metric of the contract that this build can fill, on prometheus-cpp. Label sets are bounded:
// never a digest, a peer or a repository. Reference: docs/metrics.md.
#pragma once

#include "base/latency_histogram.hpp"
#include "base/time.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace waggle::ops {

/// Cumulative counts and levels as the cores keep them; set as a whole before each scrape.
struct CoreLevels {
  std::size_t alive = 0, suspect = 0, faulty = 0, left = 0;
  std::size_t cloned_identities = 0;
  std::size_t index_digests = 0, index_facts = 0;
  LatencyHistogram announcement_lag;
  std::uint64_t gossip_tx_bytes = 0, gossip_rx_bytes = 0, gossip_tx_packets = 0,
                gossip_rx_packets = 0;
  std::uint64_t dropped_unknown_key = 0, dropped_unauthenticated = 0, dropped_replay = 0,
                dropped_malformed = 0, dropped_over_rate = 0, dropped_unknown_type = 0,
                dropped_other = 0;
  std::size_t swarms = 0;
  std::uint64_t relayed_bytes = 0, relay_repairs = 0, relay_failures = 0;
  std::uint64_t upload_bytes = 0, claims_granted = 0, claims_waited = 0, claims_takeover = 0,
                claims_bypass = 0;
  std::uint64_t verify_failures_peer = 0, peer_bans = 0;
  std::uint64_t cache_bytes = 0, evictions_quota = 0;
};

enum class Protocol : std::uint8_t { oci, overlaybd, huggingface, object };
enum class ByteSource : std::uint8_t { local, peer, upstream };

class Metrics {
 public:
  Metrics();
  ~Metrics();

  void set_levels(const CoreLevels& levels);
  /// Bytes by where they came from; what a restart kept counts as local.
  void add_bytes(Protocol protocol, ByteSource source, std::uint64_t bytes);
  void count_upstream_request(unsigned status);  ///< 0: no response
  void count_request(Protocol protocol, unsigned status, Duration first_byte, Duration whole);
  /// "Who has this?", asked of the own index by a client's request or by the API.
  void count_lookup(bool hit, Duration took);
  void count_handshake(std::string_view result);       ///< "ok" or a reason of the session layer
  void count_session_closed(std::string_view reason);  ///< a reason of the session layer
  void count_verify_failure_upstream();

  /// Prometheus text exposition format 0.0.4.
  [[nodiscard]] std::string expose() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace waggle::ops
