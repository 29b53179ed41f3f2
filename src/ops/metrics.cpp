// Families and their help texts. Counters that a core keeps are mirrored by their increase.
#include "ops/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <map>
#include <vector>

namespace waggle::ops {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;

const Histogram::BucketBoundaries seconds_buckets = {0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1,
                                                     2,     4,     8,    30,  120,  600};

/// A lookup reads memory: from 200 ns to what would be a bug.
const Histogram::BucketBoundaries lookup_buckets = {2e-7, 5e-7, 1e-6, 2e-6, 5e-6,
                                                    1e-5, 1e-4, 1e-3, 1e-2};

constexpr std::array<const char*, 4> protocol_names = {"oci", "overlaybd", "huggingface", "object"};
constexpr std::array<const char*, 3> source_names = {"local", "peer", "upstream"};

/// A counter that follows a cumulative value.
void follow(Counter& counter, std::uint64_t value) {
  const double increase = static_cast<double>(value) - counter.Value();
  if (increase > 0) counter.Increment(increase);
}

/// A histogram that follows one that a core keeps; `seen` is what it has of it.
void follow(Histogram& histogram, LatencyHistogram& seen, const LatencyHistogram& now) {
  std::vector<double> increase;
  for (std::size_t i = 0; i < now.counts.size(); ++i) {
    increase.push_back(static_cast<double>(now.counts[i] - seen.counts[i]));
  }
  histogram.ObserveMultiple(increase, to_seconds(now.sum - seen.sum));
  seen = now;
}

Histogram::BucketBoundaries bounds_of_latency() {
  Histogram::BucketBoundaries bounds;
  for (const Duration bound : LatencyHistogram::bounds) bounds.push_back(to_seconds(bound));
  return bounds;
}

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry;

  Family<Gauge>& gauges(const char* name, const char* help) {
    return prometheus::BuildGauge()
        .Name(std::string("waggle_") + name)
        .Help(help)
        .Register(registry);
  }
  Family<Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter()
        .Name(std::string("waggle_") + name)
        .Help(help)
        .Register(registry);
  }
  Family<Histogram>& histograms(const char* name, const char* help) {
    return prometheus::BuildHistogram()
        .Name(std::string("waggle_") + name)
        .Help(help)
        .Register(registry);
  }

  Family<Gauge>& members =
      gauges("members", "Cluster members by state; alive counts the node itself");
  Gauge& cloned_identities =
      gauges("cloned_identities", "Node identities that two processes use, proven within 10 min")
          .Add({});
  Gauge& index_digests = gauges("index_digests", "Distinct digests in the content index").Add({});
  Gauge& index_facts =
      gauges("index_facts", "Holder facts (node, digest) in the content index").Add({});
  Histogram& announcement_lag =
      histograms("announcement_lag_seconds",
                 "From the append of an announcement at its origin to its application here")
          .Add({}, bounds_of_latency());
  LatencyHistogram announcement_lag_seen;
  Counter& gossip_tx = counters("gossip_tx_bytes_total", "Gossip bytes sent, UDP payload").Add({});
  Counter& gossip_rx =
      counters("gossip_rx_bytes_total", "Gossip bytes received, UDP payload").Add({});
  Family<Counter>& gossip_packets = counters("gossip_packets_total", "Gossip packets by direction");
  Family<Counter>& gossip_dropped =
      counters("gossip_dropped_total", "Gossip packets dropped by reason");
  Family<Counter>& bytes =
      counters("bytes_total", "Content bytes by protocol and by where they came from");
  Counter& upload = counters("upload_bytes_total", "Content bytes sent to peers").Add({});
  Counter& relayed =
      counters("relayed_bytes_total", "Of bytes from peers: relayed while fresh").Add({});
  Counter& relay_repairs =
      counters("relay_repaired_blocks_total", "Blocks pulled because no relay brought them")
          .Add({});
  Counter& relay_failures =
      counters("relay_failures_total", "Relayed chunks that failed verification").Add({});
  Family<Counter>& upstream_requests =
      counters("upstream_requests_total", "Requests to upstream by status code, 0 = no response");
  Family<Counter>& requests =
      counters("requests_total", "Client requests by protocol and status code");
  Family<Histogram>& first_byte =
      histograms("first_byte_seconds", "Time to the first byte of an answer");
  Family<Histogram>& request_time =
      histograms("request_seconds", "Time to the last byte of an answer");
  Family<Histogram>& lookups =
      histograms("lookup_seconds", "Time to find a digest's size and holders in the own index");
  Histogram& lookup_hits = lookups.Add({{"result", "hit"}}, lookup_buckets);
  Histogram& lookup_misses = lookups.Add({{"result", "miss"}}, lookup_buckets);
  Gauge& swarms = gauges("swarms", "Open swarms").Add({});
  Family<Counter>& claims = counters("claims_total", "Claims of upstream extents by outcome");
  Family<Counter>& verify_failures = counters(
      "chunk_verify_failures_total", "Chunks whose bytes did not match their proof, by source");
  Counter& bans =
      counters("peer_bans_total", "Peers banned locally for bytes that failed their proof").Add({});
  Family<Gauge>& cache_bytes = gauges("cache_bytes", "Bytes of content on disk by store");
  Family<Counter>& evictions = counters("cache_evictions_total", "Blobs evicted by reason");
  Family<Counter>& handshakes = counters("handshakes_total", "Session handshakes by result");
  Family<Counter>& sessions_closed =
      counters("sessions_closed_total", "Transfer sessions that ended, by reason");
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {
  for (const char* protocol : protocol_names) {
    for (const char* source : source_names) {
      impl_->bytes.Add({{"protocol", protocol}, {"source", source}});
    }
  }
}

Metrics::~Metrics() = default;

void Metrics::set_levels(const CoreLevels& levels) {
  Impl& m = *impl_;
  m.members.Add({{"state", "alive"}}).Set(static_cast<double>(levels.alive));
  m.members.Add({{"state", "suspect"}}).Set(static_cast<double>(levels.suspect));
  m.members.Add({{"state", "faulty"}}).Set(static_cast<double>(levels.faulty));
  m.members.Add({{"state", "left"}}).Set(static_cast<double>(levels.left));
  m.cloned_identities.Set(static_cast<double>(levels.cloned_identities));
  m.index_digests.Set(static_cast<double>(levels.index_digests));
  m.index_facts.Set(static_cast<double>(levels.index_facts));
  follow(m.announcement_lag, m.announcement_lag_seen, levels.announcement_lag);
  follow(m.gossip_tx, levels.gossip_tx_bytes);
  follow(m.gossip_rx, levels.gossip_rx_bytes);
  follow(m.gossip_packets.Add({{"dir", "tx"}}), levels.gossip_tx_packets);
  follow(m.gossip_packets.Add({{"dir", "rx"}}), levels.gossip_rx_packets);
  follow(m.gossip_dropped.Add({{"reason", "unknown_key"}}), levels.dropped_unknown_key);
  follow(m.gossip_dropped.Add({{"reason", "unauthenticated"}}), levels.dropped_unauthenticated);
  follow(m.gossip_dropped.Add({{"reason", "replay"}}), levels.dropped_replay);
  follow(m.gossip_dropped.Add({{"reason", "malformed"}}), levels.dropped_malformed);
  follow(m.gossip_dropped.Add({{"reason", "over_rate"}}), levels.dropped_over_rate);
  follow(m.gossip_dropped.Add({{"reason", "unknown_type"}}), levels.dropped_unknown_type);
  follow(m.gossip_dropped.Add({{"reason", "other"}}), levels.dropped_other);
  m.swarms.Set(static_cast<double>(levels.swarms));
  follow(m.upload, levels.upload_bytes);
  follow(m.relayed, levels.relayed_bytes);
  follow(m.relay_repairs, levels.relay_repairs);
  follow(m.relay_failures, levels.relay_failures);
  follow(m.claims.Add({{"outcome", "granted"}}), levels.claims_granted);
  follow(m.claims.Add({{"outcome", "waited"}}), levels.claims_waited);
  follow(m.claims.Add({{"outcome", "takeover"}}), levels.claims_takeover);
  follow(m.claims.Add({{"outcome", "bypass"}}), levels.claims_bypass);
  follow(m.verify_failures.Add({{"source", "peer"}}), levels.verify_failures_peer);
  follow(m.bans, levels.peer_bans);
  m.cache_bytes.Add({{"store", "waggle"}}).Set(static_cast<double>(levels.cache_bytes));
  follow(m.evictions.Add({{"reason", "quota"}}), levels.evictions_quota);
}

void Metrics::add_bytes(Protocol protocol, ByteSource source, std::uint64_t bytes) {
  impl_->bytes
      .Add({{"protocol", protocol_names.at(static_cast<std::size_t>(protocol))},
            {"source", source_names.at(static_cast<std::size_t>(source))}})
      .Increment(static_cast<double>(bytes));
}

void Metrics::count_upstream_request(unsigned status) {
  impl_->upstream_requests.Add({{"code", std::to_string(status)}}).Increment();
}

void Metrics::count_request(Protocol protocol, unsigned status, Duration first_byte,
                            Duration whole) {
  const std::string name = protocol_names.at(static_cast<std::size_t>(protocol));
  impl_->requests.Add({{"protocol", name}, {"code", std::to_string(status)}}).Increment();
  impl_->first_byte.Add({{"protocol", name}}, seconds_buckets).Observe(to_seconds(first_byte));
  impl_->request_time.Add({{"protocol", name}}, seconds_buckets).Observe(to_seconds(whole));
}

void Metrics::count_lookup(bool hit, Duration took) {
  (hit ? impl_->lookup_hits : impl_->lookup_misses).Observe(to_seconds(took));
}

void Metrics::count_handshake(std::string_view result) {
  impl_->handshakes.Add({{"result", std::string(result)}}).Increment();
}

void Metrics::count_session_closed(std::string_view reason) {
  impl_->sessions_closed.Add({{"reason", std::string(reason)}}).Increment();
}

void Metrics::count_verify_failure_upstream() {
  impl_->verify_failures.Add({{"source", "upstream"}}).Increment();
}

std::string Metrics::expose() const {
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace waggle::ops
