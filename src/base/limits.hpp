// Every maximum, named, with the answer when it is reached. Numbers: protocol research, sections 1 and 8.
#pragma once

#include "base/time.hpp"

#include <cstddef>
#include <cstdint>

namespace waggle::limits {

using namespace std::chrono_literals;

inline constexpr std::uint64_t KiB = 1024;
inline constexpr std::uint64_t MiB = 1024 * KiB;
inline constexpr std::uint64_t GiB = 1024 * MiB;

// Datagrams. Larger ones are dropped on receipt and never sent.
inline constexpr std::size_t datagram_bytes_max = 1400;  ///< IP and UDP headers included
inline constexpr std::size_t ip_udp_header_bytes = 48;   ///< IPv6 + UDP

// Membership. Beyond these new members are refused (counted), tombstones drop oldest first.
inline constexpr std::size_t members_max = 8192;
inline constexpr std::size_t member_addresses_max = 4;
inline constexpr std::size_t node_name_bytes_max = 64;
inline constexpr std::size_t zone_bytes_max = 32;

// Content index. Beyond these announcements are refused (counted); own content always stays.
inline constexpr std::size_t ids_per_origin_max = 65'536;
inline constexpr std::size_t distinct_ids_max = 2'000'000;
inline constexpr std::size_t names_per_origin_max = 16'384;  ///< oldest goes first

// Announcement logs: what a gap can be repaired from without pulling the whole set. Oldest record goes first.
inline constexpr std::size_t log_records_per_origin_max = 256;

// Blobs. Larger ones are refused: the client is sent upstream.
inline constexpr std::uint64_t blob_bytes_max = 1024 * GiB;
inline constexpr std::uint64_t chunk_bytes_min = 256 * KiB;
inline constexpr std::uint64_t chunk_bytes_max = 4 * MiB;
inline constexpr std::uint64_t single_chunk_below = 1 * MiB;
inline constexpr std::uint64_t extent_bytes = 16 * MiB;
inline constexpr std::size_t chunks_per_blob_max = 1U << 20U;
inline constexpr std::uint64_t block_bytes = 64 * KiB;         ///< unit of a pull request
inline constexpr std::uint64_t held_tail_bytes = 64 * KiB;     ///< withheld until the digest is proven
inline constexpr std::uint64_t manifest_bytes_max = 4 * MiB;   ///< larger manifests are refused (OCI 4 MiB)

// Sessions. Beyond these new ones are refused; over-long frames close the session.
inline constexpr std::size_t frame_bytes_max = 65'535;          ///< one Noise record
inline constexpr std::size_t control_frame_bytes_max = 1 * MiB; ///< a control message may span records
inline constexpr std::size_t sessions_max = 256;
inline constexpr std::size_t half_open_handshakes_max = 64;
inline constexpr std::size_t half_open_per_address_max = 8;
inline constexpr Duration handshake_timeout = 3s;
inline constexpr std::size_t requests_per_peer_max = 32;        ///< beyond: BUSY
inline constexpr std::size_t session_send_queue_bytes_max = 64 * MiB;  ///< beyond: the session is closed
inline constexpr std::size_t origin_bytes_max = 256;            ///< "scheme://host:port"

// Swarms and claims. Beyond these the request is served by a plain upstream fetch or refused.
inline constexpr std::size_t swarms_max = 1024;
inline constexpr std::size_t swarm_peers_out = 8;               ///< degree d
inline constexpr std::size_t swarm_peers_in_max = 24;
inline constexpr std::size_t registrar_blobs_max = 4096;        ///< least recently used goes first
inline constexpr std::size_t registrar_wanters_max = 8192;      ///< further wanters are answered, not listed
inline constexpr std::size_t claim_bitmap_bits = 1024;          ///< window from the first unfinished extent
inline constexpr std::uint64_t reassembly_bytes_per_peer_max = 2 * chunk_bytes_max;  ///< per swarm: no further chunk is begun
inline constexpr std::uint64_t download_buffer_bytes_max = 256 * MiB;

// HTTP. Beyond these: 431, 414, 503 with Retry-After absent (never 429 to containerd).
inline constexpr std::size_t http_header_bytes_max = 64 * KiB;
inline constexpr std::size_t http_connections_max = 1024;
inline constexpr Duration http_header_timeout = 10s;

}  // namespace waggle::limits
